// Package agentid holds the nouns of AgentID as types: the ids of tenants,
// principals, agents, tokens and resources, and errors as values with a kind.
//
// It owns how an id is composed and parsed, once, for every other package. It
// does no I/O, knows no HTTP and imports the standard library only.
package agentid

// Zookie is an opaque SpiceDB ZedToken: the graph revision that a decision was
// made at. The empty Zookie names no revision.
type Zookie string

// Epoch is the broker's monotonic number for "something was taken away". It
// orders revocations, which zookies cannot.
type Epoch int64
