package auditlog

import "slices"

// Named is whom many records are about, made once for all of them: cleaned, and encoded as
// the records will be. It is not changed.
type Named struct {
	tenant, principal, agent, agentType string
	lineage                             []string
	encoded                             []byte
}

// NewNamed makes the names of a caller, ids in the text form of agentid.Ref, lineage leaf
// first.
func NewNamed(tenant, principal, agent, agentType string, lineage []string) *Named {
	r := Record{Tenant: tenant, Principal: principal, Agent: agent, AgentType: agentType, Lineage: slices.Clone(lineage)}
	cleanNames(&r)
	var e encoder
	e.names(&r)
	return &Named{tenant: r.Tenant, principal: r.Principal, agent: r.Agent, agentType: r.AgentType, lineage: r.Lineage, encoded: e.b}
}

// Name writes tenant, principal, agent, type and lineage into r.
func (r *Record) Name(n *Named) {
	r.Tenant, r.Principal, r.Agent, r.AgentType, r.Lineage = n.tenant, n.principal, n.agent, n.agentType, n.lineage
	r.named = n
}

// stand reports whether r's names are still those of n.
func (n *Named) stand(r *Record) bool {
	return n != nil && r.Tenant == n.tenant && r.Principal == n.principal && r.Agent == n.agent && r.AgentType == n.agentType &&
		slices.Equal(r.Lineage, n.lineage)
}
