package revocation

import (
	"context"
	"slices"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/failpoint"
	"github.com/agentid-dev/agentid/server/ledger"
)

// Bulk is what a revocation by filter came to.
type Bulk struct {
	Agents  int `json:"agents,omitempty"`  // that were selected
	Tokens  int `json:"tokens,omitempty"`  // that were selected
	Batches int `json:"batches,omitempty"` // writes to the graph
	Receipt
}

// TokensOf takes away every token of a tenant that a selection means: those that are live
// and hold the named capability. One intent covers all of it and is replayed from its
// filter, whose cut-off is fixed when it begins: a token that is issued later is not
// meant.
func (r *Revoker) TokensOf(ctx context.Context, intent ledger.Revocation, records ...auditlog.Record) (_ Bulk, err error) {
	begun := r.cfg.Now()
	defer func() { r.metrics.done("filter", r.cfg.Now().Sub(begun), err) }()
	ctx = context.WithoutCancel(ctx)
	intent, err = r.Begin(ctx, intent, records...)
	if err != nil {
		return Bulk{}, err
	}
	out, err := r.ReplayTokensOf(ctx, intent)
	out.Milliseconds = r.cfg.Now().Sub(begun).Milliseconds()
	return out, err
}

// ReplayTokensOf carries an intent of TokensOf to its end, from wherever it stands.
func (r *Revoker) ReplayTokensOf(ctx context.Context, intent ledger.Revocation) (Bulk, error) {
	r.bulk.Lock()
	defer r.bulk.Unlock()
	var out Bulk
	if open, err := r.cfg.Ledger.RevocationOpen(ctx, intent.Epoch); err != nil || !open {
		return out, err // who began it has ended it meanwhile
	}
	w := ledger.Withdrawal{Reason: intent.Reason, Actor: intent.Actor, Grace: capability.MaxSkew + Margin}
	for after := ""; ; {
		page, err := r.cfg.Ledger.SelectedTokens(ctx, intent.Target.Tenant(), *intent.Filter, capability.MaxSkew, after, Batch)
		if err != nil {
			return out, err
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1].Ref.Name()
		meant := page[:0]
		for _, t := range page {
			if Holds(t.Details, *intent.Filter) {
				meant = append(meant, t)
			}
		}
		if err := r.cfg.Ledger.WithdrawTokens(ctx, meant, w); err != nil {
			return out, err
		}
		out.Tokens += len(meant)
		failpoint.Hit("bulk.withdrawn")
	}
	settled, receipt, err := r.Sweep(ctx)
	if err != nil {
		return out, err
	}
	out.Batches = (settled + Batch - 1) / Batch
	zookie := receipt.Zookie
	if zookie == "" {
		if zookie, err = r.Head(ctx, intent.Target); err != nil {
			return out, err
		}
	}
	if err := r.mark(intent.Epoch); err != nil {
		return out, err
	}
	last, err := r.Settled(ctx, intent, zookie)
	out.Receipt = receipt.merge(last)
	return out, err
}

// Holds reports whether authorization_details hold the capability that s names. What
// cannot be read holds everything: it is taken away.
func Holds(details []byte, s ledger.Selection) bool {
	if len(details) == 0 {
		return false
	}
	granted, err := capability.ParseRequest(details)
	if err != nil {
		return true
	}
	return slices.ContainsFunc(granted.Capabilities, func(c capability.Capability) bool {
		return (s.Operation == "" || slices.Contains(c.Operations, s.Operation)) && (s.Resource == agentid.Ref{} || c.Resource == s.Resource)
	})
}
