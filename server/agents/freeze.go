package agents

import (
	"context"
	"slices"
	"sync"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/relations"
	"github.com/agentid-dev/agentid/server/revocation"
)

// What a Change says beside its state.
const (
	InfoAlreadyFrozen = "already_frozen"         // the same reason was there
	InfoOtherReason   = "frozen_by_other_reason" // not frozen for the reason that was taken away, but for others
)

// Change is what a freeze, an unfreeze or a retirement came to. Asked again, it is the
// same but for Changed.
type Change struct {
	State         string         `json:"state"`
	FrozenFor     []string       `json:"frozen_for,omitempty"`
	Changed       bool           `json:"changed"`
	StillFrozenBy []string       `json:"still_frozen_by,omitempty"` // after an unfreeze: the reasons that are left
	Information   string         `json:"information,omitempty"`
	Zookie        agentid.Zookie `json:"zookie,omitempty"` // from which on a denial holds
	// Revocation is how the gateways took it; of what takes away.
	Revocation *revocation.Receipt `json:"revocation,omitempty"`
}

// Reason kinds that anybody may give are free text; an empty one is refused.
func checkReason(reason string) error {
	if reason == "" {
		return agentid.Invalidf("reason", "is required")
	}
	return nil
}

// Freeze takes an agent out of use, with its whole subtree, for a reason. When it
// returns, no request that starts afterwards is allowed. One edge is taken away,
// whatever the size of the subtree. Several reasons add up; the same one counts once.
func (s *Service) Freeze(ctx context.Context, by Actor, ref agentid.Ref, reason string) (Change, error) {
	if err := checkReason(reason); err != nil {
		return Change{}, err
	}
	unlock := sync.OnceFunc(s.lock(ref))
	defer unlock()
	row, err := s.settledRow(ctx, ref)
	if err != nil {
		return Change{}, err
	}
	before, err := s.reasons(ctx, ref)
	if err != nil {
		return Change{}, err
	}
	receipt, err := s.cfg.Revoker.Take(ctx, revocation.Taking{
		Intent:  ledger.Revocation{Target: ref, Agent: ref, Reason: reason, Actor: by.name()},
		Records: []auditlog.Record{s.stateRecord(ctx, by, "agent.freeze", row, reason)},
		Begin:   s.cfg.Ledger.BeginFreeze, Edges: s.edgesOf(ref), Told: unlock,
	})
	if err != nil {
		return Change{}, err
	}
	out := Change{Changed: !slices.Contains(before, reason), Zookie: receipt.Zookie, Revocation: &receipt}
	if !out.Changed {
		out.Information = InfoAlreadyFrozen
	}
	return s.after(ctx, ref, out)
}

// Unfreeze takes one reason away. The agent returns, with its first expiry, when no
// reason is left and it has not ended. A reason that is not there changes nothing.
func (s *Service) Unfreeze(ctx context.Context, by Actor, ref agentid.Ref, reason string) (Change, error) {
	if err := checkReason(reason); err != nil {
		return Change{}, err
	}
	defer s.lock(ref)()
	row, err := s.settledRow(ctx, ref)
	if err != nil {
		return Change{}, err
	}
	out := Change{Changed: true}
	left, err := s.cfg.Ledger.RemoveFreeze(ctx, ref, reason, s.stateRecord(ctx, by, "agent.unfreeze", row, reason))
	if err != nil && agentid.ReasonOf(err) == "freeze_unknown" {
		out.Changed = false
		left, err = s.cfg.Ledger.Freezes(ctx, ref)
	}
	if err != nil {
		return Change{}, err
	}
	for _, f := range left {
		out.StillFrozenBy = append(out.StillFrozenBy, f.Reason)
	}
	if !out.Changed && len(left) > 0 {
		out.Information = InfoOtherReason
	}
	if err := s.restore(ctx, ref); err != nil {
		return Change{}, err
	}
	return s.after(ctx, ref, out)
}

// restore brings the switch to what the ledger says, where it differs.
func (s *Service) restore(ctx context.Context, ref agentid.Ref) error {
	set, err := s.toggle(ctx, ref)
	if err != nil {
		return err
	}
	updates, err := s.graph.Pending(ctx, set)
	if err != nil || len(updates) == 0 {
		return err
	}
	_, err = s.graph.Write(ctx, updates)
	return err
}

// settledRow is an agent whose spawn has ended.
func (s *Service) settledRow(ctx context.Context, ref agentid.Ref) (ledger.Agent, error) {
	if ref.Type() != agentid.TypeAgent {
		return ledger.Agent{}, agentid.Invalidf("agent", "want an agent")
	}
	row, err := s.cfg.Ledger.Agent(ctx, ref)
	if err == nil && row.State == ledger.AgentSpawning {
		err = agentid.Unavailable("spawn_in_progress", nil)
	}
	return row, err
}

// edgesOf reads the switch as the ledger wants it when it is asked.
func (s *Service) edgesOf(ref agentid.Ref) func(context.Context) (relations.Set, error) {
	return func(ctx context.Context) (relations.Set, error) { return s.toggle(ctx, ref) }
}

// Replay completes an intent on an agent that a crash or an outage left open.
func (s *Service) Replay(ctx context.Context, intent ledger.Revocation) error {
	defer s.lock(intent.Target)()
	set, err := s.toggle(ctx, intent.Target)
	if err != nil {
		return err
	}
	s.cfg.Revoker.Deny(intent, intent.Target)
	_, err = s.cfg.Revoker.Settle(ctx, intent, set)
	return err
}

func (s *Service) after(ctx context.Context, ref agentid.Ref, c Change) (Change, error) {
	var err error
	c.State, c.FrozenFor, err = s.State(ctx, ref)
	return c, err
}

func (s *Service) stateRecord(ctx context.Context, by Actor, operation string, row ledger.Agent, reason string) auditlog.Record {
	r := s.record(ctx, by, operation, row)
	r.Kind, r.Notes["reason"] = auditlog.Revoke, reason
	return r
}

// OwnerBack is called before a frozen principal comes back: it takes the switches of its
// agents that are frozen, for owner_lost or anything else, so that none of them comes
// back with it. Until then the principal's own edge held them all.
func (s *Service) OwnerBack(ctx context.Context, principal agentid.Ref) error {
	after := ""
	for {
		rows, err := s.cfg.Ledger.FrozenAgentsOf(ctx, principal, after, relations.MaxUpdates)
		if err != nil || len(rows) == 0 {
			return err
		}
		updates := make([]*v1.RelationshipUpdate, 0, len(rows))
		for _, row := range rows {
			update, err := relate.Delete(enabled(row))
			if err != nil {
				return err
			}
			updates = append(updates, update)
			after = row.Ref.Name()
		}
		if _, err := s.graph.Write(ctx, updates); err != nil {
			return err
		}
		// One that was thawed between the reading and the write gets its switch back.
		for _, row := range rows {
			if err := s.recheck(ctx, row.Ref); err != nil {
				return err
			}
		}
	}
}

func (s *Service) recheck(ctx context.Context, ref agentid.Ref) error {
	defer s.lock(ref)()
	reasons, err := s.cfg.Ledger.Freezes(ctx, ref)
	if err != nil || len(reasons) > 0 {
		return err
	}
	return s.restore(ctx, ref)
}
