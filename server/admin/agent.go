package admin

import (
	"context"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/jws"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/ledger"
)

// MaxAgentLife is the longest life of an agent: an agent is an instance, not a service.
const MaxAgentLife = 366 * 24 * time.Hour

func (a *Agent) name() (agentid.Ref, error) { return named(agentid.AgentRef(a.Tenant, a.Name)) }

func (a *Agent) check(ctx context.Context, w *world) error {
	if _, err := a.name(); err != nil {
		return err
	}
	if a.given() {
		return errState
	}
	if err := w.tenant(ctx, a.Tenant); err != nil {
		return err
	}
	found, err := w.need(ctx, "type", &AgentType{Header: Header{Kind: KindAgentType, Tenant: a.Tenant, Name: a.Type}})
	if err != nil {
		return err
	}
	if _, err := w.need(ctx, "principal", &Principal{Header: Header{Kind: KindPrincipal, Tenant: a.Tenant, Name: a.Principal}}); err != nil {
		return err
	}
	if err := a.checkKey(); err != nil {
		return err
	}
	if err := w.ceiling(ctx, a.Tenant, a.Ceiling); err != nil {
		return err
	}
	limit := MaxAgentLife
	if typ, ok := found.(*AgentType); ok && typ.MaxSeconds > 0 {
		limit = time.Duration(typ.MaxSeconds) * time.Second
	}
	return a.checkChange(ctx, w.s, limit)
}

func (a *Agent) checkKey() error {
	if len(a.Key) == 0 {
		return agentid.Invalidf("key", "is required: the agent's public JWK")
	}
	key, err := jws.ParseKey(a.Key)
	if err != nil {
		return agentid.Invalidf("key", "want a public Ed25519 or P-256 JWK").WithCause(err)
	}
	if err := jws.CheckKey(key, "EdDSA"); err == nil {
		return nil
	}
	if err := jws.CheckKey(key, "ES256"); err != nil {
		return agentid.Invalidf("key", "want a public Ed25519 or P-256 JWK").WithCause(err)
	}
	return nil
}

// checkChange judges the expiry of a new agent, and refuses to change one that is
// there: everything of an agent is written once.
func (a *Agent) checkChange(ctx context.Context, s *Service, limit time.Duration) error {
	have, err := a.current(ctx, s)
	if err != nil {
		return err
	}
	if have == nil {
		now := s.cfg.Now()
		switch {
		case a.Expires.IsZero():
			return agentid.Invalidf("expires", "is required: an agent does not live for ever")
		case !a.Expires.After(now):
			return agentid.Invalidf("expires", "has passed")
		case a.Expires.After(now.Add(limit)):
			return agentid.Invalidf("expires", "is later than %s from now", limit)
		}
		return nil
	}
	changed, err := differences(have, a)
	if err != nil {
		return err
	}
	if len(changed) > 0 {
		return agentid.Errorf(agentid.KindConflict, "agent_immutable", "an agent is written once: register another").WithField(changed[0].Name)
	}
	ref, err := a.name()
	if err != nil {
		return err
	}
	row, err := s.cfg.Ledger.Agent(ctx, ref)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	if row.State == ledger.AgentRetired {
		return agentid.Errorf(agentid.KindConflict, "agent_retired", "the agent is retired for good: register another").WithField("name")
	}
	return nil
}

// current is the agent as it is. What the declaration leaves out, or writes in another
// form of the same key, counts as declared.
func (a *Agent) current(ctx context.Context, s *Service) (object, error) {
	ref, err := a.name()
	if err != nil {
		return nil, err
	}
	have, err := s.cfg.Ledger.Agent(ctx, ref)
	if err != nil {
		return nil, absent(err)
	}
	out := agentOf(have)
	if key, err := jws.ParseKey(a.Key); err == nil {
		if thumb, err := jws.Thumbprint(key); err == nil && thumb == have.Thumbprint {
			out.Key = a.Key
		}
	}
	if a.Expires.IsZero() || a.Expires.Truncate(time.Microsecond).Equal(have.Expires) {
		out.Expires = a.Expires
	}
	if len(a.Ceiling) == 0 {
		out.Ceiling = nil
	}
	return out, nil
}

func agentOf(a ledger.Agent) *Agent {
	out := &Agent{
		Header: Header{Kind: KindAgent, Tenant: a.Ref.Tenant(), Name: a.Ref.Name()},
		Type:   a.Type.Name(), Principal: a.Principal.Name(), Key: a.PublicKey, Expires: a.Expires,
	}
	if len(a.Ceiling) > 0 {
		out.Ceiling = a.Ceiling
	}
	return out
}

func (a *Agent) edges(ctx context.Context, s *Service) (edges, error) {
	ref, tenant, err := withTenant(a.name())
	if err != nil {
		return edges{}, err
	}
	typ, err := agentid.AgentTypeRef(a.Tenant, a.Type)
	if err != nil {
		return edges{}, agentid.AsError(err).WithField("type")
	}
	principal, err := agentid.PrincipalRef(a.Tenant, a.Principal)
	if err != nil {
		return edges{}, agentid.AsError(err).WithField("principal")
	}
	row := ledger.Agent{State: ledger.AgentActive, Expires: a.Expires}
	if have, err := s.cfg.Ledger.Agent(ctx, ref); err == nil {
		row = have
	} else if absent(err) != nil {
		return edges{}, err //nolint:wrapcheck // an agentid.Error
	}
	enabled := relate.Edge{Resource: ref, Relation: schema.AgentEnabled, Subject: relate.All(schema.TypeAgent), Expires: row.Expires}
	always := []relate.Edge{
		{Resource: ref, Relation: schema.AgentTenant, Subject: relate.To(tenant)},
		{Resource: ref, Relation: schema.AgentType, Subject: relate.To(typ)},
		{Resource: ref, Relation: schema.AgentPrincipal, Subject: relate.To(principal)},
		{Resource: ref, Relation: schema.AgentLineage, Subject: relate.To(ref)},
		{Resource: typ, Relation: schema.AgentTypeInstance, Subject: relate.To(ref)},
	}
	if row.State == ledger.AgentRetired || !row.Expires.After(s.cfg.Now()) {
		return edges{wanted: always, unwanted: []relate.Edge{enabled}}, nil
	}
	return s.switched(ctx, ref, always, enabled)
}

func (a *Agent) store(ctx context.Context, s *Service, records ...auditlog.Record) (bool, error) {
	ref, err := a.name()
	if err != nil {
		return false, err
	}
	typ, err := agentid.AgentTypeRef(a.Tenant, a.Type)
	if err != nil {
		return false, agentid.AsError(err).WithField("type")
	}
	principal, err := agentid.PrincipalRef(a.Tenant, a.Principal)
	if err != nil {
		return false, agentid.AsError(err).WithField("principal")
	}
	_, changed, err := s.cfg.Ledger.PutAgent(ctx, ledger.Agent{
		Ref: ref, Type: typ, Principal: principal, PublicKey: a.Key, Ceiling: a.Ceiling, Expires: a.Expires,
	}, records...)
	return changed, err //nolint:wrapcheck // an agentid.Error
}
