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
	if err := a.Limits.check(); err != nil {
		return err
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
	if err := a.checkNames(ctx, w); err != nil {
		return err
	}
	return ceiling(a.Tenant, a.Ceiling)
}

// checkNames refuses templates and types of children that do not exist.
func (a *AgentType) checkNames(ctx context.Context, w *world) error {
	for i, name := range a.Templates {
		if _, err := w.need(ctx, fmt.Sprintf("templates[%d]", i), &Template{Header: Header{Kind: KindTemplate, Tenant: a.Tenant, Name: name}}); err != nil {
			return err
		}
	}
	for field, names := range map[string][]string{"children": a.Children, "independent_children": a.IndependentChildren} {
		for i, name := range names {
			if _, err := w.need(ctx, fmt.Sprintf("%s[%d]", field, i), &AgentType{Header: Header{Kind: KindAgentType, Tenant: a.Tenant, Name: name}}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *AgentType) types(names []string) ([]agentid.Ref, error) {
	var out []agentid.Ref
	for _, name := range names {
		ref, err := agentid.AgentTypeRef(a.Tenant, name)
		if err != nil {
			return nil, agentid.AsError(err).WithField("children")
		}
		out = append(out, ref)
	}
	return out, nil
}

func namesOf(refs []agentid.Ref) []string {
	var out []string
	for _, r := range refs {
		out = append(out, r.Name())
	}
	return out
}

// check holds limits against what nobody can set a limit beyond.
func (l Limits) check() error {
	for _, f := range []struct {
		name      string
		have, max int64
	}{
		{"max_depth", int64(l.MaxDepth), ledger.CapDepth},
		{"max_children", int64(l.MaxChildren), ledger.CapChildren},
		{"max_live", int64(l.MaxLive), ledger.CapLive},
		{"max_lifetime_seconds", l.MaxSeconds, int64(ledger.CapLifetime / time.Second)},
	} {
		if f.have < 0 || f.have > f.max {
			return agentid.Invalidf(f.name, "want 0 to %d", f.max)
		}
	}
	return nil
}

func (l Limits) limits() ledger.Limits {
	return ledger.Limits{MaxDepth: l.MaxDepth, MaxChildren: l.MaxChildren, MaxLive: l.MaxLive, MaxLifetime: time.Duration(l.MaxSeconds) * time.Second}
}

func limitsOf(l ledger.Limits) Limits {
	return Limits{MaxDepth: l.MaxDepth, MaxChildren: l.MaxChildren, MaxLive: l.MaxLive, MaxSeconds: int64(l.MaxLifetime / time.Second)}
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
		Display: a.Display, OwnAuthority: a.OwnAuthority, Limits: limitsOf(a.Limits), Ceiling: a.Ceiling, Templates: a.Templates,
		Children: namesOf(a.Children), IndependentChildren: namesOf(a.IndependentChildren),
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
	children, err := a.types(a.Children)
	if err != nil {
		return false, err
	}
	independent, err := a.types(a.IndependentChildren)
	if err != nil {
		return false, err
	}
	_, changed, err := s.cfg.Ledger.PutAgentType(ctx, ledger.AgentType{
		Ref: ref, Display: a.Display, OwnAuthority: a.OwnAuthority, Launchers: launchers,
		Ceiling: a.Ceiling, Limits: a.limits(), Templates: a.Templates, Children: children, IndependentChildren: independent,
	}, records...)
	return changed, err //nolint:wrapcheck // an agentid.Error
}
