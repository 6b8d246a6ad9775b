package policy

import (
	"slices"
	"strings"

	"github.com/agentid-dev/agentid"
)

// outcome turns answers into the legs, or into the error of the first leg that says no.
func (p *plan) outcome(found []Answer) ([]Leg, error) {
	legs := make([]Leg, 0, 7)
	pass := func(name, outcome string) { legs = append(legs, Leg{name, outcome}) }

	if !all(found, p.tokens, VerdictNo) {
		return nil, deny(ReasonTokenRevoked, "the token, or one that it was made from, is revoked")
	}
	pass(LegRevoked, asked(len(p.tokens) > 0, OutcomeNo))
	if !all(found, p.alive, VerdictYes) {
		return nil, deny(ReasonAgentNotLive, "the agent or one of its ancestors is not live")
	}
	pass(LegAlive, OutcomeYes)
	if !p.hasOp {
		for _, name := range []string{LegAgent, LegAncestor, LegPrincipal, LegBarred, LegAccount} {
			pass(name, OutcomeNotAsked)
		}
		return legs, nil
	}
	if !all(found, p.account, VerdictYes) {
		return nil, deny(ReasonAccountInactive, "the connector's account is not active")
	}
	barred := p.bar(found)
	if barred == OutcomeYes {
		return nil, deny(ReasonBarred, "the resource is barred for this operation")
	}
	w := &waiting{}
	agent := w.grant(found, p.agent)
	ancestor := asked(len(p.ancestors) > 0, OutcomeYes)
	for _, grants := range p.ancestors {
		ancestor = worse(ancestor, w.grant(found, grants))
	}
	principal := OutcomeNotAsked
	if p.principal != nil {
		principal = w.grant(found, p.principal)
	}
	switch {
	case agent == OutcomeNo || ancestor == OutcomeNo:
		return nil, deny(ReasonPolicyDenied, "the tenant's policy does not grant this operation to the agent")
	case principal == OutcomeNo:
		return nil, deny(ReasonPrincipalDenied, "the principal does not have this operation")
	case !p.conditions && w.open:
		return nil, missing(w.fields)
	}
	pass(LegAgent, agent)
	pass(LegAncestor, ancestor)
	pass(LegPrincipal, principal)
	pass(LegBarred, barred)
	pass(LegAccount, OutcomeYes)
	return legs, nil
}

// bar is OutcomeNo only when every bar is a definite no. Where conditions may stay open
// a bar may too; otherwise an open bar counts as one that stands.
func (p *plan) bar(found []Answer) string {
	out := asked(len(p.bars) > 0, OutcomeNo)
	for _, i := range p.bars {
		switch {
		case found[i].Verdict == VerdictNo:
		case found[i].Verdict == VerdictConditional && p.conditions:
			out = OutcomeConditional
		default:
			return OutcomeYes
		}
	}
	return out
}

// waiting says whether a grant is left open, and collects the context fields that it
// waits for.
type waiting struct {
	fields []string
	open   bool
}

// grant is the outcome of one subject over all resources: one definite yes is a yes;
// else one conditional answer is conditional; anything else is a no.
func (w *waiting) grant(found []Answer, grants []int) string {
	conditional := false
	for _, i := range grants {
		if found[i].Verdict == VerdictYes {
			return OutcomeYes
		}
		conditional = conditional || found[i].Verdict == VerdictConditional
	}
	if !conditional {
		return OutcomeNo
	}
	for _, i := range grants {
		if found[i].Verdict == VerdictConditional {
			w.fields = append(w.fields, found[i].Missing...)
			w.open = true
		}
	}
	return OutcomeConditional
}

// all reports whether every one of these answers is exactly want.
func all(found []Answer, which []int, want Verdict) bool {
	return !slices.ContainsFunc(which, func(i int) bool { return found[i].Verdict != want })
}

func asked(was bool, outcome string) string {
	if was {
		return outcome
	}
	return OutcomeNotAsked
}

func worse(a, b string) string {
	if a == OutcomeNo || b == OutcomeNo {
		return OutcomeNo
	}
	if a == OutcomeConditional || b == OutcomeConditional {
		return OutcomeConditional
	}
	return OutcomeYes
}

func deny(reason, message string) error {
	return agentid.Errorf(agentid.KindForbidden, reason, "%s", message)
}

func missing(fields []string) error {
	slices.Sort(fields)
	fields = slices.Compact(fields)
	return agentid.Errorf(agentid.KindForbidden, ReasonMissingContext,
		"the tenant's policy depends on inputs that the request does not give").WithField(strings.Join(fields, ","))
}
