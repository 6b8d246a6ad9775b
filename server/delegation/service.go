package delegation

import (
	"context"
	"errors"
	"log/slog"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/agents"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/principals"
	"github.com/agentid-dev/agentid/server/relations"
	"github.com/agentid-dev/agentid/server/revocation"
	"github.com/agentid-dev/agentid/server/trail"
)

// MaxLife is the longest life of a standing delegation.
const MaxLife = 366 * 24 * time.Hour

// Revoker is revocation.Revoker. An error means that the denial is not acknowledged.
type Revoker interface {
	Token(ctx context.Context, o revocation.Order) (revocation.Receipt, error)
}

// Resolver is issue.Mint: it reads what a delegation is to cover.
type Resolver interface {
	Resolve(ctx context.Context, tenant string, templates []string, details capability.Request, resource string) ([]capability.Capability, string, error)
}

// Config configures New. All but Logger and Now are required.
type Config struct {
	Issuers    discovery.Issuers
	Ledger     *ledger.Ledger
	Graph      principals.Graph
	Principals *principals.Service
	Providers  *principals.Providers
	Agents     *agents.Service
	Revoker    Revoker
	Resolver   Resolver
	Trail      *trail.Trail
	Logger     *slog.Logger
	Now        func() time.Time
}

// Service is safe for concurrent use.
type Service struct {
	cfg   Config
	graph relations.Graph
}

// New checks cfg.
func New(cfg Config) (*Service, error) {
	if cfg.Issuers.Root() == "" || cfg.Ledger == nil || cfg.Graph == nil || cfg.Principals == nil || cfg.Providers == nil ||
		cfg.Agents == nil || cfg.Revoker == nil || cfg.Resolver == nil || cfg.Trail == nil {
		return nil, errors.New("delegation: a required part is missing")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{cfg: cfg, graph: relations.Graph{Client: cfg.Graph}}, nil
}

// edges are what a delegation stands for in the graph. Each ends with it.
func edges(d ledger.Delegation) ([]relate.Edge, error) {
	tenant, err := agentid.TenantRef(d.Ref.Tenant())
	if err != nil {
		return nil, err
	}
	edge := func(relation string, to relate.Subject) relate.Edge {
		return relate.Edge{Resource: d.Ref, Relation: relation, Subject: to, Expires: d.Expires}
	}
	return []relate.Edge{
		edge(schema.DelegationGranted, relate.Set(d.Type, schema.AgentTypeInstance)),
		edge(schema.DelegationTenant, relate.To(tenant)),
		edge(schema.DelegationPrincipal, relate.To(d.Principal)),
		edge(schema.DelegationType, relate.To(d.Type)),
	}, nil
}

// mayUse asks the graph whether an agent may use a delegation now: KindForbidden
// delegation_refused.
func (s *Service) mayUse(ctx context.Context, delegation, agent agentid.Ref) error {
	answer, err := s.cfg.Graph.CheckPermission(ctx, &v1.CheckPermissionRequest{
		Consistency: &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}},
		Resource:    relate.Object(delegation), Permission: schema.DelegationUse, Subject: &v1.SubjectReference{Object: relate.Object(agent)},
	})
	if err != nil {
		return agentid.Unavailable("graph_unavailable", err)
	}
	if answer.GetPermissionship() != v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION {
		return agentid.Errorf(agentid.KindForbidden, "delegation_refused", "the delegation does not stand for this agent")
	}
	return nil
}

// token is a delegation as the chain of tokens knows it.
func token(d ledger.Delegation) (agentid.Ref, error) {
	return agentid.TokenRef(d.Ref.Tenant(), d.Ref.Name())
}
