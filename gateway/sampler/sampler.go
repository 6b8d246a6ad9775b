// Package sampler asks the graph again for what was allowed from memory, now and then, and
// raises an alarm when the graph says no and nothing explains it.
//
// It is the line behind the event stream, and no more: it decides nothing, holds up no
// request and takes nothing back. It owns how often it asks, and what counts as a mismatch.
package sampler

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/agentid-dev/agentid/internal/policy"
)

// Defaults of Config.
const (
	DefaultPerSecond = 5
	DefaultRest      = 20
	DefaultGrace     = 2500 * time.Millisecond
)

// queue is how many samples wait; more are left out.
const queue = 64

// askWithin bounds one question.
const askWithin = 2 * time.Second

// Rechecker asks the graph again; policy.Decider is one.
type Rechecker interface {
	Recheck(ctx context.Context, q policy.Question, a policy.Allowed) (agrees bool, err error)
}

// Config configures New. All have defaults.
type Config struct {
	PerSecond int // questions to the graph
	// Rest is how many times as long as a question took none is taken after it, so that
	// dear ones (long lineages, a busy machine) cost no more than the others: at 20, a
	// twentieth of one processor. Negative: no rest.
	Rest int
	// Grace is how long news of a change may be on its way: a revocation returns within a
	// lease and the drift. A mismatch that is still one after it is an alarm.
	Grace   time.Duration
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Sampler rechecks. It is safe for concurrent use.
type Sampler struct {
	cfg     Config
	limit   *rate.Limiter
	samples chan sample
	rests   atomic.Int64 // Unix nanoseconds until which none is taken

	rechecks   *prometheus.CounterVec
	mismatches prometheus.Counter
}

type sample struct {
	question policy.Question
	allowed  policy.Allowed
}

// New makes a Sampler.
func New(cfg Config) (*Sampler, error) {
	if cfg.PerSecond <= 0 {
		cfg.PerSecond = DefaultPerSecond
	}
	if cfg.Rest == 0 {
		cfg.Rest = DefaultRest
	}
	if cfg.Grace <= 0 {
		cfg.Grace = DefaultGrace
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Sampler{
		cfg: cfg, limit: rate.NewLimiter(rate.Limit(cfg.PerSecond), cfg.PerSecond), samples: make(chan sample, queue),
		rechecks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentid_sampler_rechecks_total", Help: "Remembered answers that the graph was asked for again, by outcome: agrees, late (news was on its way), mismatch, unanswered.",
		}, []string{"outcome"}),
		mismatches: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "agentid_sampler_mismatches_total", Help: "Remembered answers that the graph does not uphold, and nothing explains: an alarm.",
		}),
	}
	if cfg.Metrics == nil {
		return s, nil
	}
	return s, errors.Join(cfg.Metrics.Register(s.rechecks), cfg.Metrics.Register(s.mismatches))
}

// Offer takes a sample, if there is room and time for it. It does not wait.
func (s *Sampler) Offer(q policy.Question, a policy.Allowed) {
	if len(s.samples) == queue || s.resting() || !s.limit.Allow() {
		return
	}
	select {
	case s.samples <- sample{q, a}:
	default:
	}
}

func (s *Sampler) resting() bool { return time.Now().UnixNano() < s.rests.Load() }

// Run rechecks what was offered until ctx ends.
func (s *Sampler) Run(ctx context.Context, graph Rechecker) {
	for {
		select {
		case <-ctx.Done():
			return
		case one := <-s.samples:
			if s.resting() { // it came while the one before was asked about
				continue
			}
			outcome, took := s.recheck(ctx, graph, one)
			s.rests.Store(time.Now().Add(time.Duration(max(0, s.cfg.Rest)) * took).UnixNano())
			s.rechecks.WithLabelValues(outcome).Inc()
		}
	}
}

// recheck asks, and once more after the grace where the graph disagrees. took is how long
// the graph was busy with it.
func (s *Sampler) recheck(ctx context.Context, graph Rechecker, one sample) (outcome string, took time.Duration) {
	ask := func() (bool, error) {
		begun := time.Now()
		defer func() { took += time.Since(begun) }()
		ctx, cancel := context.WithTimeout(ctx, askWithin)
		defer cancel()
		return graph.Recheck(ctx, one.question, one.allowed)
	}
	agrees, err := ask()
	switch {
	case err != nil:
		return "unanswered", took
	case agrees:
		return "agrees", took
	}
	timer := time.NewTimer(s.cfg.Grace)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return "unanswered", took
	case <-timer.C:
	}
	agrees, err = ask()
	switch {
	case err != nil:
		return "unanswered", took
	case agrees:
		return "late", took
	}
	s.mismatches.Inc()
	s.cfg.Logger.ErrorContext(ctx, "a remembered answer is not upheld by the graph", "operation", one.question.Operation,
		"zookie", string(one.allowed.Zookie()), "made_until", one.allowed.Deadline())
	return "mismatch", took
}
