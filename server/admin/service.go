package admin

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/agents"
	"github.com/agentid-dev/agentid/server/fleet/hub"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/principals"
	"github.com/agentid-dev/agentid/server/revocation"
	"github.com/agentid-dev/agentid/server/signer"
)

// Config configures New. All but Workloads, People, Draining, Logger and Now are required.
type Config struct {
	Ledger  *ledger.Ledger
	Graph   Graph
	Schema  v1.SchemaServiceClient
	Signer  *signer.Signer
	Revoker *revocation.Revoker // server.Broker's, so that there is one
	Fleet   Fleet
	Hub     Hub
	Witness Witness // nil: a restore is not recognised by itself
	// Agents carries agents through their lives: server.Broker's, so that there is one.
	Agents *agents.Service
	Kinds  map[string]*connectors.Kind
	// Workloads judges workload issuers; nil: none are taken.
	Workloads Workloads
	// People are the principals that came by identity providers; nil: there are none.
	People People
	// Refusals writes refused calls to the audit log.
	Refusals Refusals
	// Draining is closed when the server goes down: streams end. It may be nil.
	Draining <-chan struct{}
	Logger   *slog.Logger
	Now      func() time.Time
}

// Hub is hub.Hub.
type Hub interface {
	Publish(e wire.Event) *hub.Ticket
	// Flush waits until every gateway acts on all that was published. An error means that
	// this is not known: the change is made, but not acknowledged.
	Flush(ctx context.Context) (hub.Outcome, error)
	// Begin makes every gateway begin again with start.
	Begin(start wire.State)
}

// Fleet is the gateways' view of settings.
type Fleet interface {
	// Reload reads the settings again. An error means that gateways keep the old ones:
	// the change is made, but not acknowledged.
	Reload(ctx context.Context) error
}

// People is principals.Service.
type People interface {
	// Sync brings what groups give into place; given nil: as the identity provider says.
	Sync(ctx context.Context, principal agentid.Ref, given []string, administrator string) (principals.Change, error)
	// Explain is the dry run of a person's token; ok is false for a token of somebody else.
	Explain(ctx context.Context, tenant, token string) (principals.Explained, bool, error)
	// Forget takes away what a provider's groups gave, before the provider is deleted.
	Forget(ctx context.Context, provider ledger.IdentityProvider) error
}

// Refusals is trail.Trail.
type Refusals interface {
	Refused(ctx context.Context, authenticated bool, about auditlog.Record, err error)
}

// Service carries out administration. It is safe for concurrent use; writes are one at
// a time, so that two applies never interleave.
type Service struct {
	cfg Config
	mu  sync.Mutex
}

// New checks cfg.
func New(cfg Config) (*Service, error) {
	if cfg.Ledger == nil || cfg.Graph == nil || cfg.Schema == nil || cfg.Signer == nil || cfg.Revoker == nil ||
		cfg.Fleet == nil || cfg.Hub == nil || cfg.Agents == nil || cfg.Refusals == nil || len(cfg.Kinds) == 0 {
		return nil, errors.New("admin: a required part is missing")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{cfg: cfg}, nil
}

// record is the audit row of one administrative write.
func (s *Service) record(ctx context.Context, operation string, about agentid.Ref, resource string) auditlog.Record {
	return auditlog.Record{
		Kind: auditlog.Admin, Phase: auditlog.Single, Request: httpx.RequestID(ctx), Tenant: about.Tenant(),
		Operation: operation, Resource: resource, Decision: auditlog.Allow,
		Notes: map[string]string{"administrator": administrator(ctx)},
	}
}

type administratorKey struct{}

// administrator is the id of the credential that this request came with.
func administrator(ctx context.Context) string {
	id, _ := ctx.Value(administratorKey{}).(string)
	return id
}
