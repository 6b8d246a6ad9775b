package agents

import (
	"context"
	"sync"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/revocation"
)

// retireBatch is how many descendants one transaction retires.
const retireBatch = 500

// Retire ends an agent for good, and with it its descendants. They are dead when the
// agent's own edge is gone; their slots come back before Retire returns, or soon after
// when that part fails. An agent may retire itself and its descendants: for another one
// it is told that there is none.
func (s *Service) Retire(ctx context.Context, by Actor, ref agentid.Ref) (Change, error) {
	if err := s.mayRetire(ctx, by, ref); err != nil {
		return Change{}, err
	}
	unlock := sync.OnceFunc(s.lock(ref))
	defer unlock()
	row, err := s.settledRow(ctx, ref)
	if err != nil {
		return Change{}, err
	}
	receipt, err := s.cfg.Revoker.Take(ctx, revocation.Taking{
		Intent:  ledger.Revocation{Target: ref, Agent: ref, Reason: StateRetired, Actor: by.name()},
		Records: []auditlog.Record{s.stateRecord(ctx, by, "agent.retire", row, StateRetired)},
		Begin:   s.cfg.Ledger.BeginRetire, Edges: s.edgesOf(ref), Told: unlock,
	})
	if err != nil {
		return Change{}, err
	}
	if err := s.retireBelow(context.WithoutCancel(ctx), ref); err != nil {
		s.cfg.Logger.ErrorContext(ctx, "descendants of a retired agent hold their slots still; it is tried again", "agent", ref.String(), "error", err)
	}
	return s.after(ctx, ref, Change{Changed: row.State != ledger.AgentRetired, Zookie: receipt.Zookie, Revocation: &receipt})
}

func (s *Service) mayRetire(ctx context.Context, by Actor, ref agentid.Ref) error {
	if by.Agent.IsZero() || by.Agent == ref {
		return nil
	}
	if by.Agent.Tenant() == ref.Tenant() {
		line, err := s.cfg.Ledger.Lineage(ctx, ref)
		if err != nil && agentid.KindOf(err) != agentid.KindNotFound {
			return err
		}
		for _, member := range line {
			if member.Ref == by.Agent {
				return nil
			}
		}
	}
	return agentid.Errorf(agentid.KindNotFound, "agent_unknown", "there is no such agent").WithField("agent")
}

func (s *Service) retireBelow(ctx context.Context, ref agentid.Ref) error {
	for {
		n, err := s.cfg.Ledger.RetireDescendants(ctx, ref, retireBatch)
		if err != nil || n < retireBatch {
			return err
		}
	}
}

// Respawn starts an agent of the same type and ceiling under another principal, with a
// key of its own, and retires the old one. Spec names Principal, Key, and what may
// differ: Name, Parent, Kind, Expires. The new agent comes first: after an error the
// same call again ends what was begun.
func (s *Service) Respawn(ctx context.Context, by Actor, ref agentid.Ref, spec Spec) (Agent, error) {
	old, err := s.settledRow(ctx, ref)
	if err != nil {
		return Agent{}, err
	}
	if spec.Name == "" || spec.Name == ref.Name() {
		return Agent{}, agentid.Invalidf("name", "is required, and is not the old one: a respawned agent is a new one")
	}
	spec.Tenant, spec.Type, spec.Ceiling = ref.Tenant(), old.Type, old.Ceiling
	if old.State == ledger.AgentRetired {
		again, err := agentid.AgentRef(ref.Tenant(), spec.Name)
		if err != nil {
			return Agent{}, agentid.AsError(err).WithField("name")
		}
		if _, err := s.cfg.Ledger.Agent(ctx, again); agentid.KindOf(err) == agentid.KindNotFound && err != nil {
			return Agent{}, agentid.Errorf(agentid.KindConflict, "agent_retired", "the agent is retired")
		}
	}
	fresh, err := s.Spawn(ctx, by, spec)
	if err != nil {
		return Agent{}, err
	}
	if old.State != ledger.AgentRetired {
		if _, err := s.Retire(ctx, Actor{Administrator: by.Administrator}, ref); err != nil {
			return Agent{}, err
		}
	}
	return fresh, nil
}
