// Package brokered asks the graph through the broker that runs it: a gateway apart gets
// what a decision in the broker's own process gets, each answer with when it may change by
// time alone, and the conditions that are left of a check once its graph part is answered.
//
// It owns both sides of that call: Checker asks, Serve answers. The transport, who may
// call, and the graph itself are others' (internal/engine). An answer is matched by what
// it echoes, and how long it holds travels as a duration, so that the two clocks need not
// agree.
package brokered

import (
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/condition"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// The methods, of gRPC; requests and answers are JSON.
const (
	MethodCheck = "/agentid.graph.v1.Graph/Check" // ask → checked
	MethodSplit = "/agentid.graph.v1.Graph/Split" // ask → parted
)

// Bounds of a call.
const (
	maxChecks  = 2000
	maxMessage = 4 << 20
)

// item is one policy.Check.
type item struct {
	Resource   agentid.Ref `json:"resource"`
	Permission string      `json:"permission"`
	Subject    agentid.Ref `json:"subject"`
	Inputs     bool        `json:"inputs,omitempty"` // it is asked with the call's inputs
}

func itemOf(c policy.Check) item {
	return item{c.Resource, c.Permission, c.Subject, c.Inputs != nil}
}

// ask is a bulk of checks, all answered at one revision.
type ask struct {
	AtLeast agentid.Zookie `json:"at_least,omitempty"`
	Inputs  map[string]any `json:"inputs,omitempty"`
	Checks  []item         `json:"checks"`
}

// checked answers MethodCheck. Either Problem is set or the rest.
type checked struct {
	Problem *api.Problem   `json:"problem,omitempty"`
	At      agentid.Zookie `json:"at,omitempty"`
	Answers []answer       `json:"answers,omitempty"`
}

type answer struct {
	Check   item     `json:"check"`
	Verdict string   `json:"verdict"` // "yes", "no" or "conditional"
	Missing []string `json:"missing,omitempty"`
	Holds   holds    `json:"holds"`
	Fixed   bool     `json:"fixed,omitempty"`
}

// parted answers MethodSplit. Either Problem is set or the rest.
type parted struct {
	Problem *api.Problem   `json:"problem,omitempty"`
	At      agentid.Zookie `json:"at,omitempty"`
	Parts   []part         `json:"parts,omitempty"`
}

// part is one residual; whole: the check cannot be split.
type part struct {
	Check      item                `json:"check"`
	Whole      bool                `json:"whole,omitempty"`
	Yes        bool                `json:"yes,omitempty"`
	Conditions []condition.Written `json:"conditions,omitempty"`
	Holds      holds               `json:"holds"`
}

// holds is for how long an answer may be used from when it was asked for, in nanoseconds;
// 0: not known.
type holds time.Duration

// forever is the holds of what time does not change.
const forever holds = -1

// holdsUntil counts from now, which is after the question came.
func holdsUntil(expires, now time.Time) holds {
	switch {
	case expires.IsZero():
		return 0
	case !expires.Before(policy.Never):
		return forever
	default:
		return holds(max(expires.Round(0).Sub(now.Round(0)), 1))
	}
}

// expires counts from sent, which is before the question left.
func (h holds) expires(sent time.Time) time.Time {
	switch {
	case h == forever:
		return policy.Never
	case h <= 0:
		return time.Time{}
	default:
		return sent.Round(0).Add(time.Duration(h))
	}
}

// verdicts by their names; any other name is none, which is a no.
var verdicts = map[string]policy.Verdict{"yes": policy.VerdictYes, "no": policy.VerdictNo, "conditional": policy.VerdictConditional}

func nameOf(v policy.Verdict) string {
	for name, known := range verdicts {
		if known == v {
			return name
		}
	}
	return ""
}

// inputsOf reads a caveat context as JSON gives it: numbers are whole there, or refused.
func inputsOf(raw map[string]any) (*policy.Inputs, error) {
	out := make(map[string]any, len(raw))
	for name, value := range raw {
		switch v := value.(type) {
		case float64:
			whole := int64(v)
			if float64(whole) != v {
				return nil, agentid.Invalidf("inputs."+name, "is a fraction")
			}
			out[name] = whole
		case []any:
			list := make([]string, len(v))
			for i, one := range v {
				text, ok := one.(string)
				if !ok {
					return nil, agentid.Invalidf("inputs."+name, "want a list of texts")
				}
				list[i] = text
			}
			out[name] = list
		default:
			out[name] = value // NewInputs refuses what is neither a text nor a truth value
		}
	}
	return policy.NewInputs(out) //nolint:wrapcheck // names the field
}

// rawInputs is inputsOf's other direction.
func rawInputs(checks []policy.Check) (map[string]any, error) {
	var one *policy.Inputs
	for _, c := range checks {
		switch {
		case c.Inputs == nil, c.Inputs == one:
		case one != nil:
			return nil, errors.New("brokered: the checks of one call have different inputs")
		default:
			one = c.Inputs
		}
	}
	for name, value := range one.Values() {
		if !utf8Only(value) { // JSON would put another character in its place
			return nil, agentid.Invalidf("inputs."+name, "is not UTF-8")
		}
	}
	return one.Values(), nil
}

func utf8Only(value any) bool {
	switch v := value.(type) {
	case string:
		return utf8.ValidString(v)
	case []any:
		return !slices.ContainsFunc(v, func(one any) bool { return !utf8Only(one) })
	default:
		return true
	}
}

// isPermission admits what SpiceDB takes as a permission's name.
func isPermission(s string) bool {
	const letters, more, longest = "abcdefghijklmnopqrstuvwxyz", "0123456789_", 64
	return s != "" && len(s) <= longest && strings.Contains(letters, s[:1]) && strings.Trim(s, letters+more) == ""
}
