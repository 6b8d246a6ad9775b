package policy

import (
	"slices"
	"strings"

	"github.com/agentid-dev/agentid"
)

// outcome turns answers into the legs, or into the error of the first leg that says no.
func (p *plan) outcome(found []Answer) (outcomes, error) {
	var legs outcomes
	if !all(found, p.tokens, VerdictNo) {
		return outcomes{}, deny(ReasonTokenRevoked, "the token, or one that it was made from, is revoked")
	}
	legs[legRevoked] = codeOf(asked(len(p.tokens) > 0, OutcomeNo))
	if !all(found, p.alive, VerdictYes) {
		return outcomes{}, deny(ReasonAgentNotLive, "the agent or one of its ancestors is not live")
	}
	legs[legAlive] = codeYes
	if !p.hasOp {
		for leg := legAgent; leg < legCount; leg++ {
			legs[leg] = codeNotAsked
		}
		return legs, nil
	}
	if !all(found, p.account, VerdictYes) {
		return outcomes{}, deny(ReasonAccountInactive, "the connector's account is not active")
	}
	barred := p.bar(found)
	if barred == OutcomeYes {
		return outcomes{}, deny(ReasonBarred, "the resource is barred for this operation")
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
		return outcomes{}, deny(ReasonPolicyDenied, "the tenant's policy does not grant this operation to the agent")
	case principal == OutcomeNo:
		return outcomes{}, deny(ReasonPrincipalDenied, "the principal does not have this operation")
	case !p.conditions && w.open:
		return outcomes{}, missing(w.fields)
	}
	legs[legAgent], legs[legAncestor], legs[legPrincipal] = codeOf(agent), codeOf(ancestor), codeOf(principal)
	legs[legBarred], legs[legAccount] = codeOf(barred), codeYes
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
