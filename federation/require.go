package federation

import (
	"fmt"
	"maps"
	"slices"

	"github.com/agentid-dev/agentid"
)

// Requirements are the claims that a rule demands, ready to be checked. The zero
// Requirements hold for nobody.
type Requirements struct{ list []requirement }

type requirement struct {
	name    string
	match   Match
	pattern Pattern
}

// Require checks what each claim must be. Errors: KindInvalid, naming the claim as
// "claims.<name>"; no claims at all are refused.
func Require(claims map[string]Match) (Requirements, error) {
	if len(claims) == 0 {
		return Requirements{}, agentid.Invalidf("claims", "must not be empty")
	}
	if len(claims) > maxAlternatives {
		return Requirements{}, agentid.Invalidf("claims", "more than %d claims", maxAlternatives)
	}
	var out Requirements
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		m := claims[name]
		if err := m.Validate(); err != nil || name == "" {
			e := agentid.AsError(err)
			if name == "" {
				e = agentid.Invalidf("", "a claim has no name")
			}
			return Requirements{}, agentid.Invalidf("claims."+name, "%s", e.Message)
		}
		r := requirement{name: name, match: m}
		if m.Like != "" {
			r.pattern, _ = ParsePattern(m.Like)
		}
		out.list = append(out.list, r)
	}
	return out, nil
}

// Check holds claims against all requirements. The error names the first that does not
// hold: KindUnauthenticated, ReasonClaim.
func (r Requirements) Check(c Claims) error {
	if len(r.list) == 0 {
		return Refuse(ReasonClaim, "claims", "nothing is required, which admits nobody", nil)
	}
	for _, q := range r.list {
		if !slices.ContainsFunc(c.Values(q.name), q.holds) {
			return Refuse(ReasonClaim, q.name, fmt.Sprintf("want %s, have %s", q.match, shown(c, q.name)), nil)
		}
	}
	return nil
}

// Bound says whether one of the named claims is required.
func (r Requirements) Bound(names ...string) bool {
	return slices.ContainsFunc(r.list, func(q requirement) bool { return slices.Contains(names, q.name) })
}

func (q requirement) holds(value string) bool {
	switch {
	case value == "":
		return false
	case q.match.Is != "":
		return value == q.match.Is
	case q.match.Like != "":
		return q.pattern.Matches(value)
	}
	return slices.Contains(q.match.In, value)
}

// shown is a claim's value for the operator.
func shown(c Claims, name string) string {
	values := c.Values(name)
	if len(values) == 0 {
		return "no such claim"
	}
	text := fmt.Sprintf("%q", values)
	if len(text) > maxPattern {
		text = text[:maxPattern] + "…"
	}
	return text
}
