// Package freshness is what a gateway knows of what was taken away since: generations
// that make remembered answers stale, the set of what is denied, the revocation floor, the
// lease for which all of this may be trusted, and the operations under way.
//
// View is a wire.Subscriber for the broker and a policy.Freshness for decisions. It asks
// nobody and holds no answer: the decision cache reads it. A View is cold until a State was
// put in force, and again when its lease has lapsed or an event is missing. A cold one
// vouches for nothing: no remembered answer is used, and the graph is asked for all of it.
package freshness
