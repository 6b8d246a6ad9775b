package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/ledger"
)

func (a *AgentType) name() (agentid.Ref, error) { return named(agentid.AgentTypeRef(a.Tenant, a.Name)) }

func (a *AgentType) check(ctx context.Context, w *world) error {
	if _, err := a.name(); err != nil {
		return err
	}
	if a.given() {
		return errState
	}
	if a.MaxSeconds < 0 {
		return agentid.Invalidf("max_lifetime_seconds", "must not be negative")
	}
	if err := w.tenant(ctx, a.Tenant); err != nil {
		return err
	}
	for i, name := range a.Launchers {
		like := &Principal{Header: Header{Kind: KindPrincipal, Tenant: a.Tenant, Name: name}}
		if _, err := w.need(ctx, fmt.Sprintf("launchers[%d]", i), like); err != nil {
			return err
		}
	}
	return w.ceiling(ctx, a.Tenant, a.Ceiling)
}

func (a *AgentType) current(ctx context.Context, s *Service) (object, error) {
	ref, err := a.name()
	if err != nil {
		return nil, err
	}
	have, err := s.cfg.Ledger.AgentType(ctx, ref)
	if err != nil {
		return nil, absent(err)
	}
	return agentTypeOf(have), nil
}

func agentTypeOf(a ledger.AgentType) *AgentType {
	out := &AgentType{
		Header:  Header{Kind: KindAgentType, Tenant: a.Ref.Tenant(), Name: a.Ref.Name()},
		Display: a.Display, OwnAuthority: a.OwnAuthority, MaxSeconds: int64(a.MaxLifetime / time.Second), Ceiling: a.Ceiling,
	}
	for _, l := range a.Launchers {
		out.Launchers = append(out.Launchers, l.Name())
	}
	return out
}

func (a *AgentType) launchers() ([]agentid.Ref, error) {
	var out []agentid.Ref
	for _, name := range a.Launchers {
		ref, err := agentid.PrincipalRef(a.Tenant, name)
		if err != nil {
			return nil, agentid.AsError(err).WithField("launchers")
		}
		out = append(out, ref)
	}
	return out, nil
}

func (a *AgentType) edges(ctx context.Context, s *Service) (edges, error) {
	ref, tenant, err := withTenant(a.name())
	if err != nil {
		return edges{}, err
	}
	launchers, err := a.launchers()
	if err != nil {
		return edges{}, err
	}
	always := []relate.Edge{{Resource: ref, Relation: schema.AgentTypeTenant, Subject: relate.To(tenant)}}
	wanted := map[agentid.Ref]bool{}
	for _, l := range launchers {
		wanted[l] = true
		always = append(always, relate.Edge{Resource: ref, Relation: schema.AgentTypeLauncher, Subject: relate.To(l)})
	}
	out, err := s.switched(ctx, ref, always,
		relate.Edge{Resource: ref, Relation: schema.AgentTypeEnabled, Subject: relate.All(schema.TypeAgent)})
	if err != nil {
		return edges{}, err
	}
	have, err := s.cfg.Ledger.AgentType(ctx, ref)
	if err = absent(err); err != nil {
		return edges{}, err
	}
	for _, l := range have.Launchers {
		if !wanted[l] {
			out.unwanted = append(out.unwanted, relate.Edge{Resource: ref, Relation: schema.AgentTypeLauncher, Subject: relate.To(l)})
		}
	}
	return out, nil
}

func (a *AgentType) store(ctx context.Context, s *Service, records ...auditlog.Record) (bool, error) {
	ref, err := a.name()
	if err != nil {
		return false, err
	}
	launchers, err := a.launchers()
	if err != nil {
		return false, err
	}
	_, changed, err := s.cfg.Ledger.PutAgentType(ctx, ledger.AgentType{
		Ref: ref, Display: a.Display, OwnAuthority: a.OwnAuthority, Launchers: launchers,
		MaxLifetime: time.Duration(a.MaxSeconds) * time.Second, Ceiling: a.Ceiling,
	}, records...)
	return changed, err //nolint:wrapcheck // an agentid.Error
}
