package gateway

import (
	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/policy"
)

// holder is what is worked out of a token once for all requests with it. It is shared and
// never changed.
type holder struct {
	subject *policy.Subject
	agent   agentid.Ref
	names   names
}

// names are as the audit log writes them.
type names struct {
	principal, agent, agentType string
	lineage                     []string
}

// deriving makes the holder of a verified token.
func deriving(decider *policy.Decider) func(capability.Claims) (any, error) {
	return func(c capability.Claims) (any, error) {
		tokens, err := c.Tokens()
		if err != nil {
			return nil, err
		}
		attenuated := make(map[agentid.Ref]bool, len(c.Context.Attenuated))
		for _, a := range c.Context.Attenuated {
			attenuated[a] = true
		}
		h := &holder{agent: c.Agent()}
		h.names = names{principal: c.Principal().String(), agent: h.agent.String(), agentType: c.Context.AgentType.String()}
		var lineage []policy.Member
		for _, a := range c.Lineage() {
			lineage = append(lineage, policy.Member{Agent: a, Attenuated: attenuated[a]})
			h.names.lineage = append(h.names.lineage, a.String())
		}
		h.subject, err = decider.Subject(policy.Holder{
			Lineage: lineage, Principal: c.Principal(), OwnAuthority: c.Context.OwnAuthority, Tokens: tokens,
			Also: []agentid.Ref{c.Context.AgentType}, Expiry: c.Expiry,
		})
		if err != nil {
			return nil, err
		}
		return h, nil
	}
}
