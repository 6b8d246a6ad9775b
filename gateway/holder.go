package gateway

import (
	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/policy"
)

// holder is what is worked out of a token once for all requests with it. It is shared and
// never changed.
type holder struct {
	subject *policy.Subject
	agent   agentid.Ref
	text    string // of agent
	token   string // of the subject's newest token
	names   *auditlog.Named
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
		h := &holder{agent: c.Agent(), text: c.Agent().String(), token: tokens[0].String()}
		var lineage []policy.Member
		var names []string
		for _, a := range c.Lineage() {
			lineage = append(lineage, policy.Member{Agent: a, Attenuated: attenuated[a]})
			names = append(names, a.String())
		}
		h.names = auditlog.NewNamed(c.Context.Tenant, c.Principal().String(), h.text, c.Context.AgentType.String(), names)
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
