package openloop

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentid-dev/agentid"
)

// Config is one stretch of constant load. Rate, Duration and Do are required.
type Config struct {
	Rate     float64 // arrivals per second
	Burst    int     // arrivals that come at once, at the same mean rate; 1 when zero
	Duration time.Duration
	// MaxInFlight bounds the requests that wait for an answer; DefaultMaxInFlight when
	// zero. An arrival beyond it is not sent and counts as Dropped.
	MaxInFlight int
	// Do makes one request and names its outcome. sequence counts from 0.
	Do func(ctx context.Context, sequence int64) Outcome
	// Tick, when set, is called about once a second with what came back so far.
	Tick func(Progress)
}

// DefaultMaxInFlight bounds what a stalled server can pile up.
const DefaultMaxInFlight = 4096

// Outcome is how one request went. The zero Outcome is a failure.
type Outcome struct {
	Op    string // what was done: "read"
	Class string // what came of it: "ok", or a reason; empty: "failed"
	OK    bool   // as it was expected to
}

// Progress is a run under way.
type Progress struct {
	Elapsed          time.Duration
	Sent, Done, Fail int64
	InFlight         int
}

// Run sends for the configured duration, waits for what is under way, and gives the
// result. It ends early with the context; what was measured until then is in the result.
// The error is of the configuration, KindInvalid, and nothing was sent then.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	switch {
	case cfg.Rate <= 0:
		return nil, agentid.Invalidf("rate", "must be above zero")
	case cfg.Duration <= 0:
		return nil, agentid.Invalidf("duration", "must be above zero")
	case cfg.Do == nil:
		return nil, agentid.Invalidf("do", "is required")
	}
	if cfg.Burst <= 0 {
		cfg.Burst = 1
	}
	if cfg.MaxInFlight <= 0 {
		cfg.MaxInFlight = DefaultMaxInFlight
	}
	l := &loop{cfg: cfg, due: make(chan arrival), recorder: newRecorder(), start: time.Now()}
	stopTicks := l.ticks()
	l.schedule(ctx)
	close(l.due)
	l.senders.Wait()
	stopTicks()
	return l.recorder.result(time.Since(l.start), l.sent.Load(), l.dropped.Load()), nil
}

// arrival is one request that is due.
type arrival struct {
	sequence int64
	intended time.Time
}

type loop struct {
	cfg      Config
	start    time.Time
	due      chan arrival
	recorder *recorder
	senders  sync.WaitGroup
	started  int
	waiting  atomic.Int64
	sent     atomic.Int64
	dropped  atomic.Int64
}

// schedule hands out each arrival at its time. It never waits for a sender: where all are
// busy it starts another, up to the bound.
func (l *loop) schedule(ctx context.Context) {
	for sequence := int64(0); ; sequence++ {
		at := l.intended(sequence)
		if at.Sub(l.start) >= l.cfg.Duration {
			return
		}
		if wait := time.Until(at); wait > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		} else if ctx.Err() != nil {
			return
		}
		l.recorder.late(time.Since(at))
		l.hand(ctx, arrival{sequence, at})
	}
}

// intended is when an arrival is due: at equal distances, or a whole burst together.
func (l *loop) intended(sequence int64) time.Time {
	first := sequence - sequence%int64(l.cfg.Burst)
	return l.start.Add(time.Duration(float64(first) / l.cfg.Rate * float64(time.Second)))
}

func (l *loop) hand(ctx context.Context, a arrival) {
	select {
	case l.due <- a:
	default:
		if l.started >= l.cfg.MaxInFlight {
			l.dropped.Add(1)
			return
		}
		shard := l.started
		l.started++
		l.senders.Go(func() { l.sender(ctx, shard, a) })
	}
	l.sent.Add(1)
}

// sender makes its first request and then whatever is due, until there is no more.
func (l *loop) sender(ctx context.Context, shard int, first arrival) {
	l.one(ctx, shard, first)
	for a := range l.due {
		l.one(ctx, shard, a)
	}
}

func (l *loop) one(ctx context.Context, shard int, a arrival) {
	l.waiting.Add(1)
	began := time.Now()
	outcome := l.cfg.Do(ctx, a.sequence)
	end := time.Now()
	l.waiting.Add(-1)
	l.recorder.record(shard, outcome, end.Sub(a.intended), end.Sub(began))
}

// ticks reports progress each second until the returned function is called.
func (l *loop) ticks() (stop func()) {
	if l.cfg.Tick == nil {
		return func() {}
	}
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-quit:
				return
			case <-t.C:
				done, fail := l.recorder.counts()
				l.cfg.Tick(Progress{Elapsed: time.Since(l.start), Sent: l.sent.Load(), Done: done, Fail: fail, InFlight: int(l.waiting.Load())})
			}
		}
	})
	return func() { close(quit); done.Wait() }
}
