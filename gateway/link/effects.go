package link

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// settleAgain are the waits between attempts to settle: what is not settled stays held
// until its deadline, so a short outage is worth sitting out.
var settleAgain = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second, 3 * time.Second}

// effectsUnderway is how many calls are under way at once. The broker answers when its disk
// has all that a call brought, so one gathers while another is written.
const effectsUnderway = 2

// effect is one call on its way.
type effect struct {
	api.Effect
	since time.Time
	done  chan effected
}

type effected struct {
	reservation wire.Reservation
	err         error
}

// Reserve implements wire.Effects. It is sent once: whether a call without an answer
// reserved is not known, so the operation is refused. What it may have reserved is given
// back by the broker, or by its sweeper at the deadline. Once it is on its way the end of
// ctx changes nothing: what is begun is ended.
func (l *Link) Reserve(ctx context.Context, r wire.Reserve) (wire.Reservation, error) {
	if err := ctx.Err(); err != nil {
		return wire.Reservation{}, err
	}
	got := l.effect(api.Effect{Reserve: &r})
	return got.reservation, got.err
}

// effect hands one call over and waits for what became of it.
func (l *Link) effect(call api.Effect) effected {
	e := &effect{Effect: call, since: time.Now(), done: make(chan effected, 1)}
	if !l.effects.put(e) {
		return effected{err: agentid.Unavailable("broker_unreachable", errors.New("too many effects wait for the broker"))}
	}
	select {
	case got := <-e.done:
		return got
	case <-l.effects.ctx.Done():
		return effected{err: agentid.Unavailable("broker_unreachable", errStops)}
	}
}

// exchange sends the effects of a moment and gives each its own answer.
func (l *Link) exchange(ctx context.Context, all []*effect) {
	all = slices.DeleteFunc(all, func(e *effect) bool {
		late := time.Since(e.since) > callWithin
		if late { // it was not sent, and its caller has waited long enough
			e.done <- effected{err: agentid.Unavailable("broker_unreachable", errors.New("no call could be made in time"))}
		}
		return late
	})
	if len(all) == 0 {
		return
	}
	in := api.Effects{Calls: make([]api.Effect, len(all))}
	for i, e := range all {
		in.Calls[i] = e.Effect
	}
	var out api.Effected
	err := l.call(ctx, callWithin, api.PathEffects, in, &out)
	l.metrics.effects.Observe(float64(len(all)))
	switch {
	case err != nil && len(all) > 1 && refusedWhole(err):
		for _, e := range all { // one bad call fails alone
			l.exchange(ctx, []*effect{e})
		}
		return
	case err == nil && len(out.Results) != len(all):
		err = agentid.Unavailable("broker_unreadable", errors.New("answers to other calls than were made"))
	}
	for i, e := range all {
		if err != nil {
			e.done <- effected{err: err}
			continue
		}
		e.done <- e.read(out.Results[i])
	}
}

// refusedWhole reports whether the broker did nothing of a call: it judges the form of all
// before it does any, and a call that is too large does not leave.
func refusedWhole(err error) bool {
	kind := agentid.KindOf(err)
	return (kind == agentid.KindInvalid || kind == agentid.KindTooLarge) && agentid.ReasonOf(err) != "request_cancelled"
}

// read is what became of one call.
func (e *effect) read(r api.EffectResult) effected {
	switch {
	case r.Problem != nil:
		return effected{err: r.Problem.Err()}
	case e.Reserve == nil:
		return effected{}
	case r.Reservation == nil || r.Reservation.ID == "":
		return effected{err: agentid.Unavailable("broker_unreadable", errors.New("a reservation without an id"))}
	default:
		return effected{reservation: *r.Reservation}
	}
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
		err := l.effect(api.Effect{Settle: &s}).err
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
