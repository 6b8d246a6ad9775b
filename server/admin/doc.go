// Package admin is the administrative API of the broker, under /admin/v1: tenants,
// principals, agent types, agents, templates, connectors with their credentials,
// grants, signing keys, tokens, the audit log, and apply, which takes a declared set
// of all of them at once.
//
// It owns the order of writes. What is given goes ledger row first, then all edges in
// one atomic write of the graph: until the edges are there, nothing can be used. What
// is taken away goes the other way round, behind a recorded intent. A crash between
// the two leaves something that cannot be used, and the same apply completes it.
//
// Every write is audited in the transaction that makes it. The package decides nothing
// about agents' requests, and no answer of it holds a secret, except one that was made
// for this very answer.
package admin
