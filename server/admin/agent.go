package admin

import (
	"context"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/jws"
	"github.com/agentid-dev/agentid/capability/keyproof"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/agents"
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
	if err := a.checkOwner(ctx, w); err != nil {
		return err
	}
	if err := a.checkKey(); err != nil {
		return err
	}
	if err := ceiling(a.Tenant, a.Ceiling); err != nil {
		return err
	}
	limit := MaxAgentLife
	if typ, ok := found.(*AgentType); ok && typ.MaxSeconds > 0 {
		limit = time.Duration(typ.MaxSeconds) * time.Second
	}
	return a.checkChange(ctx, w.s, limit)
}

// checkOwner refuses a principal or a parent that does not exist. A parent brings its
// principal.
func (a *Agent) checkOwner(ctx context.Context, w *world) error {
	if _, err := ledger.ParseChildKind(a.ChildKind); err != nil {
		return err //nolint:wrapcheck // names the field
	}
	if a.Parent != "" {
		if _, err := w.need(ctx, "parent", &Agent{Header: Header{Kind: KindAgent, Tenant: a.Tenant, Name: a.Parent}}); err != nil {
			return err
		}
		if a.Principal == "" {
			return nil
		}
	}
	_, err := w.need(ctx, "principal", &Principal{Header: Header{Kind: KindPrincipal, Tenant: a.Tenant, Name: a.Principal}})
	return err
}

func (a *Agent) checkKey() error {
	if len(a.Key) == 0 {
		return agentid.Invalidf("key", "is required: the agent's public JWK")
	}
	_, err := keyproof.ParseKey(a.Key)
	return err //nolint:wrapcheck // names the field
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
	if a.Principal == "" && a.Parent != "" {
		out.Principal = ""
	}
	if a.ChildKind == "" && out.ChildKind == ledger.Attenuated.String() {
		out.ChildKind = ""
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
	if !a.Parent.IsZero() {
		out.Parent, out.ChildKind = a.Parent.Name(), a.Kind.String()
	}
	return out
}

// agentFrom is an agent as lists show it, with its state.
func agentFrom(a agents.Agent) *Agent {
	out := &Agent{
		Header: Header{Kind: KindAgent, Tenant: a.Ref.Tenant(), Name: a.Ref.Name()},
		Type:   a.Type.Name(), Principal: a.Principal.Name(), Key: a.Key, Expires: a.Expires, Ceiling: a.Ceiling,
		ChildKind: a.ChildKind, State: State{State: a.State, Reasons: a.FrozenFor},
	}
	if !a.Parent.IsZero() {
		out.Parent = a.Parent.Name()
	}
	return out
}

// edges are those of an agent that is there; a spawn makes its own.
func (a *Agent) edges(ctx context.Context, s *Service) (edges, error) {
	ref, err := a.name()
	if err != nil {
		return edges{}, err
	}
	have, err := s.cfg.Ledger.Agent(ctx, ref)
	if err != nil || have.State == ledger.AgentSpawning {
		return edges{}, absent(err)
	}
	set, err := s.cfg.Agents.Edges(ctx, ref)
	return edges{wanted: set.Wanted, unwanted: set.Unwanted}, err //nolint:wrapcheck // an agentid.Error
}

// spec is the agent as it is to be spawned.
func (a *Agent) spec() (agents.Spec, error) {
	out := agents.Spec{Tenant: a.Tenant, Name: a.Name, Key: a.Key, Expires: a.Expires, Ceiling: a.Ceiling}
	var err error
	if out.Type, err = agentid.AgentTypeRef(a.Tenant, a.Type); err != nil {
		return out, agentid.AsError(err).WithField("type")
	}
	if out.Kind, err = ledger.ParseChildKind(a.ChildKind); err != nil {
		return out, err //nolint:wrapcheck // names the field
	}
	if a.Parent != "" {
		if out.Parent, err = agentid.AgentRef(a.Tenant, a.Parent); err != nil {
			return out, agentid.AsError(err).WithField("parent")
		}
	}
	if a.Principal != "" || a.Parent == "" {
		if out.Principal, err = agentid.PrincipalRef(a.Tenant, a.Principal); err != nil {
			return out, agentid.AsError(err).WithField("principal")
		}
	}
	return out, nil
}

// store spawns the agent, or completes a spawn that a crash left open. Both audit
// themselves; the records of a change that is not one are the caller's.
func (a *Agent) store(ctx context.Context, s *Service, _ ...auditlog.Record) (bool, error) {
	ref, err := a.name()
	if err != nil {
		return false, err
	}
	have, err := s.cfg.Ledger.Agent(ctx, ref)
	if err == nil && have.State == ledger.AgentActive {
		return false, nil
	}
	if err != nil && absent(err) != nil {
		return false, err //nolint:wrapcheck // an agentid.Error
	}
	spec, err := a.spec()
	if err != nil {
		return false, err
	}
	_, err = s.cfg.Agents.Spawn(ctx, s.actor(ctx), spec)
	return err == nil, err //nolint:wrapcheck // an agentid.Error
}
