package policy

import (
	"context"
	"maps"

	"github.com/agentid-dev/agentid"
)

// SampleEach is of how many remembered answers one is offered to Config.Sample.
const SampleEach = 64

// due is true for one in SampleEach answers from memory.
func (d *Decider) due() bool {
	return d.sample != nil && d.stats.offered.Add(1)%SampleEach == 0
}

// sampled offers an answer from memory to whoever rechecks such.
func (d *Decider) sampled(q Question, a Allowed) {
	q.Inputs = maps.Clone(q.Inputs) // the request's, which goes on
	d.sample(q, a)
}

// Recheck asks the graph for all of a question, at the newest revision that it has, and
// holds the answer against what was allowed from memory. It reports false when the graph
// says no while nothing that the answer rests on is known to have changed: memory is wrong,
// or the news of a change has not come. An error means that the graph did not answer.
func (d *Decider) Recheck(ctx context.Context, q Question, a Allowed) (agrees bool, err error) {
	if q.Subject != nil && q.names() {
		q.Lineage, q.Principal, q.OwnAuthority, q.Tokens = nil, agentid.Ref{}, false, nil
	}
	if err := d.fill(&q); err != nil {
		return true, err
	}
	p, err := d.plan(&q)
	if err != nil {
		return true, err
	}
	if _, _, err = d.ask(ctx, p, ""); err == nil {
		return true, nil
	}
	if e := agentid.AsError(err); e.Kind != agentid.KindForbidden || e.Reason == ReasonZookieInvalid {
		return true, err
	}
	// Answered, and no. What is not used any more was not wrong.
	return a.fresh == nil || !within(d.now(), a.made, a.deadline) || a.fresh.Mark(a.on).Sum != a.mark.Sum, nil
}
