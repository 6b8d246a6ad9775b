package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentid-dev/agentid"
)

// Config makes a Decider. Checker is required.
type Config struct {
	Checker Checker
	Now     func() time.Time // time.Now by default
	MaxAge  time.Duration    // how long an Allowed may be used; DefaultMaxAge by default
}

// DefaultMaxAge is far above what lies between a decision and its first byte upstream,
// and far below a revocation that nobody noticed.
const DefaultMaxAge = 5 * time.Second

// Decider makes decisions. It is safe for concurrent use.
type Decider struct {
	checker Checker
	now     func() time.Time
	maxAge  time.Duration
}

// New checks the config and makes a Decider.
func New(cfg Config) (*Decider, error) {
	if cfg.Checker == nil {
		return nil, errors.New("policy: a Checker is required")
	}
	if cfg.MaxAge < 0 {
		return nil, errors.New("policy: MaxAge must not be negative")
	}
	d := &Decider{checker: cfg.Checker, now: cfg.Now, maxAge: cfg.MaxAge}
	if d.now == nil {
		d.now = time.Now
	}
	if d.maxAge == 0 {
		d.maxAge = DefaultMaxAge
	}
	return d, nil
}

// Decide asks everything that the question needs in one bulk call at one revision. Any
// error means no: KindInvalid for a malformed question, KindForbidden for a definite no
// with the reason of the first leg that failed, KindUnavailable when the graph did not
// answer all of it.
func (d *Decider) Decide(ctx context.Context, q Question) (Allowed, error) {
	if err := q.validate(); err != nil {
		return Allowed{}, err
	}
	inputs, err := NewInputs(q.Inputs)
	if err != nil {
		return Allowed{}, err
	}
	p := newPlan(&q, inputs)
	// The deadline counts from before the question: the answer is no newer than that.
	made := d.now()
	zookie, answers, err := d.checker.CheckBulk(ctx, q.AtLeast, p.checks)
	if err != nil {
		return Allowed{}, checkerError(err)
	}
	if zookie == "" {
		return Allowed{}, unavailable(errors.New("the checker named no revision"))
	}
	found, err := p.match(answers)
	if err != nil {
		return Allowed{}, err
	}
	legs, err := p.outcome(found)
	if err != nil {
		return Allowed{}, err
	}
	g := &grant{operation: q.Operation, zookie: zookie, legs: legs, made: made, deadline: made.Add(d.maxAge)}
	if len(q.Resources) > 0 {
		g.resource = q.Resources[0]
	}
	return Allowed{grant: g}, nil
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

// match puts the answers in the order of the checks, by what they echo. An answer to
// something else, a check answered twice or not at all, and an answer that is an error
// leave the whole undecided.
func (p *plan) match(answers []Answer) ([]Answer, error) {
	if len(answers) != len(p.checks) {
		return nil, unavailable(fmt.Errorf("%d answers to %d checks", len(answers), len(p.checks)))
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
	return found, nil
}
