package policytest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
)

// Tampered is a Checker that changes what another one answers. A nil After lets it pass.
type Tampered struct {
	policy.Checker
	After func(at agentid.Zookie, answers []policy.Answer, err error) (agentid.Zookie, []policy.Answer, error)
}

// CheckBulk implements policy.Checker.
func (c Tampered) CheckBulk(ctx context.Context, atLeast agentid.Zookie, checks []policy.Check) (agentid.Zookie, []policy.Answer, error) {
	at, answers, err := c.Checker.CheckBulk(ctx, atLeast, checks)
	if c.After == nil {
		return at, answers, err
	}
	return c.After(at, answers, err)
}

// edit makes a Tampered that rewrites the answers alone.
func edit(c policy.Checker, f func([]policy.Answer) []policy.Answer) Tampered {
	return Tampered{c, func(at agentid.Zookie, answers []policy.Answer, err error) (agentid.Zookie, []policy.Answer, error) {
		return at, f(answers), err
	}}
}

func runFaults(t *testing.T, g Graph) {
	w := NewWorld(t, g, "faults", 2)
	t.Run("cancelled context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		refused(ctx, t, w.Decider(t), w.Question(), agentid.KindUnavailable, policy.ReasonGraphUnavailable)
	})
	t.Run("reordered answers are matched by what they echo", func(t *testing.T) {
		reversed := edit(w.Checker, func(a []policy.Answer) []policy.Answer { slices.Reverse(a); return a })
		_, err := newDecider(t, reversed).Decide(t.Context(), w.Question())
		require.NoError(t, err)
		w.Delete(t, w.PrincipalGrant())
		refused(t.Context(), t, newDecider(t, reversed), w.Question(), agentid.KindForbidden, policy.ReasonPrincipalDenied)
		w.Touch(t, w.PrincipalGrant())
	})
	broken := map[string]func([]policy.Answer) []policy.Answer{
		"missing answer":            func(a []policy.Answer) []policy.Answer { return a[1:] },
		"duplicated answer":         func(a []policy.Answer) []policy.Answer { a[1] = a[0]; return a },
		"answer too many":           func(a []policy.Answer) []policy.Answer { return append(a, a[0]) },
		"no answers":                func([]policy.Answer) []policy.Answer { return nil },
		"answer to something else":  func(a []policy.Answer) []policy.Answer { a[0].Check.Permission = "other"; return a },
		"answer with other inputs":  func(a []policy.Answer) []policy.Answer { a[0].Check.Inputs = &policy.Inputs{}; return a },
		"an item that is an error":  func(a []policy.Answer) []policy.Answer { a[len(a)-1].Err = errors.New("depth exceeded"); return a },
		"a yes that is an error":    func(a []policy.Answer) []policy.Answer { a[0].Err = context.DeadlineExceeded; return a },
		"errors and yes everywhere": func(a []policy.Answer) []policy.Answer { return failAll(a) },
	}
	for name, f := range broken {
		t.Run(name, func(t *testing.T) {
			refused(t.Context(), t, newDecider(t, edit(w.Checker, f)), w.Question(), agentid.KindUnavailable, policy.ReasonGraphUnavailable)
		})
	}
	t.Run("a verdict that nobody knows is a no, in every place", func(t *testing.T) { unknownVerdicts(t, w) })
	t.Run("no revision", func(t *testing.T) {
		c := Tampered{w.Checker, func(_ agentid.Zookie, a []policy.Answer, err error) (agentid.Zookie, []policy.Answer, error) {
			return "", a, err
		}}
		refused(t.Context(), t, newDecider(t, c), w.Question(), agentid.KindUnavailable, policy.ReasonGraphUnavailable)
	})
	t.Run("checker error", func(t *testing.T) {
		c := Tampered{w.Checker, func(at agentid.Zookie, a []policy.Answer, _ error) (agentid.Zookie, []policy.Answer, error) {
			return at, a, errors.New("connection refused")
		}}
		refused(t.Context(), t, newDecider(t, c), w.Question(), agentid.KindUnavailable, policy.ReasonGraphUnavailable)
	})
}

func failAll(answers []policy.Answer) []policy.Answer {
	for i := range answers {
		answers[i].Verdict, answers[i].Err = policy.VerdictYes, errors.New("broken")
	}
	return answers
}

// unknownVerdicts sets one answer after the other to the zero verdict and to one that
// does not exist. A grant that another resource gives may stand; nothing else may.
func unknownVerdicts(t *testing.T, w *World) {
	at, answers, err := w.Checker.CheckBulk(t.Context(), w.Zookie, nil)
	_ = at
	require.NoError(t, err)
	require.Empty(t, answers)
	for _, verdict := range []policy.Verdict{0, 99} {
		for i := range 64 {
			asked, spared := 0, false
			c := edit(w.Checker, func(a []policy.Answer) []policy.Answer {
				asked = len(a)
				if i < len(a) {
					spared = a[i].Verdict == policy.VerdictNo && a[i].Check.Resource == w.Customer && a[i].Check.Permission == "refund"
					a[i].Verdict = verdict
				}
				return a
			})
			allowed, err := newDecider(t, c).Decide(t.Context(), w.Question())
			if i >= asked {
				require.NoError(t, err)
				break
			}
			require.Equal(t, spared, allowed.Valid(), "answer %d as verdict %d: %v", i, verdict, err)
		}
	}
}
