// Package policy makes the one decision of AgentID: a Question becomes an Allowed, or
// an error that means no.
//
// It owns which checks belong to a question (the legs), that they are asked in one bulk
// call at one revision, how answers become an outcome, and that nothing else can make
// an Allowed. The same function decides at issuance and at the gateway. It does not know
// how the graph is asked: that is a Checker, of which embedded and remote are two; and
// it checks no constraint of a token, which capability does.
//
// A decision cache goes between Decider and Checker, per leg, as a Checker that wraps a
// Checker; the generations that it reads travel in the Allowed and are looked at again
// by Allowed.StillGood.
package policy
