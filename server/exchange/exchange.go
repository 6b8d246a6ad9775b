// Package exchange accepts the subject token of a token exchange (RFC 8693): the
// capability token of a parent, which its child brings to be given one of its own.
//
// It owns the grant's parameters and whether the subject token is one of ours, of the
// presenter's tenant, and good now. Who presents it is clientauth's; that the presenter
// is a child of its holder, and what the new token may say, is package issue's. There is
// no actor token: the actor is the agent that authenticated, and act is made of what the
// broker knows, never of what a request says.
package exchange

import (
	"context"
	"errors"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/introspection"
	"github.com/agentid-dev/agentid/server/issue"
)

// TypeAccessToken is the one token type that is taken and given (RFC 8693 section 3).
const TypeAccessToken = "urn:ietf:params:oauth:token-type:access_token" //nolint:gosec // an identifier

// Verifier is capability.Verifier. KindUnavailable is an outage; any other error means
// that the token is not one of ours that is good by its own text.
type Verifier interface {
	VerifyIssuedToken(ctx context.Context, compact string) (*capability.Token, error)
}

// Decider is policy.Decider.
type Decider interface {
	Decide(ctx context.Context, q policy.Question) (policy.Allowed, error)
	Subject(h policy.Holder) (*policy.Subject, error)
}

// Config configures New. Every field is required.
type Config struct {
	Verifier Verifier
	Decider  Decider
	Fleet    wire.Fleet
}

// Subjects accepts subject tokens. It is safe for concurrent use.
type Subjects struct{ cfg Config }

// New checks cfg.
func New(cfg Config) (*Subjects, error) {
	if cfg.Verifier == nil || cfg.Decider == nil || cfg.Fleet == nil {
		return nil, errors.New("exchange: verifier, decider and fleet are required")
	}
	return &Subjects{cfg: cfg}, nil
}

// Accept reads the subject token of a request that agent authenticated. Every refusal is
// KindInvalid with the parameter as field, which is invalid_request (RFC 8693 section
// 2.2.2): actor_token_refused, tenant_mismatch, or the reason of what is wrong with the
// token behind "subject_": subject_token_expired, subject_token_revoked,
// subject_agent_not_live. KindUnavailable is an outage.
func (s *Subjects) Accept(ctx context.Context, agent issue.Agent, form httpx.Form) (capability.Claims, error) {
	if err := parameters(form); err != nil {
		return capability.Claims{}, err
	}
	token, err := s.cfg.Verifier.VerifyIssuedToken(ctx, form.Get("subject_token"))
	if err != nil {
		return capability.Claims{}, issue.SubjectRefused(err)
	}
	if theirs := token.Claims.Context.Tenant; theirs != agent.Ref.Tenant() {
		return capability.Claims{}, agentid.Errorf(agentid.KindInvalid, "tenant_mismatch",
			"the token is of tenant %s, the presenter of %s", theirs, agent.Ref.Tenant()).WithField("subject_token")
	}
	if err := introspection.Live(ctx, s.cfg.Fleet, s.cfg.Decider, token); err != nil {
		return capability.Claims{}, issue.SubjectRefused(err)
	}
	return token.Claims, nil
}

func parameters(form httpx.Form) error {
	for _, name := range []string{"actor_token", "actor_token_type"} {
		if form.Get(name) != "" {
			return agentid.Errorf(agentid.KindInvalid, "actor_token_refused", "the actor is the client that authenticates").WithField(name)
		}
	}
	switch {
	case form.Get("subject_token") == "":
		return agentid.Invalidf("subject_token", "is missing")
	case form.Get("subject_token_type") != TypeAccessToken:
		return agentid.Invalidf("subject_token_type", "want %s", TypeAccessToken)
	}
	if requested := form.Get("requested_token_type"); requested != "" && requested != TypeAccessToken {
		return agentid.Invalidf("requested_token_type", "want %s", TypeAccessToken)
	}
	return nil
}
