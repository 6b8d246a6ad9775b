package issue

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/httperr"
)

// Delegated is a person who has an agent act for them: by a token of theirs that the agent
// brings, or by a standing delegation. The caller has verified it, and that the person may
// launch agents of that type.
type Delegated struct {
	Principal agentid.Ref
	Expires   time.Time // of what was brought: no token lives longer
	// Standing is a delegation as what a token is made from: its id, resource, capabilities
	// and expiry. Nil: the person is there.
	Standing *capability.Claims
	// What an identity assertion bounds the agent to. Nil, or empty: nothing is named.
	Operations []string
	Resources  []string
	Bounds     []capability.Capability
	Notes      map[string]string // for the audit record
}

// standing reports whether the Subject is a standing delegation, not somebody's token.
func (r Request) standing() bool { return r.Delegated != nil && r.Delegated.Standing != nil }

// delegated brings a request under the person who delegates. An agent has one principal,
// for good: a token for another person needs an agent of that person's. What is delegated
// the person must hold, whatever the agent's type says of an authority of its own.
func (r Request) delegated() (Request, error) {
	d := r.Delegated
	if d == nil {
		return r, nil
	}
	if d.Principal.IsZero() || d.Principal != r.Agent.Principal {
		return r, httperr.WithCode(agentid.Errorf(agentid.KindInvalid, "not_the_principal",
			"the agent acts for another principal, for good: that person needs an agent of their own").WithField("subject_token"), httperr.InvalidGrant)
	}
	r.Agent.OwnAuthority = false
	if d.Standing != nil {
		if r.Subject != nil {
			return r, errors.New("issue: a standing delegation beside a subject token")
		}
		r.Subject = d.Standing
	}
	if len(d.Resources) == 0 {
		return r, nil
	}
	if r.Resource == "" && len(d.Resources) == 1 {
		r.Resource = d.Resources[0]
	}
	if !slices.Contains(d.Resources, r.Resource) {
		return r, badTarget("the assertion is for another resource")
	}
	return r, nil
}

// delegation is the id of the standing delegation that the new token is under, or "".
func (r Request) delegation() string {
	switch {
	case r.standing():
		return r.Subject.ID
	case r.Subject != nil:
		return r.Subject.Context.Delegation
	default:
		return ""
	}
}

// withinAssertion holds capabilities to what an identity assertion names: operations are
// in its scope or refused, its authorization_details are one more ceiling.
func (t target) withinAssertion(req Request, asked []capability.Capability) ([]capability.Capability, error) {
	d := req.Delegated
	if d == nil {
		return asked, nil
	}
	if d.Operations != nil {
		for _, c := range asked {
			for _, op := range c.Operations {
				if !slices.Contains(d.Operations, op) {
					return nil, httperr.WithCode(agentid.Errorf(agentid.KindInvalid, "scope_not_granted", "the assertion's scope does not name %s", op).WithField("scope"), httperr.InvalidScope)
				}
			}
		}
	}
	if d.Bounds == nil {
		return asked, nil
	}
	var out []capability.Capability
	for _, c := range asked {
		narrowed, err := t.below(Member{Ceiling: d.Bounds}, c)
		if err != nil {
			return nil, err
		}
		out = append(out, narrowed...)
	}
	return out, nil
}

// Resolve reads what a delegation is to cover: templates expanded, one connector chosen,
// operations and inputs held against its manifest. templates are those that the agent type
// may use; empty: all. It gives the connector's resource URI, which the delegation is for.
// The refusals are those of Issue; policy is asked when a token is minted.
func (m *Mint) Resolve(ctx context.Context, tenant string, templates []string, details capability.Request, resource string) ([]capability.Capability, string, error) {
	anyone, err := agentid.AgentRef(tenant, "any")
	if err != nil {
		return nil, "", err
	}
	req := Request{Agent: Agent{Ref: anyone, Templates: templates}, Details: details, Resource: resource}
	wanted, err := m.expand(ctx, req)
	if err != nil {
		return nil, "", err
	}
	target, err := m.target(ctx, req, wanted)
	if err != nil {
		return nil, "", err
	}
	for _, c := range wanted.capabilities {
		if err := target.check(c); err != nil {
			return nil, "", badDetails(err)
		}
	}
	return wanted.capabilities, target.connector.Resource, nil
}
