package link

import (
	"context"
	"errors"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// settleAgain are the waits between attempts to settle: what is not settled stays held
// until its deadline, so a short outage is worth sitting out.
var settleAgain = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second, 3 * time.Second}

// Reserve implements wire.Effects. It is sent once: whether a call without an answer
// reserved is not known, so the operation is refused. What it may have reserved is given
// back by the broker, or by its sweeper at the deadline.
func (l *Link) Reserve(ctx context.Context, r wire.Reserve) (wire.Reservation, error) {
	var out wire.Reservation
	if err := l.call(ctx, callWithin, api.PathReserve, r, &out); err != nil {
		return wire.Reservation{}, err
	}
	if out.ID == "" {
		return wire.Reservation{}, agentid.Unavailable("broker_unreadable", errors.New("a reservation without an id"))
	}
	return out, nil
}

// Await implements wire.Effects.
func (l *Link) Await(ctx context.Context, id string) ([]wire.Ahead, error) {
	for {
		var out api.Awaited
		if err := l.call(ctx, api.AwaitFor+callWithin, api.PathAwait, api.Await{ID: id}, &out); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, err
		}
		if !out.Again {
			return out.Ahead, nil
		}
	}
}

// Settle implements wire.Effects. It may be repeated, so it is tried again while the
// broker cannot be reached.
func (l *Link) Settle(ctx context.Context, s wire.Settlement) error {
	for attempt := 0; ; attempt++ {
		err := l.call(ctx, callWithin, api.PathSettle, s, nil)
		if err == nil || agentid.KindOf(err) != agentid.KindUnavailable || attempt == len(settleAgain) {
			return err
		}
		if wait(ctx, settleAgain[attempt]) != nil {
			return err
		}
	}
}

// wait returns after d, or with the context's error.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
