package policy

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy/decisions"
	"github.com/agentid-dev/agentid/internal/policy/revision"
)

// Config makes a Decider. Checker is required.
type Config struct {
	Checker Checker
	Now     func() time.Time // time.Now by default
	MaxAge  time.Duration    // how long an Allowed may be used; DefaultMaxAge by default

	// Fresh hears of changes. Without one nothing is remembered, and each question goes to
	// the graph.
	Fresh Freshness
	Order *revision.Order // compares zookies; revision.New() by default
	// Memory bounds what is remembered, in bytes; DefaultMemory by default, below zero:
	// nothing is remembered.
	Memory int64
	// Sample is given one in SampleEach answers from memory, to be rechecked. It must not
	// wait. nil: none.
	Sample func(Question, Allowed)
	// Issuing is asked before a token is decided from memory: its error, KindUnavailable,
	// is the answer. Without the graph no token is made. nil: not asked.
	Issuing func(ctx context.Context) error
}

// Defaults of a Decider.
const (
	// DefaultMaxAge is far above what lies between a decision and its first byte upstream,
	// and far below a revocation that nobody noticed.
	DefaultMaxAge = 5 * time.Second
	DefaultMemory = 64 << 20
)

// Decider makes decisions. It is safe for concurrent use.
type Decider struct {
	checker Checker
	now     func() time.Time
	maxAge  time.Duration

	fresh   Freshness
	order   *revision.Order
	store   *decisions.Store[*remembered]
	flights decisions.Flights[*remembered]
	clock   clock
	stats   stats
	sample  func(Question, Allowed)
	issuing func(ctx context.Context) error
}

// stats count what became of questions, for metrics.
type stats struct{ hits, misses, cold, offered atomic.Uint64 }

// Stats are counts since the start.
type Stats struct {
	Hits   uint64 // answered from memory
	Misses uint64 // asked of the graph, and heard of changes meanwhile
	Cold   uint64 // asked of the graph in full: nothing remembered could be trusted
	Kept   int    // answers in memory, roughly
	Bytes  uint64 // counted for them
}

// Stats tells how the decider's memory does.
func (d *Decider) Stats() Stats {
	return Stats{
		Hits: d.stats.hits.Load(), Misses: d.stats.misses.Load(), Cold: d.stats.cold.Load(),
		Kept: d.store.Len(), Bytes: d.store.Weight(),
	}
}

// New checks the config and makes a Decider.
func New(cfg Config) (*Decider, error) {
	if cfg.Checker == nil {
		return nil, errors.New("policy: a Checker is required")
	}
	if cfg.MaxAge < 0 {
		return nil, errors.New("policy: MaxAge must not be negative")
	}
	d := &Decider{checker: cfg.Checker, now: cfg.Now, maxAge: cfg.MaxAge, fresh: cfg.Fresh, order: cfg.Order, sample: cfg.Sample, issuing: cfg.Issuing}
	if d.now == nil {
		d.now = time.Now
	}
	if d.maxAge == 0 {
		d.maxAge = DefaultMaxAge
	}
	if d.order == nil {
		d.order = revision.New()
	}
	if cfg.Memory == 0 {
		cfg.Memory = DefaultMemory
	}
	if cfg.Fresh == nil || cfg.Memory < 0 {
		return d, nil
	}
	var err error
	if d.store, err = decisions.New(cfg.Memory, (*remembered).size); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return d, nil
}

// Decide answers a question: from memory where what is remembered is still true, else by
// asking everything that it needs in one bulk call at one revision. Any error means no:
// KindInvalid for a malformed question, KindForbidden for a definite no with the reason of
// the first leg that failed, KindUnavailable when the graph did not answer all of it.
func (d *Decider) Decide(ctx context.Context, q Question) (Allowed, error) {
	// The deadline counts from before the question: the answer is no newer than that.
	made := d.now()
	if d.fresh == nil {
		asked := q
		return d.graph(ctx, made, &asked)
	}
	if q.Stage == StageIssue && d.issuing != nil {
		if err := d.issuing(ctx); err != nil {
			return Allowed{}, err
		}
	}
	if q.Subject == nil {
		s, err := d.Subject(Holder{Lineage: q.Lineage, Principal: q.Principal, OwnAuthority: q.OwnAuthority, Tokens: q.Tokens})
		if err != nil {
			return Allowed{}, err
		}
		q.Subject, q.Lineage, q.Principal, q.OwnAuthority, q.Tokens = s, nil, agentid.Ref{}, false, nil
	}
	if q.Subject.decider == d {
		if a, ok, err := d.recall(made, &q); ok || err != nil {
			return a, err
		}
	}
	asked := q
	return d.heard(ctx, made, &asked)
}

// graph asks the graph for all of a question and remembers nothing of it.
func (d *Decider) graph(ctx context.Context, made time.Time, q *Question) (Allowed, error) {
	p, err := d.plan(q)
	if err != nil {
		return Allowed{}, err
	}
	legs, zookie, err := d.ask(ctx, p, q.AtLeast)
	if err != nil {
		return Allowed{}, err
	}
	a := Allowed{valid: true, legs: legs, operation: q.Operation, zookie: zookie, made: made, deadline: made.Add(d.maxAge)}
	if len(q.Resources) > 0 {
		a.resource = q.Resources[0]
	}
	return a, nil
}

// plan checks a question and lays out what it asks.
func (d *Decider) plan(q *Question) (*plan, error) {
	if q.Subject != nil && d.fresh == nil {
		if err := d.fill(q); err != nil {
			return nil, err
		}
	}
	if err := q.validate(); err != nil {
		return nil, err
	}
	inputs, err := NewInputs(q.Inputs)
	if err != nil {
		return nil, err
	}
	return newPlan(q, inputs), nil
}

// ask puts a whole plan to the graph.
func (d *Decider) ask(ctx context.Context, p *plan, atLeast agentid.Zookie) (outcomes, agentid.Zookie, error) {
	found, zookie, err := d.bulk(ctx, p, p.checks, atLeast)
	if err != nil {
		return outcomes{}, "", err
	}
	legs, err := p.outcome(found)
	return legs, zookie, err
}

// bulk asks some of a plan's checks and gives the answers in the places of the plan's.
func (d *Decider) bulk(ctx context.Context, p *plan, checks []Check, atLeast agentid.Zookie) ([]Answer, agentid.Zookie, error) {
	zookie, answers, err := d.checker.CheckBulk(ctx, atLeast, checks)
	if err != nil {
		return nil, "", checkerError(err)
	}
	if zookie == "" {
		return nil, "", unavailable(errors.New("the checker named no revision"))
	}
	found, err := p.match(checks, answers)
	return found, zookie, err
}

// checkerError lets a checker's own refusals through and takes the rest as an outage.
func checkerError(err error) error {
	switch e := agentid.AsError(err); {
	case e.Kind == agentid.KindForbidden && e.Reason == ReasonZookieInvalid,
		e.Kind == agentid.KindInvalid,
		e.Kind == agentid.KindUnavailable:
		return err
	}
	return unavailable(err)
}

func unavailable(cause error) error { return agentid.Unavailable(ReasonGraphUnavailable, cause) }

// match puts the answers to some of the plan's checks in the places of these, by what they
// echo. An answer to something else, a check answered twice or not at all, and an answer
// that is an error leave the whole undecided.
func (p *plan) match(asked []Check, answers []Answer) ([]Answer, error) {
	if len(answers) != len(asked) {
		return nil, unavailable(fmt.Errorf("%d answers to %d checks", len(answers), len(asked)))
	}
	found := make([]Answer, len(p.checks))
	seen := make([]bool, len(p.checks))
	for _, a := range answers {
		i, ok := p.find(a.Check)
		switch {
		case !ok:
			return nil, unavailable(errors.New("an answer to a check that was not asked"))
		case seen[i]:
			return nil, unavailable(errors.New("two answers to one check"))
		case a.Err != nil:
			return nil, checkerError(a.Err)
		}
		found[i], seen[i] = a, true
	}
	for _, c := range asked {
		if i, ok := p.find(c); !ok || !seen[i] {
			return nil, unavailable(errors.New("an answer to a check that was not asked"))
		}
	}
	return found, nil
}

// Settle carries out what the memory put off, such as evictions: for tests and figures.
func (d *Decider) Settle() { d.store.Settle() }
