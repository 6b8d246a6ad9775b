package agents

import (
	"context"
	"slices"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/failpoint"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/fleet/hub"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/revocation"
)

// FreezeSelected freezes every active agent of a tenant that a selection means, with
// their subtrees. One intent covers all of it and is replayed from its filter, whose
// cut-off is fixed when it begins: an agent that is made later is not meant. When it
// returns, no request that starts afterwards is allowed to any of them.
func (s *Service) FreezeSelected(ctx context.Context, by Actor, tenant agentid.Ref, sel ledger.Selection, reason string) (revocation.Bulk, error) {
	if err := checkReason(reason); err != nil {
		return revocation.Bulk{}, err
	}
	begun := s.cfg.Now()
	ctx = context.WithoutCancel(ctx)
	record := s.bulkRecord(ctx, by, "agents.freeze", tenant, reason)
	intent, err := s.cfg.Revoker.Begin(ctx, ledger.Revocation{Target: tenant, Filter: &sel, Reason: reason, Actor: by.name()}, record)
	if err != nil {
		return revocation.Bulk{}, err
	}
	out, err := s.ReplaySelected(ctx, intent)
	out.Milliseconds = s.cfg.Now().Sub(begun).Milliseconds()
	return out, err
}

func (s *Service) bulkRecord(ctx context.Context, by Actor, operation string, tenant agentid.Ref, reason string) auditlog.Record {
	r := auditlog.Record{
		Kind: auditlog.Revoke, Phase: auditlog.Single, Request: httpx.RequestID(ctx), Tenant: tenant.Tenant(), Operation: operation,
		Resource: tenant.String(), Decision: auditlog.Allow, Time: s.cfg.Now(),
		Notes: map[string]string{"reason": reason, "administrator": by.Administrator},
	}
	if r.Request == "" {
		r.Request = httpx.NewID()
	}
	return r
}

// ReplaySelected carries an intent of FreezeSelected to its end, from wherever it stands:
// all denials, then batch by batch the reason and the edges (read back), then settled.
func (s *Service) ReplaySelected(ctx context.Context, intent ledger.Revocation) (out revocation.Bulk, err error) {
	s.bulk.Lock()
	defer s.bulk.Unlock()
	if open, err := s.cfg.Ledger.RevocationOpen(ctx, intent.Epoch); err != nil || !open {
		return out, err // who began it has ended it meanwhile
	}
	begun := s.cfg.Now()
	defer func() { s.cfg.Revoker.Count("filter", s.cfg.Now().Sub(begun), err) }()
	var all []agentid.Ref
	var denied []*hub.Ticket
	for after := ""; ; {
		page, err := s.cfg.Ledger.SelectedAgents(ctx, intent.Target.Tenant(), *intent.Filter, after, revocation.Batch)
		if err != nil {
			return out, err
		}
		if len(page) == 0 {
			break
		}
		denied = append(denied, s.cfg.Revoker.Deny(intent, page...))
		all, after = append(all, page...), page[len(page)-1].Name()
	}
	failpoint.Hit("bulk.denied")
	out.Agents = len(all)
	var zookie agentid.Zookie
	for rest := all; len(rest) > 0; rest = rest[min(revocation.Batch, len(rest)):] {
		if zookie, err = s.freezeBatch(ctx, intent, rest[:min(revocation.Batch, len(rest))]); err != nil {
			return out, err
		}
		out.Batches++
		failpoint.Hit("bulk.batch")
	}
	if zookie == "" { // nobody was meant
		if zookie, err = s.cfg.Revoker.Head(ctx, intent.Target); err != nil {
			return out, err
		}
	}
	out.Receipt, err = s.cfg.Revoker.Settled(ctx, intent, zookie, all...)
	for _, t := range denied {
		out.Outcome = out.Add(t.Applied())
	}
	out.Milliseconds = s.cfg.Now().Sub(begun).Milliseconds()
	return out, err
}

// freezeBatch adds the reason to one batch and takes its switches. No state of an agent
// is changed by anybody else meanwhile.
func (s *Service) freezeBatch(ctx context.Context, intent ledger.Revocation, refs []agentid.Ref) (agentid.Zookie, error) {
	defer s.lockAll()()
	if err := s.cfg.Ledger.FreezeAgents(ctx, refs, intent.Reason, intent.Actor); err != nil {
		return "", err
	}
	updates := make([]*v1.RelationshipUpdate, 0, len(refs))
	for _, ref := range refs {
		update, err := relate.Delete(enabled(ledger.Agent{Ref: ref}))
		if err != nil {
			return "", err
		}
		updates = append(updates, update)
	}
	zookie, err := s.cfg.Revoker.Write(ctx, intent.Epoch, updates)
	if err != nil {
		return "", err
	}
	return zookie, s.cfg.Revoker.Without(ctx, zookie, schema.AgentEnabled, refs)
}

// Thawed is what taking a reason away from many came to.
type Thawed struct {
	Agents int `json:"agents"` // that had the reason
	Active int `json:"active"` // of them: have no other reason, and are back
}

// ThawSelected takes a reason away from every active agent of a tenant that a selection
// means. Those that have no other return, with their first expiry. After an error the
// same call again completes it.
func (s *Service) ThawSelected(ctx context.Context, by Actor, tenant agentid.Ref, sel ledger.Selection, reason string) (out Thawed, err error) {
	if err := checkReason(reason); err != nil {
		return out, err
	}
	ctx = context.WithoutCancel(ctx)
	if sel.Before.IsZero() {
		sel.Before = s.cfg.Now()
	}
	record := s.bulkRecord(ctx, by, "agents.unfreeze", tenant, reason)
	if err := s.cfg.Ledger.Append(ctx, record, 0); err != nil {
		return out, err
	}
	for after := ""; ; {
		page, err := s.cfg.Ledger.SelectedAgents(ctx, tenant.Tenant(), sel, after, revocation.Batch)
		if err != nil || len(page) == 0 {
			return out, err
		}
		after = page[len(page)-1].Name()
		if err := s.thawBatch(ctx, page, reason, &out); err != nil {
			return out, err
		}
	}
}

func (s *Service) thawBatch(ctx context.Context, page []agentid.Ref, reason string, out *Thawed) error {
	defer s.lockAll()()
	thawed, err := s.cfg.Ledger.ThawAgents(ctx, page, reason)
	if err != nil {
		return err
	}
	out.Agents += len(thawed)
	// All of the page, and not those alone that had the reason: an earlier call may have
	// come no further than the ledger.
	var updates []*v1.RelationshipUpdate
	for _, ref := range page {
		set, err := s.toggle(ctx, ref)
		if err != nil {
			return err
		}
		pending, err := s.graph.Pending(ctx, set)
		if err != nil {
			return err
		}
		updates = append(updates, pending...)
		if len(set.Wanted) > 0 && slices.Contains(thawed, ref) {
			out.Active++
		}
	}
	if len(updates) == 0 {
		return nil
	}
	_, err = s.graph.Write(ctx, updates)
	return err
}

// lockAll keeps every agent's state as it is.
func (s *Service) lockAll() func() {
	for i := range s.locks {
		s.locks[i].Lock()
	}
	return func() {
		for i := range s.locks {
			s.locks[i].Unlock()
		}
	}
}
