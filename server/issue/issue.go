// Package issue is the one mint: every capability token, by whatever grant it was asked
// for, is made here.
//
// The order is fixed. Templates are expanded, one connector is chosen, operations and
// inputs are checked against its manifest, scope and the ceilings of the whole lineage
// narrow what was asked for, policy decides on every operation, the token is signed, and
// one ledger transaction consumes the client's assertion, indexes the token and writes
// its audit record. Only then does the token leave.
//
// The package owns no authentication and no HTTP: whoever calls it has authenticated the
// agent and verified the proof of possession.
package issue

import (
	"context"
	"errors"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Bounds on one request.
const (
	MaxCapabilities = 16
	MaxDecisions    = 32 // operations over all capabilities: one policy decision each
)

// Lifetimes of tokens.
const (
	DefaultLifetime       = 5 * time.Minute
	MaxLifetime           = time.Hour
	DefaultBearerLifetime = time.Minute
)

// Member is one agent of a lineage as the mint sees it.
type Member struct {
	Agent      agentid.Ref
	Attenuated bool
	// Ceiling bounds every token of the agent and of its descendants. Empty on an agent
	// that is not attenuated means that policy alone bounds it; an attenuated agent with
	// an empty ceiling may have nothing.
	Ceiling []capability.Capability
}

// Agent is an authenticated agent.
type Agent struct {
	Ref, Type, Principal agentid.Ref
	Autonomous           bool     // Principal is a service: sub is the agent
	OwnAuthority         bool     // its type holds its own authority
	Lineage              []Member // leaf first
	Expires              time.Time
}

// Assertion is the client assertion that the request came with: it is consumed in the
// transaction that records the token.
type Assertion struct {
	Issuer  string // the client
	ID      string // its jti
	Expires time.Time
}

// Request asks for one token.
type Request struct {
	Issuer     string // iss of the token
	Agent      Agent
	Details    capability.Request
	Scope      []string // operations to narrow to; empty: as the capabilities say
	Resource   string   // the connector's resource URI; empty: the only connector that fits
	Thumbprint string   // of the key that the agent proved to hold; empty: a Bearer token is asked for
	Assertion  Assertion
	RequestID  string
}

// Grant is a token that has been recorded.
type Grant struct {
	Token     string
	Claims    capability.Claims
	Bearer    bool
	ExpiresIn time.Duration
}

// Recorded is what one ledger transaction writes: the assertion is consumed, the token
// is indexed, the record is appended; all or nothing.
type Recorded struct {
	Claims    capability.Claims
	Connector agentid.Ref
	Assertion Assertion
	Record    auditlog.Record
}

// Ledger records issued tokens. KindUnauthenticated "assertion_replayed": the assertion
// was used before. KindUnavailable: nothing may be known; the token does not leave.
type Ledger interface {
	RecordToken(ctx context.Context, r Recorded) error
}

// Templates finds a capability template of a tenant: KindNotFound if it has none of that
// name.
type Templates interface {
	Template(ctx context.Context, tenant, name string) (capability.Template, error)
}

// Decider is policy.Decider.
type Decider interface {
	Decide(ctx context.Context, q policy.Question) (policy.Allowed, error)
}

// Signer gives the active key; KindUnavailable if there is none.
type Signer interface {
	Active() (jose.SigningKey, error)
}

// Config configures New. Everything without a default is required.
type Config struct {
	Kinds         map[string]*connectors.Kind
	Fleet         wire.Fleet
	Templates     Templates
	Decider       Decider
	Signer        Signer
	Ledger        Ledger
	PolicyVersion func() string
	Lifetime      time.Duration    // default: DefaultLifetime; at most MaxLifetime
	Now           func() time.Time // default: time.Now
}

// Mint makes tokens. It is safe for concurrent use.
type Mint struct{ cfg Config }

// New checks cfg.
func New(cfg Config) (*Mint, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = DefaultLifetime
	}
	switch {
	case len(cfg.Kinds) == 0 || cfg.Fleet == nil || cfg.Templates == nil:
		return nil, errors.New("issue: kinds, fleet and templates are required")
	case cfg.Decider == nil || cfg.Signer == nil || cfg.Ledger == nil || cfg.PolicyVersion == nil:
		return nil, errors.New("issue: decider, signer, ledger and policy version are required")
	case cfg.Lifetime < 0 || cfg.Lifetime > MaxLifetime:
		return nil, errors.New("issue: the lifetime of tokens is beyond one hour")
	}
	return &Mint{cfg: cfg}, nil
}

// Issue mints one token, or refuses:
//
//   - KindInvalid with the OAuth codes invalid_authorization_details, invalid_scope,
//     invalid_target or invalid_dpop_proof, for a request that no policy could allow;
//   - KindForbidden: agent_expired, ceiling_exceeded, and the reasons of policy.Decide;
//   - KindUnauthenticated assertion_replayed;
//   - KindUnavailable when a part is down: no token has left.
func (m *Mint) Issue(ctx context.Context, req Request) (Grant, error) {
	if err := checkAgent(req.Agent, m.cfg.Now()); err != nil {
		return Grant{}, err
	}
	wanted, err := m.expand(ctx, req)
	if err != nil {
		return Grant{}, err
	}
	target, err := m.target(ctx, req, wanted)
	if err != nil {
		return Grant{}, err
	}
	capabilities, err := target.narrow(req, wanted.capabilities)
	if err != nil {
		return Grant{}, err
	}
	decided, err := m.decide(ctx, req.Agent, target, capabilities)
	if err != nil {
		return Grant{}, err
	}
	return m.sign(ctx, req, target, capabilities, decided)
}

func checkAgent(a Agent, now time.Time) error {
	switch {
	case a.Ref.IsZero() || a.Type.IsZero() || a.Principal.IsZero() || len(a.Lineage) == 0 || a.Lineage[0].Agent != a.Ref:
		return errors.New("issue: the agent is incomplete")
	case !now.Before(a.Expires):
		return agentid.Errorf(agentid.KindForbidden, "agent_expired", "the agent has expired")
	}
	return nil
}
