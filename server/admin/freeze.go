package admin

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/agents"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/relations"
	"github.com/agentid-dev/agentid/server/revocation"
)

// Freeze takes something out of use for a reason: an agent with its subtree, or a
// tenant, principal, agent type or connector with everything below it. When it
// returns, no request that starts afterwards is allowed. The agents of a principal are
// frozen with it, for ledger.ReasonOwnerLost, and stay so when it comes back.
//
// The intent comes first, so that a crash at any step is completed by Replay.
func (s *Service) Freeze(ctx context.Context, ref agentid.Ref, reason string) (agents.Change, error) {
	if ref.Type() == agentid.TypeAgent {
		return s.cfg.Agents.Freeze(ctx, s.actor(ctx), ref, reason) //nolint:wrapcheck // an agentid.Error
	}
	if reason == "" {
		return agents.Change{}, agentid.Invalidf("reason", "is required")
	}
	s.mu.Lock()
	unlock := sync.OnceFunc(s.mu.Unlock)
	defer unlock()
	o, err := s.named(ctx, ref)
	if err != nil {
		return agents.Change{}, err
	}
	before, err := s.reasons(ctx, ref)
	if err != nil {
		return agents.Change{}, err
	}
	receipt, err := s.cfg.Revoker.Take(ctx, revocation.Taking{
		Intent:  ledger.Revocation{Target: ref, Reason: reason, Actor: administrator(ctx)},
		Records: []auditlog.Record{s.freezeRecord(ctx, "freeze", ref, reason)},
		Begin:   s.cfg.Ledger.BeginFreeze,
		Edges: func(ctx context.Context) (relations.Set, error) {
			wanted, err := o.edges(ctx, s)
			return wanted.set(), err
		},
		Told: unlock,
	})
	if err != nil {
		return agents.Change{}, err //nolint:wrapcheck // an agentid.Error
	}
	out := agents.Change{Changed: !slices.Contains(before, reason), Zookie: receipt.Zookie, Revocation: &receipt}
	if !out.Changed {
		out.Information = agents.InfoAlreadyFrozen
	}
	return s.after(ctx, ref, out)
}

func (s *Service) after(ctx context.Context, ref agentid.Ref, c agents.Change) (agents.Change, error) {
	state, err := s.state(ctx, ref)
	c.State, c.FrozenFor = state.State, state.Reasons
	return c, err
}

// actor is the administrator of this request.
func (s *Service) actor(ctx context.Context) agents.Actor {
	return agents.Actor{Administrator: administrator(ctx)}
}

// Retire ends an agent for good, with its subtree.
func (s *Service) Retire(ctx context.Context, ref agentid.Ref) (agents.Change, error) {
	return s.cfg.Agents.Retire(ctx, s.actor(ctx), ref) //nolint:wrapcheck // an agentid.Error
}

func (s *Service) freezeRecord(ctx context.Context, verb string, ref agentid.Ref, reason string) auditlog.Record {
	r := s.record(ctx, ref.Type()+"."+verb, ref, ref.String())
	r.Kind = auditlog.Revoke
	r.Notes["reason"] = reason
	return r
}

// Unfreeze takes one reason away. What was frozen returns, with its first expiry, when
// no reason is left and it is not retired. A reason that is not there changes nothing,
// and the reply says which others there are.
func (s *Service) Unfreeze(ctx context.Context, ref agentid.Ref, reason string) (agents.Change, error) {
	if ref.Type() == agentid.TypeAgent {
		return s.cfg.Agents.Unfreeze(ctx, s.actor(ctx), ref, reason) //nolint:wrapcheck // an agentid.Error
	}
	if reason == "" {
		return agents.Change{}, agentid.Invalidf("reason", "is required")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.named(ctx, ref)
	if err != nil {
		return agents.Change{}, err
	}
	if ref.Type() == agentid.TypePrincipal {
		if err := s.cfg.Agents.OwnerBack(ctx, ref); err != nil {
			return agents.Change{}, err //nolint:wrapcheck // an agentid.Error
		}
	}
	out := agents.Change{Changed: true}
	left, err := s.cfg.Ledger.RemoveFreeze(ctx, ref, reason, s.freezeRecord(ctx, "unfreeze", ref, reason))
	if err != nil && agentid.ReasonOf(err) == "freeze_unknown" {
		out.Changed = false
		left, err = s.cfg.Ledger.Freezes(ctx, ref)
	}
	if err != nil {
		return agents.Change{}, err //nolint:wrapcheck // an agentid.Error
	}
	for _, f := range left {
		out.StillFrozenBy = append(out.StillFrozenBy, f.Reason)
	}
	if !out.Changed && len(left) > 0 {
		out.Information = agents.InfoOtherReason
	}
	wanted, err := o.edges(ctx, s)
	if err != nil {
		return agents.Change{}, err
	}
	updates, err := s.pending(ctx, wanted)
	if err != nil {
		return agents.Change{}, err
	}
	if len(updates) > 0 {
		if _, err := s.writeEdges(ctx, updates); err != nil {
			return agents.Change{}, err
		}
	}
	return s.after(ctx, ref, out)
}

// Replay completes the intents on settings and agents that a crash or an outage left
// open. Intents on tokens are the revoker's.
func (s *Service) Replay(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	open, err := s.cfg.Ledger.OpenRevocations(ctx)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	for _, intent := range open {
		if intent.Target.Type() == agentid.TypeToken {
			continue
		}
		if err := s.replay(ctx, intent); err != nil {
			return fmt.Errorf("replay %s: %w", intent.Target, err)
		}
	}
	return nil
}

func (s *Service) replay(ctx context.Context, intent ledger.Revocation) error {
	if intent.Filter != nil {
		return s.replayFilter(ctx, intent)
	}
	if intent.Target.Type() == agentid.TypeAgent {
		return s.cfg.Agents.Replay(ctx, intent) //nolint:wrapcheck // an agentid.Error
	}
	o, err := s.named(ctx, intent.Target)
	if err != nil {
		return err
	}
	wanted, err := o.edges(ctx, s)
	if err != nil {
		return err
	}
	s.cfg.Revoker.Deny(intent, intent.Target)
	_, err = s.cfg.Revoker.Settle(ctx, intent, wanted.set())
	return err //nolint:wrapcheck // an agentid.Error
}

// named finds what can be frozen: KindNotFound when it is not there.
func (s *Service) named(ctx context.Context, ref agentid.Ref) (object, error) {
	head := Header{Tenant: ref.Tenant(), Name: ref.Name()}
	var like object
	switch ref.Type() {
	case agentid.TypeTenant:
		like = &Tenant{Header: Header{Kind: KindTenant, Name: ref.Tenant()}}
	case agentid.TypePrincipal:
		like = &Principal{Header: head}
	case agentid.TypeAgentType:
		like = &AgentType{Header: head}
	case agentid.TypeConnector:
		like = &Connector{Header: head}
	case agentid.TypeAgent:
		like = &Agent{Header: head}
	default:
		return nil, agentid.Invalidf("ref", "this cannot be frozen")
	}
	found, err := like.current(ctx, s)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, agentid.Errorf(agentid.KindNotFound, ref.Type()+"_unknown", "there is no such %s", ref.Type())
	}
	if agent, ok := found.(*Agent); ok { // current leaves out what the caller left out
		row, err := s.cfg.Ledger.Agent(ctx, ref)
		if err != nil {
			return nil, err //nolint:wrapcheck // an agentid.Error
		}
		*agent = *agentOf(row)
	}
	return found, nil
}

// reasons are why ref is frozen; none when it is not.
func (s *Service) reasons(ctx context.Context, ref agentid.Ref) ([]string, error) {
	freezes, err := s.cfg.Ledger.Freezes(ctx, ref)
	if err != nil {
		return nil, err //nolint:wrapcheck // an agentid.Error
	}
	var out []string
	for _, f := range freezes {
		out = append(out, f.Reason)
	}
	slices.Sort(out)
	return out, nil
}

// state is what answers say of ref.
func (s *Service) state(ctx context.Context, ref agentid.Ref) (State, error) {
	if ref.Type() == agentid.TypeAgent {
		state, reasons, err := s.cfg.Agents.State(ctx, ref)
		return State{State: state, Reasons: reasons}, err //nolint:wrapcheck // an agentid.Error
	}
	reasons, err := s.reasons(ctx, ref)
	if err != nil {
		return State{}, err
	}
	out := State{State: agents.StateActive, Reasons: reasons}
	if len(reasons) > 0 {
		out.State = agents.StateFrozen
	}
	return out, nil
}
