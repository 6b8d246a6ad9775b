// Package gateway is the Resource Gateway: it decides every operation again, against
// the relationship graph as it is now, and forwards it with a credential that the agent
// never sees.
//
// pipeline.go holds the numbered phases. Each phase's result is a value that only that
// phase makes and that later phases take, so none can be left out. Sub-packages hold
// single phases: match (1, 2), challenge (what a refused client is told), limits (4),
// forward (8, 9), dialect (how a refusal looks), rawhttp (what net/http would hide).
//
// The package holds no store and no token-signing key: settings, effects and the audit
// log come through package wire, and it never imports server.
package gateway
