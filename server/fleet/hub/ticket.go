package hub

import (
	"context"
	"slices"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Outcome is how an event reached the gateways.
type Outcome struct {
	Gateways     int `json:"gateways"`     // that may have acted on what was before
	Acknowledged int `json:"acknowledged"` // act on the event
	WaitedOut    int `json:"waited_out"`   // did not answer, and trust nothing any more by themselves
	wire.Applied     // of those that acknowledged
}

// Add sums up two events of one revocation: the counts of gateways are o's, those of
// operations both.
func (o Outcome) Add(a wire.Applied) Outcome {
	o.Cancelled += a.Cancelled
	o.OnWire += a.OnWire
	for _, id := range a.Requests {
		if len(o.Requests) < wire.MaxOnWire && !slices.Contains(o.Requests, id) {
			o.Requests = append(o.Requests, id)
		}
	}
	return o
}

// Ticket is one published event on its way.
type Ticket struct {
	hub  *Hub
	seq  uint64
	subs []*Subscription // leased and subscribed at its publication
	gone []departed      // left before, and not run out then
	here []*Subscription // standing, and the broker's own

	// Guarded by hub.mu.
	applied Outcome
	open    int           // of subs: neither acknowledged nor gone
	done    chan struct{} // closed when open comes to 0; nil while nobody waits
}

// through counts one subscriber off. Whoever waits looks again when none is left, not at
// each. The caller holds hub.mu.
func (t *Ticket) through() {
	if t.open--; t.open == 0 && t.done != nil {
		close(t.done)
		t.done = nil
	}
}

// ticket notes who is to act on everything up to h.seq, at boot time now. The caller holds
// h.mu.
func (h *Hub) ticket(now time.Duration) *Ticket {
	h.gone = slices.DeleteFunc(h.gone, func(d departed) bool { return d.until <= now })
	t := &Ticket{hub: h, seq: h.seq, gone: slices.Clone(h.gone)}
	for s := range h.subs {
		if s.lease.here() {
			t.here = append(t.here, s)
		} else {
			t.subs = append(t.subs, s)
		}
	}
	return t
}

// add counts what the event did at one gateway. The caller holds hub.mu.
func (t *Ticket) add(a wire.Applied) { t.applied = t.applied.Add(a) }

// Applied is what the event has done so far at gateways that acknowledged.
func (t *Ticket) Applied() wire.Applied {
	t.hub.mu.Lock()
	defer t.hub.mu.Unlock()
	out := t.applied.Applied
	out.Requests = slices.Clone(out.Requests)
	return out
}

// Wait returns when every gateway acts on the event, or trusts nothing any more. That is
// at most Lease and Drift after its publication. An error means that this is not known:
// ctx ended, or KindUnavailable "fleet_unavailable" when a gateway in this process
// failed; the event stays published.
func (t *Ticket) Wait(ctx context.Context) (Outcome, error) {
	h := t.hub
	for {
		h.mu.Lock()
		out, left, err := t.look()
		moved := h.moved
		if t.done == nil && t.open > 0 {
			t.done = make(chan struct{})
		}
		done := t.done // nil: only time is waited for
		h.mu.Unlock()
		if err != nil || left <= 0 {
			return out, err
		}
		timer := time.NewTimer(left) // stands still while the machine sleeps: it is looked at again
		select {
		case <-ctx.Done():
			timer.Stop()
			return out, ctx.Err()
		case <-done:
		case <-moved:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// look counts who is through, and says after how long the next one is. The caller holds
// hub.mu.
func (t *Ticket) look() (out Outcome, left time.Duration, err error) {
	h, now := t.hub, t.hub.cfg.BootTime()
	out = t.applied
	out.Requests = slices.Clone(out.Requests)
	for _, s := range t.here {
		if s.broken != nil {
			return out, 0, agentid.Unavailable("fleet_unavailable", s.broken)
		}
		if s.lease == Standing {
			out.Gateways++
			out.Acknowledged++
		}
	}
	wait := func(until time.Duration) bool {
		if until <= now {
			return false
		}
		if left == 0 || until-now < left {
			left = until - now
		}
		return true
	}
	for _, s := range t.subs {
		switch held := s.until > 0; {
		case s.acked >= t.seq:
			out.Gateways++
			out.Acknowledged++
		case held && wait(s.until+h.cfg.Drift):
		default:
			s.needs = max(s.needs, t.seq)
			if held {
				out.Gateways++
				out.WaitedOut++
			}
		}
	}
	for _, d := range t.gone {
		if !wait(d.until) {
			out.Gateways++
			out.WaitedOut++
		}
	}
	if left == 0 {
		h.metrics.acknowledged.Add(float64(out.Acknowledged))
		h.metrics.waitedOut.Add(float64(out.WaitedOut))
	}
	return out, left, nil
}
