package hub

import (
	"github.com/authzed/spicedb/pkg/tuple"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/schema"
)

// Changed says what a commit of the graph does to remembered answers. An edge of an agent
// moves that agent's generation, as does the edge from its type that it is an instance
// of: a spawn leaves everybody else's answers alone. A revoked token moves its own.
// Every other edge moves its tenant's. A change of the schema, a commit that is not told
// whole, or an id that is not ours moves all.
//
// That an agent's edges change no answer but those that rest on the agent holds as long
// as no definition but agent's own leads an arrow through an agent: a test over the
// composed schema guards it.
func Changed(c graphstore.Commit, zookie agentid.Zookie) wire.Event {
	e := wire.Event{Kind: wire.EventChanged, Zookie: zookie}
	if c.Schema || c.Truncated {
		e.All = true
		return e
	}
	seen := make(map[agentid.Ref]bool, 1)
	for _, u := range c.Relationships {
		ref, err := raised(u.Relationship)
		if err != nil {
			e.All, e.Raise = true, nil
			return e
		}
		if !seen[ref] {
			seen[ref] = true
			e.Raise = append(e.Raise, ref)
		}
	}
	return e
}

func raised(r tuple.Relationship) (agentid.Ref, error) {
	resource, err := agentid.ParseRef(r.Resource.ObjectType + ":" + r.Resource.ObjectID)
	if err != nil {
		return agentid.Ref{}, err
	}
	switch {
	case resource.Type() == agentid.TypeAgent:
		return resource, nil
	case resource.Type() == agentid.TypeToken && r.Resource.Relation == schema.TokenRevoked:
		return resource, nil
	case resource.Type() == agentid.TypeAgentType && r.Resource.Relation == schema.AgentTypeInstance && r.Subject.ObjectType == agentid.TypeAgent:
		return agentid.ParseRefAs(agentid.TypeAgent, r.Subject.ObjectType+":"+r.Subject.ObjectID)
	}
	return agentid.TenantRef(resource.Tenant())
}
