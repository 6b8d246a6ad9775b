package admin

import (
	"context"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/ledger"
)

func (p *Principal) name() (agentid.Ref, error) { return named(agentid.PrincipalRef(p.Tenant, p.Name)) }

// named makes errors of a ref speak of the member "name".
func named(ref agentid.Ref, err error) (agentid.Ref, error) {
	if err == nil {
		return ref, nil
	}
	if e := agentid.AsError(err); e.Field != "tenant" {
		return ref, e.WithField("name")
	}
	return ref, err
}

func (p *Principal) check(ctx context.Context, w *world) error {
	if _, err := p.name(); err != nil {
		return err
	}
	if p.given() {
		return errState
	}
	if p.Type != string(ledger.PrincipalHuman) && p.Type != string(ledger.PrincipalService) {
		return agentid.Invalidf("type", "want human or service")
	}
	if (p.Issuer == "") != (p.Subject == "") {
		return agentid.Invalidf("subject", "issuer and subject come together")
	}
	return w.tenant(ctx, p.Tenant)
}

func (p *Principal) current(ctx context.Context, s *Service) (object, error) {
	ref, err := p.name()
	if err != nil {
		return nil, err
	}
	have, err := s.cfg.Ledger.Principal(ctx, ref)
	if err != nil {
		return nil, absent(err)
	}
	return principalOf(have), nil
}

func principalOf(p ledger.Principal) *Principal {
	return &Principal{
		Header: Header{Kind: KindPrincipal, Tenant: p.Ref.Tenant(), Name: p.Ref.Name()},
		Type:   string(p.Kind), Display: p.Display, Issuer: p.Issuer, Subject: p.Subject,
	}
}

func (p *Principal) edges(ctx context.Context, s *Service) (edges, error) {
	ref, tenant, err := withTenant(p.name())
	if err != nil {
		return edges{}, err
	}
	return s.switched(ctx, ref,
		[]relate.Edge{{Resource: ref, Relation: schema.PrincipalTenant, Subject: relate.To(tenant)}},
		relate.Edge{Resource: ref, Relation: schema.PrincipalEnabled, Subject: relate.All(schema.TypeAgent)})
}

// withTenant adds the tenant's own ref.
func withTenant(ref agentid.Ref, err error) (agentid.Ref, agentid.Ref, error) {
	if err != nil {
		return ref, agentid.Ref{}, err
	}
	tenant, err := agentid.TenantRef(ref.Tenant())
	return ref, tenant, err //nolint:wrapcheck // names the field
}

func (p *Principal) store(ctx context.Context, s *Service, records ...auditlog.Record) (bool, error) {
	ref, err := p.name()
	if err != nil {
		return false, err
	}
	_, changed, err := s.cfg.Ledger.PutPrincipal(ctx, ledger.Principal{
		Ref: ref, Kind: ledger.PrincipalKind(p.Type), Display: p.Display, Issuer: p.Issuer, Subject: p.Subject,
	}, records...)
	return changed, err //nolint:wrapcheck // an agentid.Error
}
