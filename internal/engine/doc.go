// Package engine runs SpiceDB's server in this process, over a datastore that the
// caller owns, and hands out authzed-go clients that reach it in memory.
//
// It owns how SpiceDB is configured: no telemetry, no HTTP, no metrics listener, no
// network listener of its own. It owns the optional read-only port on loopback, for the
// zed CLI. It writes no schema and no relationship, and decides nothing.
//
// What is cached: the parsed schema, by the hash of its text, and compiled caveats with
// it. What is not: the answers of checks. SpiceDB's dispatch cache holds an answer by
// revision until a time-to-live is over, but a relationship may expire while the
// revision stands still; with it a dead agent would live on in an idle graph.
package engine
