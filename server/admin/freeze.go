package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/ledger"
)

// reasonRetired is the reason of the intent behind a retirement.
const reasonRetired = "retired"

// Freeze takes something out of use for a reason: an agent with its subtree, or a
// tenant, principal, agent type or connector with everything below it. When it
// returns, no request that starts afterwards is allowed.
//
// The intent comes first, so that a crash at any step is completed by Replay.
func (s *Service) Freeze(ctx context.Context, ref agentid.Ref, reason string) (State, error) {
	if reason == "" {
		return State{}, agentid.Invalidf("reason", "is required")
	}
	return s.takeAway(ctx, ref, reason, func() error {
		_, err := s.cfg.Ledger.AddFreeze(ctx, ref, reason, administrator(ctx), s.freezeRecord(ctx, "freeze", ref, reason))
		return err //nolint:wrapcheck // an agentid.Error
	})
}

// Retire ends an agent for good.
func (s *Service) Retire(ctx context.Context, ref agentid.Ref) (State, error) {
	if ref.Type() != agentid.TypeAgent {
		return State{}, agentid.Invalidf("agent", "only an agent can be retired")
	}
	return s.takeAway(ctx, ref, reasonRetired, func() error {
		return s.cfg.Ledger.RetireAgent(ctx, ref, s.freezeRecord(ctx, "retire", ref, reasonRetired)) //nolint:wrapcheck // an agentid.Error
	})
}

func (s *Service) freezeRecord(ctx context.Context, verb string, ref agentid.Ref, reason string) auditlog.Record {
	r := s.record(ctx, ref.Type()+"."+verb, ref, ref.String())
	r.Kind = auditlog.Revoke
	r.Notes["reason"] = reason
	if ref.Type() == agentid.TypeAgent {
		r.Agent = ref.String()
	}
	return r
}

// takeAway runs the steps of DESIGN section 6: intent and epoch, the ledger's state, the
// edge (read back), the floor.
func (s *Service) takeAway(ctx context.Context, ref agentid.Ref, reason string, change func() error) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.named(ctx, ref)
	if err != nil {
		return State{}, err
	}
	intent, err := s.cfg.Ledger.BeginRevocation(ctx, ledger.Revocation{Target: ref, Reason: reason, Actor: administrator(ctx)})
	if err != nil {
		return State{}, err //nolint:wrapcheck // an agentid.Error
	}
	if err := change(); err != nil {
		return State{}, err
	}
	if err := s.settle(ctx, o, intent); err != nil {
		return State{}, err
	}
	return s.state(ctx, ref)
}

// errStillThere means that the graph acknowledged a removal and then showed the edge.
var errStillThere = errors.New("the edge was taken away and is still read")

// settle brings the graph to what the ledger says, reads it back, and raises the floor.
func (s *Service) settle(ctx context.Context, o object, intent ledger.Revocation) error {
	wanted, err := o.edges(ctx, s)
	if err != nil {
		return err
	}
	updates, err := s.pending(ctx, wanted)
	if err != nil {
		return err
	}
	if len(updates) == 0 { // done before, by an attempt that did not come to the end
		if updates, err = repeat(wanted); err != nil {
			return err
		}
	}
	zookie, err := s.writeEdges(ctx, updates)
	if err != nil {
		return err
	}
	left, err := s.pending(ctx, wanted)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return agentid.Unavailable("graph_unavailable", errStillThere)
	}
	if err := s.cfg.Ledger.SettleRevocation(ctx, intent.Epoch, zookie); err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return s.reload(ctx)
}

// Unfreeze takes one reason away. What was frozen returns, with its first expiry, when
// no reason is left and it is not retired.
func (s *Service) Unfreeze(ctx context.Context, ref agentid.Ref, reason string) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.named(ctx, ref)
	if err != nil {
		return State{}, err
	}
	_, err = s.cfg.Ledger.RemoveFreeze(ctx, ref, reason, s.freezeRecord(ctx, "unfreeze", ref, reason))
	if err != nil {
		return State{}, err //nolint:wrapcheck // an agentid.Error
	}
	wanted, err := o.edges(ctx, s)
	if err != nil {
		return State{}, err
	}
	updates, err := s.pending(ctx, wanted)
	if err != nil {
		return State{}, err
	}
	if len(updates) > 0 {
		if _, err := s.writeEdges(ctx, updates); err != nil {
			return State{}, err
		}
	}
	return s.state(ctx, ref)
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
		o, err := s.named(ctx, intent.Target)
		if err != nil {
			return fmt.Errorf("replay %s: %w", intent.Target, err)
		}
		if err := s.settle(ctx, o, intent); err != nil {
			return fmt.Errorf("replay %s: %w", intent.Target, err)
		}
	}
	return nil
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
	reasons, err := s.reasons(ctx, ref)
	if err != nil {
		return State{}, err
	}
	out := State{State: "active", Reasons: reasons}
	if len(reasons) > 0 {
		out.State = "frozen"
	}
	if ref.Type() != agentid.TypeAgent {
		return out, nil
	}
	row, err := s.cfg.Ledger.Agent(ctx, ref)
	if err != nil {
		return State{}, err //nolint:wrapcheck // an agentid.Error
	}
	switch {
	case row.State != ledger.AgentActive:
		out.State = "retired"
	case !row.Expires.After(s.cfg.Now()):
		out.State = "expired"
	}
	return out, nil
}
