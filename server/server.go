// Package server is the Identity Broker: it puts its endpoints together and gives them
// their paths.
//
// It owns the routes, the OpenAPI document that describes them, and readiness. What an
// endpoint does is in the package named after it; the administration is mounted, not
// known. It opens no listener and reads no file.
package server

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/agentrate"
	"github.com/agentid-dev/agentid/server/agents"
	"github.com/agentid-dev/agentid/server/clientauth"
	"github.com/agentid-dev/agentid/server/delegation"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/enrol"
	"github.com/agentid-dev/agentid/server/exchange"
	"github.com/agentid-dev/agentid/server/fleet"
	"github.com/agentid-dev/agentid/server/fleet/hub"
	"github.com/agentid-dev/agentid/server/introspection"
	"github.com/agentid-dev/agentid/server/issue"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/login"
	"github.com/agentid-dev/agentid/server/principals"
	"github.com/agentid-dev/agentid/server/revocation"
	"github.com/agentid-dev/agentid/server/signer"
	"github.com/agentid-dev/agentid/server/tokens"
	"github.com/agentid-dev/agentid/server/trail"
)

// Config configures New. Everything without a default is required.
type Config struct {
	BaseURL     string // public: scheme://host[:port]; the root issuer
	Ledger      *ledger.Ledger
	Audit       wire.Audit // where refusals go
	Permissions v1.PermissionsServiceClient
	Decider     *policy.Decider
	// Hub brings what is taken away to the gateways. Default: one that has none.
	Hub           *hub.Hub
	Witness       revocation.Witness // default: none
	Metrics       prometheus.Registerer
	Kinds         map[string]*connectors.Kind
	PolicyVersion func() string
	TokenLifetime time.Duration  // default: issue.DefaultLifetime
	TokensPerMin  int            // token requests per agent; default: agentrate.DefaultPerMinute
	TokensBurst   int            // default: agentrate.DefaultBurst
	LoginsPerMin  int            // steps of sign-ins per address; default: login.DefaultPerMinute
	LoginsBurst   int            // default: login.DefaultBurst
	IssuerCAs     *x509.CertPool // that the servers of workload issuers are trusted by; default: the system's
	Checks        []Check        // what readiness depends on
	Logger        *slog.Logger   // default: discards
	Now           func() time.Time
}

// Broker is the running Identity Broker. It is safe for concurrent use.
type Broker struct {
	cfg       Config
	issuers   discovery.Issuers
	signer    *signer.Signer
	fleet     *fleet.Fleet
	revoker   *revocation.Revoker
	refusals  *trail.Trail
	agents    *agents.Service
	lifecycle *agents.Endpoints
	providers *principals.Providers
	people    *principals.Service
	login     *login.Service

	enrol       *enrol.Service
	delegations *delegation.Service
	documents   *discovery.Documents
	tokens      *tokens.Endpoint
	introspec   *introspection.Endpoint
	revoke      *revocation.Endpoint
}

// New puts a broker together. It reads signing keys and connectors from the ledger, and
// makes the first signing key when there is none.
func New(ctx context.Context, cfg Config) (*Broker, error) {
	if cfg.Ledger == nil || cfg.Audit == nil || cfg.Permissions == nil || cfg.Decider == nil {
		return nil, errors.New("server: ledger, audit, permissions and decider are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Broker{cfg: cfg}
	var err error
	if b.cfg.Hub == nil {
		if b.cfg.Hub, err = NewHub(ctx, cfg.Ledger, hub.Config{Now: cfg.Now, Logger: cfg.Logger}); err != nil {
			return nil, err
		}
	}
	if b.issuers, err = discovery.NewIssuers(cfg.BaseURL); err != nil {
		return nil, err
	}
	if b.signer, err = signer.New(ctx, signer.Config{
		Store: cfg.Ledger, TokenLifetime: issue.MaxLifetime + capability.MaxSkew, PublishBefore: discovery.JWKSMaxAge, Now: cfg.Now,
	}); err != nil {
		return nil, err
	}
	if b.fleet, err = fleet.New(ctx, fleet.Config{
		Source: cfg.Ledger, Keys: b.signer, Issuers: b.issuers, Logger: cfg.Logger,
		Changed: func() { b.cfg.Hub.Publish(wire.Event{Kind: wire.EventSettings}) },
	}); err != nil {
		return nil, err
	}
	if b.revoker, err = revocation.NewRevoker(revocation.RevokerConfig{
		Ledger: cfg.Ledger, Graph: cfg.Permissions, Hub: b.cfg.Hub, Settled: b.fleet.Reload, Witness: cfg.Witness,
		Metrics: cfg.Metrics, Now: cfg.Now, Logger: cfg.Logger,
	}); err != nil {
		return nil, err
	}
	if b.agents, err = agents.New(agents.Config{
		Ledger: cfg.Ledger, Graph: cfg.Permissions, Revoker: b.revoker, Logger: cfg.Logger, Now: cfg.Now,
	}); err != nil {
		return nil, err
	}
	if b.enrol, err = enrol.New(enrol.Config{
		Ledger: cfg.Ledger, Agents: b.agents, Issuers: b.issuers, RootCAs: cfg.IssuerCAs, Now: cfg.Now, Logger: cfg.Logger,
	}); err != nil {
		return nil, err
	}
	if err := b.newPeople(); err != nil {
		return nil, err
	}
	if b.documents, err = b.newDocuments(); err != nil {
		return nil, err
	}
	return b, b.newEndpoints()
}

// NewHub makes a hub that begins with what the ledger knows.
func NewHub(ctx context.Context, l *ledger.Ledger, cfg hub.Config) (*hub.Hub, error) {
	var err error
	if cfg.Start, err = l.State(ctx); err != nil {
		return nil, err
	}
	cfg.Newer = l.Newer
	return hub.New(cfg)
}

func (b *Broker) newDocuments() (*discovery.Documents, error) {
	var scopes, client, proof []string
	for _, kind := range b.cfg.Kinds {
		for _, op := range kind.Operations() {
			scopes = append(scopes, op.Name)
		}
	}
	for _, alg := range clientAlgorithms() {
		client = append(client, string(alg))
	}
	for _, alg := range dpop.Algorithms() {
		proof = append(proof, string(alg))
	}
	return discovery.New(discovery.Config{
		Issuers: b.issuers, People: b.login, Tenants: tenants{b.cfg.Ledger}, Keys: b.signer, Scopes: scopes,
		DetailTypes: []string{capability.DetailType, capability.TemplateType}, ClientAlgorithms: client, ProofAlgorithms: proof,
	})
}

func (b *Broker) newEndpoints() error {
	cfg := b.cfg
	clients, err := clientauth.New(clientauth.Config{Directory: cfg.Ledger, Issuers: b.issuers, Now: cfg.Now})
	if err != nil {
		return err
	}
	var limits [3]*agentrate.Limit // apart, so that no loop of an agent keeps it from revoking
	for i := range limits {
		if limits[i], err = agentrate.New(cfg.TokensPerMin, cfg.TokensBurst); err != nil {
			return err
		}
	}
	if b.lifecycle, err = agents.NewEndpoints(agents.EndpointsConfig{
		Service: b.agents, Issuers: b.issuers, Clients: clients, Trail: b.refusals, Limit: limits[0], Logger: cfg.Logger,
	}); err != nil {
		return err
	}
	mint, err := issue.New(issue.Config{
		Kinds: cfg.Kinds, Fleet: b.fleet, Decider: cfg.Decider, Signer: b.signer, Ledger: cfg.Ledger,
		PolicyVersion: cfg.PolicyVersion, Lifetime: cfg.TokenLifetime, Now: cfg.Now,
	})
	if err != nil {
		return err
	}
	if err := b.newDelegations(mint); err != nil {
		return err
	}
	guard, err := dpop.NewGuard(dpop.GuardConfig{Now: cfg.Now})
	if err != nil {
		return err
	}
	// It remembers: the same tokens are asked about again and again.
	exact, err := capability.NewVerifier(capability.VerifierConfig{
		Keys: b.fleet, Base: b.issuers.Root(), Now: cfg.Now, Cache: verifiedTokens, Derive: introspection.Deriving(cfg.Decider),
	})
	if err != nil {
		return err
	}
	subjects, err := exchange.New(exchange.Config{Verifier: exact, Decider: cfg.Decider, Fleet: b.fleet})
	if err != nil {
		return err
	}
	if b.tokens, err = tokens.New(tokens.Config{
		Issuers: b.issuers, Clients: clients, Mint: mint, Subjects: subjects, People: b.login, Delegations: b.delegations, Workloads: b.enrol, Guard: guard, Trail: b.refusals,
		PerMinute: cfg.TokensPerMin, Burst: cfg.TokensBurst, Now: cfg.Now,
	}); err != nil {
		return err
	}
	if b.introspec, err = introspection.New(introspection.Config{
		Issuers: b.issuers, Clients: clients, Verifier: exact, Decider: cfg.Decider,
		Fleet: b.fleet, Signer: b.signer, Trail: b.refusals, Limit: limits[1], Now: cfg.Now,
	}); err != nil {
		return err
	}
	return b.newRevocation(clients, limits[2])
}

// newRevocation makes RFC 7009's endpoint. A gateway takes a token for the skew beyond its
// expiry: as long it can be revoked.
func (b *Broker) newRevocation(clients *clientauth.Authenticator, limit *agentrate.Limit) error {
	lenient, err := capability.NewVerifier(capability.VerifierConfig{
		Keys: b.fleet, Base: b.issuers.Root(), Skew: capability.MaxSkew, Now: b.cfg.Now,
	})
	if err != nil {
		return err
	}
	b.revoke, err = revocation.New(revocation.Config{
		Issuers: b.issuers, Clients: clients, Verifier: lenient, Revoker: b.revoker, Trail: b.refusals, Limit: limit,
	})
	return err
}

// verifiedTokens is how many tokens are remembered whose signature was checked: for each
// what it says, and the answer about it while it is good.
const verifiedTokens = 4096

// Issuers are the issuer identifiers of this broker.
func (b *Broker) Issuers() discovery.Issuers { return b.issuers }

// Signer rotates the signing keys.
func (b *Broker) Signer() *signer.Signer { return b.signer }

// Fleet is what gateways in this process ask. Whoever changes a connector or a
// credential calls its Reload before answering.
func (b *Broker) Fleet() *fleet.Fleet { return b.fleet }

// Hub is where gateways subscribe.
func (b *Broker) Hub() *hub.Hub { return b.cfg.Hub }

// Revoker takes tokens away for administrators.
func (b *Broker) Revoker() *revocation.Revoker { return b.revoker }

// Agents carries agents through their lives, for the administration.
func (b *Broker) Agents() *agents.Service { return b.agents }

// Principals makes people into principals, for the administration.
func (b *Broker) Principals() *principals.Service { return b.people }

// Workloads admits agents by rule, for the administration.
func (b *Broker) Workloads() *enrol.Service { return b.enrol }

// Refusals is where the administration writes the refusals of its callers.
func (b *Broker) Refusals() *trail.Trail { return b.refusals }

// Run follows changes of the ledger, replays open revocations, and clears up after spawns
// that a crash left open and agents that ended, until ctx ends.
func (b *Broker) Run(ctx context.Context) {
	var group errgroup.Group
	group.Go(func() error { b.follow(ctx); return nil })
	group.Go(func() error { b.revoker.Run(ctx); return nil })
	group.Go(func() error { b.agents.Run(ctx); return nil })
	_ = group.Wait() // none returns an error
}

// followEvery bounds how long a change that was not announced goes unseen.
const followEvery = 10 * time.Second

// follow reads keys and fleet again whenever the ledger announces a change, and at
// intervals, so that a failed reading is tried again.
func (b *Broker) follow(ctx context.Context) {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		changed := b.cfg.Ledger.Changed()
		if err := errors.Join(b.signer.Reload(ctx), b.fleet.Reload(ctx)); err != nil && ctx.Err() == nil {
			b.cfg.Logger.ErrorContext(ctx, "keys and connectors could not be read again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-ticker.C:
		}
	}
}

// tenants answers discovery from the ledger.
type tenants struct{ ledger *ledger.Ledger }

func (t tenants) TenantExists(ctx context.Context, tenant string) error {
	_, err := t.ledger.Tenant(ctx, tenant)
	return err
}
