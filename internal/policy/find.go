package policy

import (
	"context"
	"time"

	"github.com/agentid-dev/agentid"
)

// find asks the graph for legs 1 to 3 of a question that leg 0 has passed, and remembers a
// yes. Where the inputs are new and the rest of the question is not, it asks only what the
// inputs decide. At issuance, where they are not known, that is what stays conditional: it
// is put together each time of the graph's part, and never remembered as an answer.
func (d *Decider) find(ctx context.Context, q *Question, m *moment, key []byte) (*remembered, error) {
	d.stats.misses.Add(1)
	p, err := heardPlan(q)
	if err != nil {
		return nil, err
	}
	if !q.split() {
		r, _, err := d.whole(ctx, p, q, m)
		return d.keep(key, q.Subject, r, err)
	}
	general, _ := appendKey(nil, anyInputs, q, q.Subject)
	if base, ok := d.base(general, p, q, m); ok {
		if r, ok, err := d.rest(ctx, p, q, m, d.split(ctx, p, q, m, general, base)); ok || err != nil {
			return d.keepWhole(key, q.Subject, r, err)
		}
	}
	r, found, err := d.whole(ctx, p, q, m)
	if err == nil {
		_, _ = d.keep(general, q.Subject, r.generally(p, found), nil)
	}
	return d.keepWhole(key, q.Subject, r, err)
}

// heardPlan lays out legs 1 to 3.
func heardPlan(q *Question) (*plan, error) {
	inputs, err := NewInputs(q.Inputs)
	if err != nil {
		return nil, err
	}
	rest := *q
	rest.Tokens = nil
	return newPlan(&rest, inputs), nil
}

// whole asks all of a plan.
func (d *Decider) whole(ctx context.Context, p *plan, q *Question, m *moment) (*remembered, []Answer, error) {
	found, zookie, err := d.bulk(ctx, p, p.checks, q.AtLeast)
	if err != nil {
		return nil, nil, err
	}
	r, err := p.answer(found, zookie, m.stamp, m.now, m.now.Add(MaxLife))
	return r, found, err
}

// answer makes what is remembered of a yes.
func (p *plan) answer(found []Answer, zookie agentid.Zookie, stamp uint64, made, most time.Time) (*remembered, error) {
	legs, err := p.outcome(found)
	if err != nil {
		return nil, err
	}
	legs[legRevoked] = codeNo // the deny set said so
	r := &remembered{legs: legs, zookie: zookie, stamp: stamp, made: made, until: most}
	for _, a := range found {
		until := made.Add(BlindLife)
		if !a.Expires.IsZero() {
			until = made.Add(a.Expires.Sub(made.Round(0)))
		}
		r.until = earlier(r.until, until)
	}
	return r, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// generally is what of an answer holds whatever the inputs: what was asked without any,
// and what no caveat stood on. A conditional answer is neither.
func (r *remembered) generally(p *plan, found []Answer) *remembered {
	out := *r
	out.verdicts = make([]Verdict, len(found))
	for i, a := range found {
		if a.Verdict != VerdictConditional && (p.checks[i].Inputs == nil || a.Fixed) {
			out.verdicts[i] = a.Verdict
		}
	}
	return &out
}

// keepWhole is keep for an answer that leaves no condition open; any other is given back
// and not remembered.
func (d *Decider) keepWhole(key []byte, s *Subject, r *remembered, err error) (*remembered, error) {
	if err == nil && r.legs.open() {
		return r, nil
	}
	return d.keep(key, s, r, err)
}

// keep remembers a yes if nothing moved since before it was asked. A no, an error and what
// was given up are not remembered.
func (d *Decider) keep(key []byte, s *Subject, r *remembered, err error) (*remembered, error) {
	if err != nil {
		return nil, err
	}
	if d.fresh.Mark(s.held).Warm && d.stamp(d.now(), s) == r.stamp {
		d.store.Set(key, r)
	}
	return r, nil
}
