// Package enrol admits agents that nobody registered: a workload shows what its platform
// says of it, a rule of the tenant decides whether that makes it an agent here, and of
// which type, for whom and for how long.
//
// It owns the choice of the issuer and of the rule, the name of the agent that an identity
// and a key come to, and the steps of the dry run. Verifying is federation's; spawning,
// with its limits and edges, is agents'; what the agent's tokens say is issue's. An agent
// that was enrolled is an agent as any other: frozen, revoked, expired and audited.
package enrol
