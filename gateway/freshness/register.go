package freshness

import (
	"context"
	"sync"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Flight is an operation as it begins.
type Flight struct {
	Request string        // its id, as the reply of a revoke names it
	On      []agentid.Ref // tokens, lineage, principal, tenant and type that it rests on; not copied
	// Connector that it goes through.
	Connector agentid.Ref
	// Effect: it changes the upstream. Once it is on the wire its outcome must be known, so
	// it is not cut.
	Effect bool
}

// Operation is one operation under way. End it.
type Operation struct {
	flight   Flight
	register *register
	cancel   context.CancelCauseFunc

	mu    sync.Mutex
	sent  bool
	taken error // what it rested on was taken away
}

// register holds the operations under way.
type register struct {
	mu  sync.Mutex
	ops map[*Operation]struct{}
}

// Begin registers an operation. When what it rests on is taken away, its context is
// cancelled, with policy.Taken as the cause, unless it is an effect on the wire. The
// decision must be looked at again after Begin and before the first byte: what was taken
// away before Begin does not cancel it.
func (v *View) Begin(ctx context.Context, f Flight) (context.Context, *Operation) {
	ctx, cancel := context.WithCancelCause(ctx)
	op := &Operation{flight: f, register: &v.register, cancel: cancel}
	v.register.mu.Lock()
	defer v.register.mu.Unlock()
	v.register.ops[op] = struct{}{}
	return ctx, op
}

// Sent says that the operation goes on the wire now. An error, policy.Taken's, means that
// it must not.
func (o *Operation) Sent() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.taken != nil {
		return o.taken
	}
	o.sent = true
	return nil
}

// Taken is why the operation was cancelled: policy.Taken's error; nil when it was not.
func (o *Operation) Taken() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.taken
}

// Cancel ends the operation's context.
func (o *Operation) Cancel(cause error) { o.cancel(cause) }

// End takes the operation off the register and releases its context.
func (o *Operation) End() {
	o.register.mu.Lock()
	delete(o.register.ops, o)
	o.register.mu.Unlock()
	o.cancel(nil)
}

// UnderWay is how many operations are registered.
func (v *View) UnderWay() int {
	v.register.mu.Lock()
	defer v.register.mu.Unlock()
	return len(v.register.ops)
}

// Resting names the requests under way that rest on one of refs, at most limit, and says
// how many there are: what a revocation of them would stop.
func (v *View) Resting(refs []agentid.Ref, limit int) (requests []string, count int) {
	gone := make(map[agentid.Ref]bool, len(refs))
	for _, ref := range refs {
		gone[ref] = true
	}
	v.register.mu.Lock()
	defer v.register.mu.Unlock()
	for op := range v.register.ops {
		if _, ok := op.rests(gone); ok {
			count++
			if len(requests) < limit {
				requests = append(requests, op.flight.Request)
			}
		}
	}
	return requests, count
}

// cancel gives up what rests on one of the denials. Its cost is that of looking through
// the operations under way, once for all denials.
func (r *register) cancel(denials []wire.Denial) wire.Applied {
	var out wire.Applied
	if len(denials) == 0 {
		return out
	}
	gone := make(map[agentid.Ref]bool, len(denials))
	for _, d := range denials {
		gone[d.Target] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for op := range r.ops {
		ref, ok := op.rests(gone)
		if !ok {
			continue
		}
		switch op.take(policy.Taken(ref)) {
		case cancelled:
			out.Cancelled++
		case onWire:
			out.OnWire++
			if len(out.Requests) < wire.MaxOnWire {
				out.Requests = append(out.Requests, op.flight.Request)
			}
		case before:
		}
	}
	return out
}

func (o *Operation) rests(gone map[agentid.Ref]bool) (agentid.Ref, bool) {
	if gone[o.flight.Connector] {
		return o.flight.Connector, true
	}
	for _, ref := range o.flight.On {
		if gone[ref] {
			return ref, true
		}
	}
	return agentid.Ref{}, false
}

// fate is what became of an operation when what it rests on was taken away.
type fate int

const (
	before    fate = iota // it was cancelled before this
	cancelled             // it is cancelled now
	onWire                // it ends as the upstream ends it
)

func (o *Operation) take(why error) fate {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.taken != nil:
		return before
	case o.sent && o.flight.Effect:
		return onWire
	}
	o.taken = why
	o.cancel(why)
	return cancelled
}
