package revocation

import (
	"context"
	"fmt"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/failpoint"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/fleet/hub"
	"github.com/agentid-dev/agentid/server/ledger"
)

// Order asks for one token to be taken away.
type Order struct {
	Token   agentid.Ref
	Agent   agentid.Ref // who it was issued to
	Expires time.Time   // the token's exp
	Reason  string      // short, for people: "client", "operator"
	Actor   string      // who asks
	Record  auditlog.Record
}

// Revoke revokes a token by its jti, for administrators: KindNotFound token_unknown when
// no such token was issued. When it returns without an error, no request that starts
// afterwards is allowed by the token. Revoking twice is no error: the receipt says so.
// reason and actor go into the audit log.
func (r *Revoker) Revoke(ctx context.Context, token agentid.Ref, reason, actor string) (Receipt, error) {
	issued, err := r.cfg.Ledger.Token(ctx, token)
	if err != nil {
		return Receipt{}, err
	}
	receipt, err := r.Token(ctx, Order{
		Token: token, Agent: issued.Agent, Expires: issued.Expires, Reason: reason, Actor: actor,
		Record: auditlog.Record{Request: httpx.RequestID(ctx), Principal: issued.Principal.String()},
	})
	if err == nil && !issued.Revoked.IsZero() && receipt.Information == "" {
		receipt.Information = InfoAlreadyRevoked
	}
	return receipt, err
}

// Token takes one token away, as Take does. For a token that has expired there is nothing
// to do: Information says so.
func (r *Revoker) Token(ctx context.Context, o Order) (_ Receipt, err error) {
	begun := r.cfg.Now()
	if !begun.Before(o.Expires.Add(capability.MaxSkew)) {
		return Receipt{Information: InfoExpired}, nil
	}
	defer func() { r.metrics.done(agentid.TypeToken, r.cfg.Now().Sub(begun), err) }()
	record := o.Record
	record.Kind, record.Decision, record.Tenant = auditlog.Revoke, auditlog.Allow, o.Token.Tenant()
	record.Agent, record.Token = o.Agent.String(), o.Token.Name()
	record.Phase, record.Time = auditlog.Single, begun
	record.Notes = map[string]string{"actor": o.Actor, "reason": o.Reason}
	ctx = context.WithoutCancel(ctx) // the caller may go away; what was begun is ended
	intent, err := r.Begin(ctx, ledger.Revocation{
		Target: o.Token, Agent: o.Agent, Reason: o.Reason, Actor: o.Actor, Expires: edgeExpiry(o.Expires),
	}, record)
	if err != nil {
		return Receipt{}, err
	}
	denied := r.Deny(intent, intent.Target)
	failpoint.Hit("revoke.denied")
	receipt, err := r.finishTokens(ctx, []ledger.Revocation{intent})
	if err != nil {
		return Receipt{}, err
	}
	return r.signed(receipt, begun, denied), nil
}

// finishTokens carries at most Batch token intents to their end, behind their denials.
func (r *Revoker) finishTokens(ctx context.Context, intents []ledger.Revocation) (Receipt, error) {
	zookie, err := r.writeTokens(ctx, intents)
	if err != nil {
		return Receipt{}, err
	}
	targets := make([]agentid.Ref, len(intents))
	for i, intent := range intents {
		targets[i] = intent.Target
	}
	return r.settled(ctx, intents, zookie, targets, nil)
}

// Sweep replays every open token intent once, those that a change in the ledger began
// among them, and returns how many it settled and what that came to. Intents on other
// targets are replayed by whoever knows their edges. It goes on after an error and
// returns the first.
func (r *Revoker) Sweep(ctx context.Context) (int, Receipt, error) {
	begun := r.cfg.Now()
	r.sweep.Lock()
	defer r.sweep.Unlock()
	all, err := r.cfg.Ledger.OpenRevocations(ctx)
	if err != nil {
		return 0, Receipt{}, fmt.Errorf("read open revocations: %w", err)
	}
	var open []ledger.Revocation
	for _, intent := range all {
		if intent.Target.Type() != agentid.TypeToken {
			continue
		}
		if !r.cfg.Now().Before(intent.Expires) {
			intent.Expires = r.cfg.Now().Add(Margin) // the edge is needed no more, its zookie is
		}
		open = append(open, intent)
	}
	settled := 0
	var out Receipt
	var denied []*hub.Ticket
	for rest := open; len(rest) > 0; rest = rest[min(Batch, len(rest)):] { // every denial before the first edge
		denied = append(denied, r.denyTokens(rest[:min(Batch, len(rest))]))
	}
	var first error
	for ; len(open) > 0; open = open[min(Batch, len(open)):] {
		batch := open[:min(Batch, len(open))]
		receipt, err := r.finishTokens(ctx, batch)
		if err != nil {
			if first == nil {
				first = fmt.Errorf("replay revocation %d: %w", batch[0].Epoch, err)
			}
			continue
		}
		settled += len(batch)
		out = out.merge(receipt)
	}
	return settled, r.signed(out, begun, denied...), first
}

func (r *Revoker) denyTokens(intents []ledger.Revocation) *hub.Ticket {
	e := wire.Event{Kind: wire.EventDeny, Epoch: intents[len(intents)-1].Epoch, Denials: make([]wire.Denial, 0, len(intents))}
	for _, i := range intents {
		e.Denials = append(e.Denials, wire.Denial{Target: i.Target, Epoch: i.Epoch, Until: i.Expires})
	}
	return r.cfg.Hub.Publish(e)
}

// Run sweeps at once and then at every interval, until ctx ends.
func (r *Revoker) Run(ctx context.Context) {
	ticker := time.NewTicker(r.cfg.SweepEvery)
	defer ticker.Stop()
	for {
		switch n, _, err := r.Sweep(ctx); {
		case err != nil && ctx.Err() == nil:
			r.cfg.Logger.ErrorContext(ctx, "open revocations could not be replayed", "settled", n, "error", err)
		case n > 0:
			r.cfg.Logger.InfoContext(ctx, "open revocations replayed", "settled", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
