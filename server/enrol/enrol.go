package enrol

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/sources"
	"github.com/agentid-dev/agentid/internal/recall"
	"github.com/agentid-dev/agentid/server/agents"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/ledger"
)

// Ledger is what the ledger knows of issuers, rules and agents. KindNotFound refuses;
// KindUnavailable is an outage and is told as one.
type Ledger interface {
	WorkloadIssuerByName(ctx context.Context, tenant, issuer string) (ledger.WorkloadIssuer, error)
	RulesOf(ctx context.Context, issuer agentid.Ref) ([]ledger.EnrolmentRule, error)
	Agent(ctx context.Context, ref agentid.Ref) (ledger.Agent, error)
	AgentByThumbprint(ctx context.Context, thumbprint string) (ledger.Agent, error)
	// EnrolmentChanges counts what may have changed what the first two give, ClientChanges
	// what may have changed an agent.
	EnrolmentChanges() recall.Generation
	ClientChanges() recall.Generation
}

// Spawner is agents.Service.
type Spawner interface {
	Register(ctx context.Context, by agents.Actor, spec agents.Spec) (agents.Agent, error)
}

// Config configures New. Ledger, Agents and Issuers are required.
type Config struct {
	Ledger  Ledger
	Agents  Spawner
	Issuers discovery.Issuers
	RootCAs *x509.CertPool   // that issuers' servers are trusted by; default: the system's
	Now     func() time.Time // default: time.Now
	Logger  *slog.Logger     // default: discards
}

// Service admits workloads. It is safe for concurrent use.
type Service struct {
	cfg      Config
	registry *registry
	known    *remembered
}

// New checks cfg.
func New(cfg Config) (*Service, error) {
	if cfg.Ledger == nil || cfg.Agents == nil || cfg.Issuers.Root() == "" {
		return nil, errors.New("enrol: ledger, agents and issuers are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	known, err := newRemembered(cfg.Ledger)
	if err != nil {
		return nil, err
	}
	return &Service{cfg: cfg, known: known, registry: &registry{
		environment: sources.Environment{Now: cfg.Now, Logger: cfg.Logger, RootCAs: cfg.RootCAs}, kept: map[agentid.Ref]kept{},
	}}, nil
}

// Use is what an identity is presented for: it decides which audience is ours. The zero
// Use is none.
type Use int

// The uses.
const (
	// Grant: the assertion of a grant (RFC 7523 section 3): for what the rule says, and
	// where that is our issuer identifier, for the token endpoint as well.
	Grant Use = iota + 1
	// Client: client authentication (rfc7523bis): for our issuer identifier alone.
	Client
	// Connection: the certificate of the connection, which has no audience.
	Connection
)

// Request is what a workload presents at a tenant's issuer.
type Request struct {
	Tenant       string
	Use          Use
	Token        string              // a JWT, or a presigned request
	Certificates []*x509.Certificate // with Connection: of the TLS peer, leaf first
}

// Admission is an identity that one rule admits. Only Admit makes one.
type Admission struct {
	Identity federation.Identity
	Issuer   ledger.WorkloadIssuer
	Rule     ledger.EnrolmentRule
	use      Use
}

// Admit verifies what was presented and finds the rule that admits it. Nothing is written.
// The trace holds every step up to the one that failed. Errors: KindUnauthenticated with
// the reason of the check that failed; KindUnavailable when the issuer's keys or the ledger
// cannot be had.
func (s *Service) Admit(ctx context.Context, r Request) (Admission, *federation.Trace, error) {
	t := new(federation.Trace)
	a, err := s.admit(ctx, r, t)
	return a, t, err
}

func (s *Service) admit(ctx context.Context, r Request, t *federation.Trace) (Admission, error) {
	if r.Tenant == "" || r.Use == 0 {
		return Admission{}, t.Fail(federation.StepIssuer, refuse(ReasonTenant, "workloads come in at a tenant's issuer", nil))
	}
	a := Admission{use: r.Use}
	var err error
	if a.Issuer, err = s.issuer(ctx, r, t); err != nil {
		return Admission{}, err
	}
	source, err := s.registry.source(a.Issuer)
	if err != nil {
		return Admission{}, t.Fail(federation.StepIssuer, err)
	}
	rules, err := s.known.rulesOf(ctx, a.Issuer.Ref)
	if err != nil {
		return Admission{}, t.Fail(federation.StepRule, err)
	}
	named := func(of rule) []string { return s.audiences(r, of.stored) }
	p := federation.Presented{Token: r.Token, Now: s.cfg.Now()}
	if r.Use == Connection {
		p.Token, p.Certificates = "", r.Certificates
	}
	for _, rule := range rules {
		for _, audience := range named(rule) {
			if audience != "" && !slices.Contains(p.Audiences, audience) {
				p.Audiences = append(p.Audiences, audience)
			}
		}
	}
	slices.SortStableFunc(p.Audiences, func(x, y string) int { return s.rank(r, x) - s.rank(r, y) })
	id, steps, err := source.Verify(ctx, p)
	t.Append(steps)
	if err != nil {
		return Admission{}, err //nolint:wrapcheck // an agentid.Error
	}
	a.Identity = id
	if a.Rule, err = choose(rules, id, named, t); err != nil {
		return Admission{}, err
	}
	t.Pass(federation.StepPrincipal, principalOf(a.Rule))
	return a, nil
}

// rank puts our issuer identifier first: a presigned request can be for one name only.
func (s *Service) rank(r Request, audience string) int {
	if audience == s.cfg.Issuers.Of(r.Tenant) {
		return 0
	}
	return 1
}

func principalOf(r ledger.EnrolmentRule) string {
	if r.Principal.IsZero() {
		return "whoever delegates to it"
	}
	return r.Principal.String()
}

// audiences are the names that a rule takes a token for.
func (s *Service) audiences(r Request, rule ledger.EnrolmentRule) []string {
	ours := s.cfg.Issuers.Of(r.Tenant)
	switch {
	case r.Use == Connection:
		return []string{""}
	case r.Use == Client && rule.Audience == ours:
		return []string{ours}
	case r.Use == Client:
		return nil
	case rule.Audience == ours:
		return []string{ours, ours + discovery.PathToken}
	}
	return []string{rule.Audience}
}

// issuer finds the configured issuer that the token names. It believes nothing of it yet.
func (s *Service) issuer(ctx context.Context, r Request, t *federation.Trace) (ledger.WorkloadIssuer, error) {
	hints := sources.Hints(r.Token)
	if r.Use == Connection {
		hints = nil
		if len(r.Certificates) > 0 {
			hints = []string{sources.CertificateHint(r.Certificates[0])}
		}
	}
	for _, name := range hints {
		found, err := s.known.issuer(ctx, r.Tenant, name)
		if agentid.KindOf(err) == agentid.KindNotFound && err != nil {
			continue
		}
		if err != nil {
			return found, t.Fail(federation.StepIssuer, err)
		}
		t.Pass(federation.StepIssuer, found.Ref.Name()+", a "+found.Kind+" issuer: "+found.Issuer)
		return found, nil
	}
	detail := "it names no issuer, or does not read as a token"
	if len(hints) > 0 {
		detail = "no issuer of this tenant is called " + bounded(hints[0])
	}
	return ledger.WorkloadIssuer{}, t.Fail(federation.StepIssuer, refuse(federation.ReasonIssuer, detail, nil))
}

func bounded(text string) string {
	const most = 200
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
