package gateway

import (
	"sync"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
)

// holder is what is worked out of a token once for all requests with it. It is shared and
// never changed.
type holder struct {
	subject *policy.Subject
	agent   agentid.Ref
	text    string // of agent
	token   string // of the subject's newest token
	names   *auditlog.Named
	counted func() []counted // by the place of a capability; made at the first effect
}

// counted is what one use of a capability is taken from: its own count and those of the
// capabilities that it was made from; or why it has none left.
type counted struct {
	uses    []wire.Use
	refusal error
}

// counts are those of the i-th capability. They are shared and never changed.
func (h *holder) counts(i int) ([]wire.Use, error) {
	c := h.counted()[i]
	return c.uses, c.refusal
}

func countsOf(c capability.Claims) []counted {
	out := make([]counted, len(c.Capabilities))
	for i, grant := range c.Capabilities {
		out[i].uses, out[i].refusal = usesOf(c, grant)
	}
	return out
}

func usesOf(c capability.Claims, grant capability.Capability) ([]wire.Use, error) {
	var uses []wire.Use
	for _, count := range c.Counts(grant) {
		token, err := agentid.TokenRef(c.Context.Tenant, count.Token)
		if err != nil {
			return nil, err
		}
		if count.Max <= 0 {
			return nil, forbidden("uses_exhausted", "the token has no use left")
		}
		uses = append(uses, wire.Use{Token: token, Capability: count.Capability, Max: count.Max})
	}
	return uses, nil
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
		h := &holder{
			agent: c.Agent(), text: c.Agent().String(), token: tokens[0].String(),
			counted: sync.OnceValue(func() []counted { return countsOf(c) }),
		}
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
