// Package principals makes people of identity providers into principals: the first sign-in
// makes one, and each sign-in or sync brings the relationships that its groups give into
// place.
//
// It owns the order of these steps between the ledger and the graph. What groups took
// away is acknowledged only once it is effective; what a group gives is recorded before it
// is made, so that it is found again to be taken away. An edge that somebody else made is
// left alone. Who the person is was verified by federation/oidc; what a principal may do is
// the graph's to say.
package principals

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation/oidc"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/relations"
	"github.com/agentid-dev/agentid/server/revocation"
)

// Graph is the part of SpiceDB's client that principals need. Every error means that
// nothing is known of the call: it is made again, which is harmless.
type Graph interface {
	relations.Client
	CheckPermission(ctx context.Context, in *v1.CheckPermissionRequest, opts ...grpc.CallOption) (*v1.CheckPermissionResponse, error)
}

// Config configures New. All but Logger and Now are required.
type Config struct {
	Ledger    *ledger.Ledger
	Graph     Graph
	Providers *Providers
	Revoker   *revocation.Revoker // takes away what groups gave
	Logger    *slog.Logger
	Now       func() time.Time
}

// Service is safe for concurrent use.
type Service struct {
	cfg   Config
	graph relations.Graph
	locks [64]sync.Mutex // by principal: its groups are reconciled one at a time
	seed  maphash.Seed
}

// New checks cfg.
func New(cfg Config) (*Service, error) {
	if cfg.Ledger == nil || cfg.Graph == nil || cfg.Providers == nil || cfg.Revoker == nil {
		return nil, errors.New("principals: a required part is missing")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{cfg: cfg, graph: relations.Graph{Client: cfg.Graph}, seed: maphash.MakeSeed()}, nil
}

func (s *Service) lock(key string) func() {
	mu := &s.locks[maphash.String(s.seed, key)%uint64(len(s.locks))]
	mu.Lock()
	return mu.Unlock
}

// Known finds the principal of a person: KindForbidden principal_unknown where nobody
// declared it and no sign-in made it, principal_disabled where it is frozen.
func (s *Service) Known(ctx context.Context, provider ledger.IdentityProvider, person oidc.Person) (ledger.Principal, error) {
	p, err := s.cfg.Ledger.PrincipalBySubject(ctx, provider.Tenant, provider.Issuer, person.Identity.Subject)
	if err != nil && agentid.KindOf(err) == agentid.KindNotFound {
		return p, agentid.Errorf(agentid.KindForbidden, "principal_unknown", "the person is not known here").WithCause(err)
	}
	if err != nil {
		return p, err
	}
	return p, s.enabled(ctx, p.Ref)
}

func (s *Service) enabled(ctx context.Context, ref agentid.Ref) error {
	for _, of := range []agentid.Ref{ref, tenantOf(ref)} {
		freezes, err := s.cfg.Ledger.Freezes(ctx, of)
		if err != nil {
			return err
		}
		if len(freezes) > 0 {
			return agentid.Errorf(agentid.KindForbidden, of.Type()+"_disabled", "the %s is disabled", of.Type())
		}
	}
	return nil
}

func tenantOf(ref agentid.Ref) agentid.Ref {
	tenant, _ := agentid.TenantRef(ref.Tenant()) // a ref's tenant is well formed
	return tenant
}

// SignedIn finds or makes the principal of a person who signed in, and brings what its
// groups give into place. With an error the sign-in is refused; KindUnavailable: what was
// to be taken away may not be yet.
func (s *Service) SignedIn(ctx context.Context, provider ledger.IdentityProvider, person oidc.Person) (ledger.Principal, error) {
	if person.Identity.Issuer != provider.Issuer || person.Identity.Subject == "" {
		return ledger.Principal{}, errors.New("principals: the person is not of this provider")
	}
	defer s.lock(provider.Tenant + " " + provider.Issuer + " " + person.Identity.Subject)()
	p, err := s.Known(ctx, provider, person)
	if agentid.ReasonOf(err) == "principal_unknown" && err != nil && !provider.Declared {
		p, err = s.create(ctx, provider, person)
	}
	if err != nil {
		return ledger.Principal{}, err
	}
	if err := s.born(ctx, p.Ref); err != nil {
		return ledger.Principal{}, err
	}
	_, err = s.reconcile(ctx, provider, p, person.Groups, "login")
	return p, err
}

// create makes a principal's row. Its name is made of the provider's name and a digest of
// issuer and subject, so that two people never have one.
func (s *Service) create(ctx context.Context, provider ledger.IdentityProvider, person oidc.Person) (ledger.Principal, error) {
	sum := sha256.Sum256([]byte(provider.Issuer + "\x00" + person.Identity.Subject))
	digest := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:15]))
	ref, err := agentid.PrincipalRef(provider.Tenant, provider.Name+"-"+digest)
	if err != nil {
		return ledger.Principal{}, err
	}
	record := s.record(ctx, "principal.create", ref)
	record.Notes["issuer"], record.Notes["by"] = provider.Issuer, "login"
	p, _, err := s.cfg.Ledger.PutPrincipal(ctx, ledger.Principal{
		Ref: ref, Kind: ledger.PrincipalHuman, Issuer: provider.Issuer, Subject: person.Identity.Subject, Display: person.Name,
	}, record)
	if err != nil {
		return p, err
	}
	return p, s.enabled(ctx, tenantOf(ref))
}

// born makes a principal's edges, once: they are made in one write under the condition
// that none was there, so that a sign-in never brings a switch back that a freeze took.
func (s *Service) born(ctx context.Context, ref agentid.Ref) error {
	edges := []relate.Edge{
		{Resource: ref, Relation: schema.PrincipalTenant, Subject: relate.To(tenantOf(ref))},
		{Resource: ref, Relation: schema.PrincipalEnabled, Subject: relate.All(schema.TypeAgent)},
	}
	left, err := s.graph.Pending(ctx, relations.Set{Wanted: edges[:1]})
	if err != nil || len(left) == 0 {
		return err
	}
	updates, err := relations.All(relations.Set{Wanted: edges})
	if err != nil {
		return err
	}
	if _, err := s.graph.Write(ctx, updates, relations.MustNotHave(ref, schema.PrincipalTenant)); err != nil && !errors.Is(err, relations.ErrPrecondition) {
		return err
	}
	// A freeze in between found no switch to take.
	err = s.enabled(ctx, ref)
	if agentid.ReasonOf(err) == "principal_disabled" && err != nil {
		gone, failed := relations.All(relations.Set{Unwanted: edges[1:]})
		if failed != nil {
			return failed
		}
		if _, failed := s.graph.Write(ctx, gone); failed != nil {
			return failed
		}
	}
	return err
}

// MayLaunch asks the graph whether a principal may start agents of a type: KindForbidden
// launch_refused.
func (s *Service) MayLaunch(ctx context.Context, typ, principal agentid.Ref) error {
	if typ.Tenant() != principal.Tenant() {
		return agentid.Errorf(agentid.KindForbidden, "launch_refused", "the person may not launch agents of this type")
	}
	answer, err := s.cfg.Graph.CheckPermission(ctx, &v1.CheckPermissionRequest{
		Consistency: &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}},
		Resource:    relate.Object(typ), Permission: schema.AgentTypeLaunch, Subject: &v1.SubjectReference{Object: relate.Object(principal)},
	})
	if err != nil {
		return agentid.Unavailable("graph_unavailable", err)
	}
	if answer.GetPermissionship() != v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION {
		return agentid.Errorf(agentid.KindForbidden, "launch_refused", "the person may not launch agents of this type")
	}
	return nil
}

// record is the audit row of a change of one principal.
func (s *Service) record(ctx context.Context, operation string, ref agentid.Ref) auditlog.Record {
	return auditlog.Record{
		Kind: auditlog.Admin, Phase: auditlog.Single, Request: httpx.RequestID(ctx), Tenant: ref.Tenant(), Principal: ref.String(),
		Operation: operation, Resource: ref.String(), Decision: auditlog.Allow, Notes: map[string]string{},
	}
}
