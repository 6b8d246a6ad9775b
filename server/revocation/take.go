package revocation

import (
	"context"
	"errors"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"golang.org/x/sync/errgroup"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/failpoint"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/fleet/hub"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/relations"
)

// Taking is one thing that is taken away, with everything that rests on it. Intent and
// Edges are required.
type Taking struct {
	Intent  ledger.Revocation // Target, Reason and Actor; for a token Agent and Expires
	Records []auditlog.Record // written with the intent
	// Begin records the intent with what it means for the ledger, in one transaction: the
	// reason of a freeze, the state of an agent. nil: the intent alone.
	Begin func(ctx context.Context, intent ledger.Revocation, records ...auditlog.Record) (ledger.Revocation, error)
	// Edges are what the graph has to say afterwards, by what the ledger says then.
	Edges func(ctx context.Context) (relations.Set, error)
	// Told is called once everything is settled and every gateway was told, before it is
	// waited for them: the place to give a lock back. It may be nil.
	Told func()
}

// errStillThere means that the graph acknowledged a write and then did not show it.
var errStillThere = errors.New("what was written is not read back")

// Take takes something away: intent, epoch and state in the ledger, the denial to every
// gateway, the edges (read back), settled. When it returns without an error, no request
// that starts afterwards is allowed what was taken.
//
// On an error after the first step the intent and the denial stay, and the intent is
// replayed: the caller may only not rely on it yet. KindUnavailable, or what Begin said,
// with which nothing was begun.
func (r *Revoker) Take(ctx context.Context, t Taking) (_ Receipt, err error) {
	begun := r.cfg.Now()
	defer func() { r.metrics.done(t.Intent.Target.Type(), r.cfg.Now().Sub(begun), err) }()
	ctx = context.WithoutCancel(ctx) // the caller may go away; what was begun is ended
	begin := t.Begin
	if begin == nil {
		begin = r.cfg.Ledger.BeginRevocation
	}
	intent, err := begin(ctx, t.Intent, t.Records...)
	if err != nil {
		return Receipt{}, err
	}
	failpoint.Hit("revoke.intent")
	denied := r.Deny(intent, intent.Target)
	failpoint.Hit("revoke.denied")
	set, err := t.Edges(ctx)
	if err != nil {
		return Receipt{}, err
	}
	receipt, err := r.settle(ctx, intent, set, t.Told)
	if err != nil {
		return Receipt{}, err
	}
	return r.signed(receipt, begun, denied), nil
}

// signed completes a receipt with what the denials did and how long all of it took.
func (r *Revoker) signed(receipt Receipt, begun time.Time, denied ...*hub.Ticket) Receipt {
	for _, t := range denied {
		receipt.Outcome = receipt.Add(t.Applied())
	}
	receipt.Milliseconds = r.cfg.Now().Sub(begun).Milliseconds()
	return receipt
}

// Begin records an intent under the next epoch. From its return on it survives a crash.
func (r *Revoker) Begin(ctx context.Context, intent ledger.Revocation, records ...auditlog.Record) (ledger.Revocation, error) {
	begun, err := r.cfg.Ledger.BeginRevocation(ctx, intent, records...)
	if err != nil {
		return begun, err
	}
	failpoint.Hit("revoke.intent")
	return begun, nil
}

// Deny tells every gateway that targets are being taken away, at most Batch of them. It
// does not wait: the events are in order, and the settled one is waited for.
func (r *Revoker) Deny(intent ledger.Revocation, targets ...agentid.Ref) *hub.Ticket {
	e := wire.Event{Kind: wire.EventDeny, Epoch: intent.Epoch, Denials: make([]wire.Denial, 0, len(targets))}
	for _, target := range targets {
		e.Denials = append(e.Denials, wire.Denial{Target: target, Epoch: intent.Epoch, Until: intent.Expires})
	}
	return r.cfg.Hub.Publish(e)
}

// Settle brings the graph to s, reads it back, and ends the intent: in Take, and when an
// intent is replayed. The intent's target is denied already, or nothing remembers it.
func (r *Revoker) Settle(ctx context.Context, intent ledger.Revocation, s relations.Set) (Receipt, error) {
	return r.settle(ctx, intent, s, nil)
}

func (r *Revoker) settle(ctx context.Context, intent ledger.Revocation, s relations.Set, told func()) (Receipt, error) {
	zookie, err := r.write(ctx, intent.Epoch, s)
	if err != nil {
		return Receipt{}, err
	}
	return r.settled(ctx, []ledger.Revocation{intent}, zookie, []agentid.Ref{intent.Target}, told)
}

// write brings the graph to s and reads it back. The witness is marked meanwhile.
func (r *Revoker) write(ctx context.Context, epoch agentid.Epoch, s relations.Set) (zookie agentid.Zookie, err error) {
	updates, err := r.graph.Pending(ctx, s)
	if err != nil {
		return "", err
	}
	if len(updates) == 0 { // done before, by an attempt that did not come to the end
		if updates, err = relations.All(s); err != nil {
			return "", err
		}
	}
	if zookie, err = r.Write(ctx, epoch, updates); err != nil {
		return "", err
	}
	left, err := r.graph.Pending(ctx, s)
	if err == nil && len(left) > 0 {
		err = agentid.Unavailable("graph_unavailable", errStillThere)
	}
	return zookie, err
}

// Write makes one atomic write for the intent of an epoch while the witness is marked.
// What was written is to be read back by the caller.
func (r *Revoker) Write(ctx context.Context, epoch agentid.Epoch, updates []*v1.RelationshipUpdate) (zookie agentid.Zookie, err error) {
	var both errgroup.Group
	both.Go(func() error { return r.mark(epoch) })
	zookie, err = r.graph.Write(ctx, updates)
	if err := errors.Join(err, both.Wait()); err != nil {
		return "", err
	}
	failpoint.Hit("revoke.edge")
	return zookie, nil
}

func (r *Revoker) mark(epoch agentid.Epoch) error {
	if r.cfg.Witness == nil {
		return nil
	}
	if err := r.cfg.Witness.Mark(epoch); err != nil {
		return agentid.Unavailable("witness_unavailable", err)
	}
	return nil
}

// Settled ends an intent of which the graph says at zookie that it is done: in the
// ledger, then at every gateway. It returns when every gateway acts on it, or trusts
// nothing any more. Lift are the targets whose denial gives way to the graph.
func (r *Revoker) Settled(ctx context.Context, intent ledger.Revocation, zookie agentid.Zookie, lift ...agentid.Ref) (Receipt, error) {
	return r.settled(ctx, []ledger.Revocation{intent}, zookie, lift, nil)
}

func (r *Revoker) settled(ctx context.Context, intents []ledger.Revocation, zookie agentid.Zookie, targets []agentid.Ref, told func()) (Receipt, error) {
	epochs := make([]agentid.Epoch, len(intents))
	for i, intent := range intents {
		epochs[i] = intent.Epoch
	}
	if err := r.cfg.Ledger.SettleRevocations(ctx, epochs, zookie); err != nil {
		return Receipt{}, err
	}
	failpoint.Hit("revoke.settled")
	if err := r.cfg.Settled(ctx); err != nil {
		return Receipt{}, agentid.Unavailable("fleet_unavailable", err)
	}
	epoch := epochs[len(epochs)-1]
	var last *hub.Ticket
	for first := true; first || len(targets) > 0; first = false {
		n := min(Batch, len(targets))
		e := wire.Event{Kind: wire.EventSettled, Epoch: epoch, Zookie: zookie, Raise: raise(targets[:n])}
		for _, ref := range targets[:n] {
			if ref.Type() != agentid.TypeToken {
				e.Lift = append(e.Lift, ref)
			}
		}
		last, targets = r.cfg.Hub.Publish(e), targets[n:]
	}
	if told != nil {
		told()
	}
	out, err := last.Wait(ctx)
	failpoint.Hit("revoke.told")
	return Receipt{Epoch: epoch, Zookie: zookie, Outcome: out}, err
}

// raise are the generations that move with targets: an agent's or a token's own, for
// anything else its tenant's.
func raise(targets []agentid.Ref) []agentid.Ref {
	out := make([]agentid.Ref, 0, len(targets))
	seen := map[agentid.Ref]bool{}
	for _, ref := range targets {
		if t := ref.Type(); t != agentid.TypeAgent && t != agentid.TypeToken {
			tenant, err := agentid.TenantRef(ref.Tenant())
			if err != nil { // a Ref is well formed
				continue
			}
			ref = tenant
		}
		if !seen[ref] {
			seen[ref] = true
			out = append(out, ref)
		}
	}
	return out
}
