package policy

import (
	"context"

	"github.com/agentid-dev/agentid"
)

// base is what is remembered of a question whatever its inputs.
func (d *Decider) base(general []byte, p *plan, q *Question, m *moment) (*remembered, bool) {
	base, ok := d.store.Get(general)
	if !ok || !d.holds(base, m, q.AtLeast) || len(base.verdicts) != len(p.checks) {
		return nil, false
	}
	return base, true
}

// local answers a question with new inputs from memory alone: the inputs decide nothing,
// or only conditions whose graph part is remembered. It reports false when it cannot.
func (d *Decider) local(q *Question, m *moment) (*remembered, bool, error) {
	general, _ := appendKey(nil, anyInputs, q, q.Subject)
	if base, ok := d.store.Get(general); !ok || !base.complete() || !d.holds(base, m, q.AtLeast) {
		return nil, false, nil
	}
	p, err := heardPlan(q)
	if err != nil {
		return nil, false, err
	}
	base, ok := d.base(general, p, q, m)
	if !ok || !base.complete() {
		return nil, false, nil
	}
	found, _, err := base.known(p)
	if err != nil {
		return nil, false, err
	}
	r, err := p.answer(found, base.zookie, m.stamp, base.made, base.until)
	return r, err == nil, err
}

// complete reports whether only inputs are missing.
func (r *remembered) complete() bool {
	for i, v := range r.verdicts {
		if v == 0 && (r.residuals == nil || r.residuals[i] == nil) {
			return false
		}
	}
	return len(r.verdicts) > 0
}

// known are the answers that base has for a plan, and the checks that it has none for.
func (r *remembered) known(p *plan) (found []Answer, open []Check, err error) {
	found = make([]Answer, len(p.checks))
	for i, v := range r.verdicts {
		check := p.checks[i]
		switch {
		case v != 0:
			found[i] = Answer{Check: check, Verdict: v, Expires: r.until}
		case r.residuals != nil && r.residuals[i] != nil:
			verdict, missing, err := r.residuals[i].Evaluate(check.Inputs)
			if err != nil {
				return nil, nil, checkerError(err)
			}
			found[i] = Answer{Check: check, Verdict: verdict, Missing: missing, Expires: r.until}
		default:
			open = append(open, check)
		}
	}
	return found, open, nil
}

// rest answers what base has, and asks what it leaves to the inputs. It reports false where
// base is not known to be true at the revision that the rest was answered at.
func (d *Decider) rest(ctx context.Context, p *plan, q *Question, m *moment, base *remembered) (*remembered, bool, error) {
	zookie := base.zookie
	found, open, err := base.known(p)
	if err != nil {
		return nil, false, err
	}
	if len(open) > 0 {
		var asked []Answer
		if asked, zookie, err = d.bulk(ctx, p, open, q.AtLeast); err != nil {
			return nil, false, err
		}
		if !d.agree(base, zookie, q.Subject) {
			return nil, false, nil
		}
		for i, a := range asked {
			if a.Verdict != 0 {
				found[i] = a
			}
		}
	}
	r, err := p.answer(found, zookie, m.stamp, m.now, base.until)
	return r, true, err
}

// agree reports whether what is remembered is true at another revision too: everything up
// to it has been counted, and nothing moved. So no decision mixes an old policy with a new
// one.
func (d *Decider) agree(base *remembered, zookie agentid.Zookie, s *Subject) bool {
	counted := zookie == base.zookie || d.order.AtLeast(d.fresh.Applied(), zookie)
	return counted && d.stamp(d.now(), s) == base.stamp
}

// split asks for the graph part of what base leaves to the inputs, once, and remembers it:
// then new inputs are a matter of their conditions alone. Where the checker cannot, or a
// check cannot be split, base stays as it is.
func (d *Decider) split(ctx context.Context, p *plan, q *Question, m *moment, general []byte, base *remembered) *remembered {
	splitter, ok := d.checker.(ResidualChecker)
	if !ok || base.residuals != nil || base.complete() {
		return base
	}
	_, open, err := base.known(p)
	if err != nil {
		return base
	}
	zookie, parts, err := splitter.Residuals(ctx, q.AtLeast, open)
	if err != nil || len(parts) != len(open) || !d.agree(base, zookie, q.Subject) {
		return base
	}
	out := *base
	out.residuals = make([]Residual, len(p.checks))
	for i, part := range parts {
		at, ok := p.find(open[i])
		if !ok || part == nil {
			continue
		}
		out.residuals[at] = part
		if expires := part.Expires(); !expires.IsZero() {
			out.until = earlier(out.until, m.now.Add(expires.Sub(m.now.Round(0))))
		}
	}
	kept, _ := d.keep(general, q.Subject, &out, nil)
	return kept
}
