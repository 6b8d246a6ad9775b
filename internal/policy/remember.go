package policy

import (
	"context"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/agentid-dev/agentid"
)

// Bounds of what is remembered.
const (
	// MaxLife is the longest that an answer is used, whatever else says that it is true.
	MaxLife = time.Minute
	// BlindLife is that of an answer whose relationships' expiry is not known: SpiceDB's
	// API does not tell it.
	BlindLife = 2 * time.Second
	// flightLimit ends a question to the graph that nobody ends.
	flightLimit = 10 * time.Second
)

// keyRoom is the length in bytes up to which a key costs no allocation.
const keyRoom = 3 << 10

// remembered is the answer of legs 1 to 3 to one question, or, with verdicts, what of it
// holds whatever the inputs. It is never changed.
type remembered struct {
	legs   outcomes
	zookie agentid.Zookie
	stamp  uint64 // of the generations, and the clock's, from before it was asked
	made   time.Time
	until  time.Time
	// verdicts are by the checks of the plan; zero where the inputs decide. residuals are
	// what is left of these; nil before that was asked, and nil where it cannot be told.
	// Both only under an anyInputs key.
	verdicts  []Verdict
	residuals []Residual
}

// residualSize is what a residual is counted for, in bytes.
const residualSize = 512

func (r *remembered) size() int {
	return int(unsafe.Sizeof(*r)) + len(r.zookie) + len(r.verdicts)*int(unsafe.Sizeof(Verdict(0))) + len(r.residuals)*residualSize
}

// moment is what was known when a question came: all of it was read before anything is
// remembered or asked.
type moment struct {
	now     time.Time
	applied agentid.Zookie // read first: what had been counted by then is in the marks
	held    Mark
	stamp   uint64
}

// at takes the moment of a question.
func (d *Decider) at(now time.Time, s *Subject) moment {
	m := moment{now: now, applied: d.fresh.Applied(), held: d.fresh.Mark(s.held)}
	m.stamp = d.stamp(now, s)
	return m
}

// stamp is the same again only if neither a generation moved nor the clock went back.
func (d *Decider) stamp(now time.Time, s *Subject) uint64 {
	return d.fresh.Mark(s.core).Sum + d.clock.steps(now)
}

// trusted reports whether remembered answers may be used for a subject.
func (m *moment) trusted(s *Subject) bool {
	return m.held.Warm && (s.expiry.IsZero() || m.now.Before(s.expiry))
}

// holds reports whether an answer may be used: nothing moved since it was asked, its time
// has not passed, and it speaks for a revision that is new enough. One that nothing moved
// speaks for every revision up to which changes have been counted.
func (d *Decider) holds(r *remembered, m *moment, atLeast agentid.Zookie) bool {
	return r.stamp == m.stamp && within(m.now, r.made, r.until) &&
		(d.order.AtLeast(r.zookie, atLeast) || d.order.AtLeast(m.applied, atLeast))
}

// recall answers from memory. It reports false when it cannot, which says nothing about
// the answer; an error is a no. It does not allocate.
func (d *Decider) recall(now time.Time, q *Question) (Allowed, bool, error) {
	s := q.Subject
	m := d.at(now, s)
	if !m.trusted(s) || q.names() {
		return Allowed{}, false, nil
	}
	if ref, denied := d.fresh.Denied(s.all, s.refs); denied {
		return Allowed{}, false, Taken(ref)
	}
	var room [keyRoom]byte
	key, ok := appendKey(room[:0], exactly, q, s)
	if !ok {
		return Allowed{}, false, nil
	}
	r, ok := d.store.Get(key)
	if !ok || !d.holds(r, &m, q.AtLeast) {
		return Allowed{}, false, nil
	}
	d.stats.hits.Add(1)
	a := d.allow(&m, q, r)
	if d.due() {
		d.sampled(*q, a)
	}
	return a, true, nil
}

// split reports whether what holds whatever the inputs is worth remembering apart: the
// inputs come anew each time, or are not known yet.
func (q *Question) split() bool { return len(q.Inputs) > 0 || q.Stage == StageIssue }

// names reports whether a question names what its subject stands for, which is refused.
func (q *Question) names() bool {
	return len(q.Lineage) > 0 || !q.Principal.IsZero() || q.OwnAuthority || len(q.Tokens) > 0
}

// heard answers a question that memory has no answer to, while changes are heard of; else
// it asks the graph for all of it.
func (d *Decider) heard(ctx context.Context, now time.Time, q *Question) (Allowed, error) {
	if err := d.fill(q); err != nil {
		return Allowed{}, err
	}
	s := q.Subject
	if err := q.validate(); err != nil {
		return Allowed{}, err
	}
	m := d.at(now, s)
	if !m.trusted(s) {
		return d.unheard(ctx, &m, q)
	}
	if ref, denied := d.fresh.Denied(s.all, s.refs); denied {
		return Allowed{}, Taken(ref)
	}
	key, ok := appendKey(nil, exactly, q, s)
	if !ok {
		_, err := NewInputs(q.Inputs)
		return Allowed{}, err
	}
	if q.split() {
		if r, ok, err := d.local(q, &m); ok || err != nil {
			a, err := d.allowed(&m, q, r, err)
			if err == nil && d.due() {
				d.sampled(*q, a)
			}
			return a, err
		}
	}
	find := func(ctx context.Context) (*remembered, error) { return d.find(ctx, q, &m, key) }
	r, err := d.flights.Do(ctx, key, m.stamp, flightLimit, find)
	shared := m
	shared.now = d.now() // whoever began it may have come a little later
	if err == nil && !d.holds(r, &shared, q.AtLeast) {
		// Whoever began it asked for an older revision, or it took its whole life.
		r, err = find(ctx)
	}
	return d.allowed(&m, q, r, err)
}

// allowed is allow, or the error: one that is no refusal of ours is an outage.
func (d *Decider) allowed(m *moment, q *Question, r *remembered, err error) (Allowed, error) {
	switch {
	case err == nil:
		return d.allow(m, q, r), nil
	case agentid.KindOf(err) == agentid.KindForbidden:
		return Allowed{}, err
	default:
		return Allowed{}, checkerError(err)
	}
}

// unheard asks the graph for everything, leg 0 too, at the newest revision that it has:
// what was taken away meanwhile may not have been heard of. Only then is the revision that
// the caller has seen held against the answer; where the two cannot be put in order, the
// graph is asked to honour it.
func (d *Decider) unheard(ctx context.Context, m *moment, q *Question) (Allowed, error) {
	d.stats.cold.Add(1)
	p, err := d.plan(q)
	if err != nil {
		return Allowed{}, err
	}
	legs, zookie, err := d.ask(ctx, p, "")
	if err == nil && !d.order.AtLeast(zookie, q.AtLeast) {
		_, _, err = d.ask(ctx, p, q.AtLeast)
	}
	if err != nil {
		return Allowed{}, err
	}
	return d.allow(m, q, &remembered{legs: legs, zookie: zookie, until: m.now.Add(d.maxAge)}), nil
}

// allow is the one place that makes an Allowed of a remembered answer.
func (d *Decider) allow(m *moment, q *Question, r *remembered) Allowed {
	s := q.Subject
	a := Allowed{
		valid: true, legs: r.legs, operation: q.Operation, zookie: r.zookie, made: m.now, deadline: m.now.Add(d.maxAge),
		fresh: d.fresh, on: s.held, mark: m.held,
	}
	if len(s.tokens) == 0 { // at issuance: the answer may be remembered of a question with some
		a.legs[legRevoked] = codeNotAsked
	}
	if len(q.Resources) > 0 {
		a.resource = q.Resources[0]
	}
	a.deadline = earlier(a.deadline, r.until)
	if left := s.expiry.Sub(m.now); !s.expiry.IsZero() && left > 0 {
		a.deadline = earlier(a.deadline, m.now.Add(left))
	}
	return a
}

// clock notices that the wall clock was put back.
type clock struct {
	newest atomic.Int64 // Unix nanoseconds
	count  atomic.Uint64
}

// Calls read the clock in one order and come here in another.
const (
	clockGrain = int64(time.Millisecond)
	clockSlack = int64(100 * time.Millisecond)
)

// steps is how often the clock went back.
func (c *clock) steps(now time.Time) uint64 {
	wall, newest := now.UnixNano(), c.newest.Load()
	switch {
	case wall > newest+clockGrain:
		c.newest.CompareAndSwap(newest, wall)
	case wall < newest-clockSlack && c.newest.CompareAndSwap(newest, wall):
		c.count.Add(1)
	}
	return c.count.Load()
}
