package link

import (
	"context"
	"sync"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/observe"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// Of a lease, renewPart is when it is renewed, and retryAfter the pause after a renewal
// that got no answer.
const (
	renewPart  = 4
	retryAfter = 50 * time.Millisecond
)

// renewer acknowledges events and keeps the lease of one subscription.
type renewer struct {
	sub  *subscription
	work sync.WaitGroup
	wake chan struct{}

	mu      sync.Mutex
	acked   uint64
	results map[uint64]wire.Applied
}

func newRenewer(s *subscription, seq uint64) *renewer {
	return &renewer{sub: s, acked: seq, results: map[uint64]wire.Applied{}, wake: make(chan struct{}, 1)}
}

// applied notes an event that is in force.
func (r *renewer) applied(seq uint64, a wire.Applied) {
	r.mu.Lock()
	if seq > r.acked {
		r.acked = seq
		r.results[seq] = a
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run renews at once, at every acknowledgement, and a few times within each lease. It
// ends the subscription when the broker says that it is over.
func (r *renewer) run(ctx context.Context) {
	for {
		next := retryAfter
		granted, err := r.renew(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			next = max(granted/renewPart, retryAfter)
		case agentid.KindOf(err) == agentid.KindUnavailable && !refuses(err):
			// Asked again soon.
		default:
			r.sub.cancel(err)
			return
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// renew is one call. The lease counts from the instant before it was sent.
func (r *renewer) renew(ctx context.Context) (time.Duration, error) {
	l := r.sub.link
	r.mu.Lock()
	in := api.Renew{Subscription: r.sub.id, Acked: r.acked}
	if len(r.results) > 0 {
		in.Applied = r.results
		r.results = map[uint64]wire.Applied{}
	}
	r.mu.Unlock()
	sent := l.cfg.BootTime()
	var out api.Renewed
	err := l.call(ctx, renewWithin, api.PathRenew, in, &out)
	if err != nil {
		r.again(in.Applied)
		l.metrics.renewals.WithLabelValues(agentid.ReasonOf(err)).Inc()
		l.cfg.Logger.DebugContext(ctx, "a lease was not renewed", observe.KeyError, err.Error())
		return 0, err
	}
	l.metrics.renewals.WithLabelValues("granted").Inc()
	if out.Lease > 0 {
		l.view.Extend(sent + out.Lease)
	}
	return out.Lease, nil
}

// again keeps what was not acknowledged for the next call.
func (r *renewer) again(results map[uint64]wire.Applied) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for seq, a := range results {
		r.results[seq] = a
	}
}
