package policy

import (
	"slices"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/schema"
)

// plan is a question as checks: which belong to which leg. Equal checks are asked once.
type plan struct {
	checks []Check
	index  map[Check]int // nil for a few checks: looking through them costs less

	tokens     []int
	alive      []int
	agent      []int   // the leaf, on each resource: one must grant
	ancestors  [][]int // each attenuated ancestor, on each resource: one must grant
	principal  []int   // the principal, on each resource; nil when it is not asked
	bars       []int
	account    []int
	hasOp      bool
	conditions bool // a conditional answer on leg 2 or 3 is acceptable
}

func newPlan(q *Question, inputs *Inputs) *plan {
	size := len(q.Tokens) + len(q.Lineage) + 1 + 6*len(q.Resources)
	p := &plan{
		checks: make([]Check, 0, size),
		hasOp:  q.Stage != StageLive, conditions: q.Stage == StageIssue,
	}
	if size > fewChecks {
		p.index = make(map[Check]int, size)
	}
	leaf := q.Lineage[0].Agent
	for _, token := range q.Tokens {
		p.tokens = append(p.tokens, p.add(Check{token, schema.TokenIsRevoked, leaf, nil}))
	}
	for _, m := range q.Lineage {
		p.alive = append(p.alive, p.add(Check{m.Agent, schema.AgentAlive, leaf, nil}))
	}
	if !p.hasOp {
		return p
	}
	p.account = []int{p.add(Check{q.Account, schema.AccountActive, leaf, nil})}
	p.agent = p.operation(q, inputs, leaf)
	for _, m := range q.Lineage[1:] {
		if m.Attenuated {
			p.ancestors = append(p.ancestors, p.operation(q, inputs, m.Agent))
		}
	}
	if !q.OwnAuthority {
		p.principal = p.operation(q, inputs, q.Principal)
	}
	return p
}

// operation asks one subject for the permission on every resource, and for the bar.
func (p *plan) operation(q *Question, inputs *Inputs, subject agentid.Ref) []int {
	grants := make([]int, 0, len(q.Resources))
	for _, resource := range q.Resources {
		grants = append(grants, p.add(Check{resource, q.Permission, subject, inputs}))
		if q.Barred != "" {
			p.bars = append(p.bars, p.add(Check{resource, q.Barred, subject, inputs}))
		}
	}
	return grants
}

func (p *plan) add(c Check) int {
	if i, ok := p.find(c); ok {
		return i
	}
	i := len(p.checks)
	p.checks = append(p.checks, c)
	if p.index != nil {
		p.index[c] = i
	}
	return i
}

// fewChecks is how many a plan looks through one by one.
const fewChecks = 24

func (p *plan) find(c Check) (int, bool) {
	if p.index != nil {
		i, ok := p.index[c]
		return i, ok
	}
	i := slices.Index(p.checks, c)
	return i, i >= 0
}
