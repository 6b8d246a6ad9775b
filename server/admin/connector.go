package admin

import (
	"context"
	"crypto/subtle"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/ledger"
)

func (c *Connector) name() (agentid.Ref, error) { return named(agentid.ConnectorRef(c.Tenant, c.Name)) }

func (c *Connector) check(ctx context.Context, w *world) error {
	ref, err := c.name()
	if err != nil {
		return err
	}
	if c.given() || c.CredentialSet {
		return errState
	}
	if _, ok := w.s.cfg.Kinds[c.Type]; !ok {
		return agentid.Invalidf("type", "there is no such type of connector")
	}
	if !c.IntrospectionOnly && c.Upstream == "" {
		return agentid.Invalidf("upstream", "is required, unless introspection_only is set")
	}
	if c.BearerSeconds < 0 || (c.BearerSeconds > 0 && !c.AllowBearer) {
		return agentid.Invalidf("bearer_seconds", "must be positive, and needs allow_bearer")
	}
	for other, o := range w.declared {
		if twin, ok := o.(*Connector); ok && other != ref && twin.Resource == c.Resource {
			return agentid.Invalidf("resource", "is the resource of %s too", other)
		}
	}
	return w.tenant(ctx, c.Tenant)
}

func (c *Connector) current(ctx context.Context, s *Service) (object, error) {
	ref, err := c.name()
	if err != nil {
		return nil, err
	}
	have, err := s.cfg.Ledger.ConnectorSetting(ctx, ref)
	if err != nil {
		return nil, absent(err)
	}
	return connectorOf(have), nil
}

func connectorOf(c ledger.Connector) *Connector {
	return &Connector{
		Header: Header{Kind: KindConnector, Tenant: c.Ref.Tenant(), Name: c.Ref.Name()},
		Type:   c.Kind, Resource: c.Resource, Upstream: c.Upstream,
		AllowPrivateUpstream: c.AllowPrivateUpstream, AllowBearer: c.AllowBearer, BearerSeconds: int64(c.BearerLifetime / time.Second),
		StrictReadAudit: c.StrictReadAudit, IntrospectionOnly: c.IntrospectionOnly,
		Rates: Rates(c.Rates),
	}
}

// edges enable the account that the connector stands for.
func (c *Connector) edges(ctx context.Context, s *Service) (edges, error) {
	ref, tenant, err := withTenant(c.name())
	if err != nil {
		return edges{}, err
	}
	kind, ok := s.cfg.Kinds[c.Type]
	if !ok {
		return edges{}, agentid.Invalidf("type", "there is no such type of connector")
	}
	account, err := kind.AccountRef(c.Tenant, c.Name)
	if err != nil {
		return edges{}, err //nolint:wrapcheck // names the field
	}
	return s.switched(ctx, ref,
		[]relate.Edge{{Resource: account, Relation: schema.PaymentsTenant, Subject: relate.To(tenant)}},
		relate.Edge{Resource: account, Relation: schema.PaymentsEnabled, Subject: relate.All(schema.TypeAgent)},
		relate.Edge{Resource: account, Relation: schema.PaymentsEnabled, Subject: relate.All(schema.TypePrincipal)})
}

func (c *Connector) store(ctx context.Context, s *Service, records ...auditlog.Record) (bool, error) {
	ref, err := c.name()
	if err != nil {
		return false, err
	}
	_, changed, err := s.cfg.Ledger.PutConnector(ctx, ledger.Connector{
		Ref: ref, Kind: c.Type, Resource: c.Resource, Upstream: c.Upstream,
		AllowPrivateUpstream: c.AllowPrivateUpstream, AllowBearer: c.AllowBearer, BearerLifetime: time.Duration(c.BearerSeconds) * time.Second,
		StrictReadAudit: c.StrictReadAudit, IntrospectionOnly: c.IntrospectionOnly, Rates: wire.Rates(c.Rates),
	}, records...)
	if err != nil || c.Credential == "" {
		return changed, err //nolint:wrapcheck // an agentid.Error
	}
	if equal, err := s.holdsCredential(ctx, ref, c.Credential); err != nil || equal {
		return changed, err
	}
	err = s.cfg.Ledger.PutCredential(ctx, ref, agentid.NewSecret(c.Credential), s.record(ctx, "connector.credential", ref, ref.String()))
	return true, err //nolint:wrapcheck // an agentid.Error
}

// credentialChange adds a declared credential to a plan if it differs from the one in
// place. Neither is shown.
func (s *Service) credentialChange(ctx context.Context, c *Connector, plan *Change) error {
	if c.Credential == "" {
		return nil
	}
	equal, err := s.holdsCredential(ctx, plan.ref, c.Credential)
	if err != nil || equal {
		return err
	}
	plan.Fields = append(plan.Fields, Field{Name: "credential", To: redacted})
	return nil
}

func (s *Service) holdsCredential(ctx context.Context, ref agentid.Ref, credential string) (bool, error) {
	all, err := s.cfg.Ledger.Connectors(ctx)
	if err != nil {
		return false, err //nolint:wrapcheck // an agentid.Error
	}
	for _, c := range all {
		if c.Ref == ref {
			return subtle.ConstantTimeCompare([]byte(c.Credential.Reveal()), []byte(credential)) == 1, nil
		}
	}
	return false, nil
}
