package admin

import (
	"context"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/ledger"
)

func (t *Tenant) name() (agentid.Ref, error) {
	ref, err := agentid.TenantRef(t.Name)
	if err != nil {
		return ref, agentid.AsError(err).WithField("name")
	}
	return ref, nil
}

func (t *Tenant) check(context.Context, *world) error {
	if t.Tenant != "" {
		return agentid.Invalidf("tenant", "a tenant has only a name")
	}
	if t.given() {
		return errState
	}
	if err := t.Limits.check(); err != nil {
		return err
	}
	_, err := t.name()
	return err
}

// errState refuses what only answers hold.
var errState = agentid.Invalidf("state", "is not declared: freeze, unfreeze and retire change it")

func (t *Tenant) current(ctx context.Context, s *Service) (object, error) {
	have, err := s.cfg.Ledger.Tenant(ctx, t.Name)
	if err != nil {
		return nil, absent(err)
	}
	return tenantOf(have), nil
}

func tenantOf(t ledger.Tenant) *Tenant {
	return &Tenant{Header: Header{Kind: KindTenant, Name: t.Ref.Tenant()}, Display: t.Display, Limits: limitsOf(t.Limits)}
}

// absent turns "there is none" into no error: the object is then nil.
func absent(err error) error {
	if agentid.KindOf(err) == agentid.KindNotFound {
		return nil
	}
	return err
}

func (t *Tenant) edges(ctx context.Context, s *Service) (edges, error) {
	ref, err := t.name()
	if err != nil {
		return edges{}, err
	}
	return s.switched(ctx, ref, nil, relate.Edge{Resource: ref, Relation: schema.TenantEnabled, Subject: relate.All(schema.TypeAgent)})
}

// switched are edges that are always there, and those that are there unless ref is
// frozen.
func (s *Service) switched(ctx context.Context, ref agentid.Ref, always []relate.Edge, enabled ...relate.Edge) (edges, error) {
	reasons, err := s.reasons(ctx, ref)
	if err != nil {
		return edges{}, err
	}
	if len(reasons) > 0 {
		return edges{wanted: always, unwanted: enabled}, nil
	}
	return edges{wanted: append(always, enabled...)}, nil
}

func (t *Tenant) store(ctx context.Context, s *Service, records ...auditlog.Record) (bool, error) {
	ref, err := t.name()
	if err != nil {
		return false, err
	}
	_, changed, err := s.cfg.Ledger.PutTenant(ctx, ledger.Tenant{Ref: ref, Display: t.Display, Limits: t.limits()}, records...)
	return changed, err //nolint:wrapcheck // an agentid.Error
}
