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
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/recall"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/ledger"
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
	Attenuated bool // an ancestor that bounds the leaf: policy asks leg 2 of it too, and its ceiling is met
	// Ceiling bounds every token of the agent and of those that it bounds. Nil: policy
	// alone bounds it; empty: it may have nothing.
	Ceiling []capability.Capability
}

// Agent is an authenticated agent. Its lists are shared and not changed.
type Agent struct {
	Ref, Type, Principal agentid.Ref
	Autonomous           bool      // Principal is a service: sub is the agent
	OwnAuthority         bool      // its type holds its own authority
	Templates            []string  // that its type may use; empty: all of the tenant's
	Lineage              []Member  // leaf first
	Expires              time.Time // zero: never
	// Basis is what all this was read from: a token is recorded only if it still holds. It
	// was read at the count BasisAt: see ledger.Issue.
	Basis   []ledger.Basis
	BasisAt uint64
}

// Request asks for one token.
type Request struct {
	Issuer     string // iss of the token
	Agent      Agent
	Details    capability.Request
	Scope      []string // operations to narrow to; empty: as the capabilities say
	Resource   string   // the connector's resource URI; empty: the only connector that fits
	Thumbprint string   // of the key that the agent proved to hold; empty: a Bearer token is asked for
	// Certificate is the SHA-256 of the client certificate that the agent presented (RFC
	// 8705), where the token is bound to that; never beside a Thumbprint.
	Certificate string
	Assertion   ledger.Assertion // consumed in the transaction that records the token
	// Subject is the verified and live token that this one is made from (RFC 8693): one
	// more bound on everything. Nil: the agent asks with its own key alone.
	Subject *capability.Claims
	// Delegated is the person who has the agent act for them now, or the standing delegation
	// that it acts under. Nil: neither.
	Delegated *Delegated
	RequestID string
	Notes     map[string]string // for the audit log: who vouches for the agent
}

// Grant is a token that has been recorded.
type Grant struct {
	Token     string
	Claims    capability.Claims
	Details   json.RawMessage // Claims.Capabilities as JSON
	Bearer    bool
	ExpiresIn time.Duration
}

// Ledger is what the mint needs of the ledger.
type Ledger interface {
	// RecordIssue consumes the assertion, indexes the token and appends the record, all or
	// nothing. KindUnauthenticated "assertion_replayed": the assertion was used before.
	// After any error the token does not leave.
	RecordIssue(ctx context.Context, i ledger.Issue) error
	// Template finds a capability template of a tenant: KindNotFound if there is none.
	Template(ctx context.Context, tenant, name string) (ledger.Template, error)
	// TemplateChanges counts what may have changed what Template gives.
	TemplateChanges() recall.Generation
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
	Decider       Decider
	Signer        Signer
	Ledger        Ledger
	PolicyVersion func() string
	Lifetime      time.Duration    // default: DefaultLifetime; at most MaxLifetime
	Now           func() time.Time // default: time.Now
}

// Mint makes tokens. It is safe for concurrent use.
type Mint struct {
	cfg       Config
	templates *recall.Values[templateKey, capability.Template]
	prepared  atomic.Pointer[prepared]
}

// New checks cfg.
func New(cfg Config) (*Mint, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = DefaultLifetime
	}
	switch {
	case len(cfg.Kinds) == 0 || cfg.Fleet == nil:
		return nil, errors.New("issue: kinds and fleet are required")
	case cfg.Decider == nil || cfg.Signer == nil || cfg.Ledger == nil || cfg.PolicyVersion == nil:
		return nil, errors.New("issue: decider, signer, ledger and policy version are required")
	case cfg.Lifetime < 0 || cfg.Lifetime > MaxLifetime:
		return nil, errors.New("issue: the lifetime of tokens is beyond one hour")
	}
	templates, err := recall.New[templateKey, capability.Template](rememberedTemplates, cfg.Ledger.TemplateChanges())
	if err != nil {
		return nil, err
	}
	return &Mint{cfg: cfg, templates: templates}, nil
}

// Issue mints one token, or refuses:
//
//   - KindInvalid with the OAuth codes invalid_authorization_details, invalid_scope,
//     invalid_target or invalid_dpop_proof, for a request that no policy could allow;
//   - KindInvalid not_a_child, subject_token_revoked, for a Subject that is not acceptable
//     (invalid_request, RFC 8693 section 2.2.2);
//   - KindForbidden: agent_expired, ceiling_exceeded, capability_exceeds_parent,
//     token_too_large, and the reasons of policy.Decide;
//   - KindUnauthenticated assertion_replayed;
//   - KindUnavailable when a part is down: no token has left.
func (m *Mint) Issue(ctx context.Context, req Request) (Grant, error) {
	if err := checkAgent(req.Agent, m.cfg.Now()); err != nil {
		return Grant{}, err
	}
	req, err := req.delegated()
	if err != nil {
		return Grant{}, err
	}
	if req, err = req.below(); err != nil {
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
	counters, err := target.delegate(req, capabilities)
	if err != nil {
		return Grant{}, err
	}
	for again := decideAnew; ; again-- {
		decided, err := m.decide(ctx, req, target, capabilities)
		if err != nil {
			return Grant{}, err
		}
		grant, err := m.sign(ctx, req, target, granted{capabilities, counters}, decided)
		if again > 0 && agentid.ReasonOf(err) == policy.ReasonDecisionExpired {
			continue // something that the decisions rest on changed before anything was recorded
		}
		return grant, err
	}
}

// decideAnew is how often a mint decides again when something changes meanwhile.
const decideAnew = 3

func checkAgent(a Agent, now time.Time) error {
	switch {
	case a.Ref.IsZero() || a.Type.IsZero() || a.Principal.IsZero() || len(a.Lineage) == 0 || a.Lineage[0].Agent != a.Ref:
		return errors.New("issue: the agent is incomplete")
	case !a.Expires.IsZero() && !now.Before(a.Expires):
		return agentid.Errorf(agentid.KindForbidden, "agent_expired", "the agent has expired")
	}
	return nil
}
