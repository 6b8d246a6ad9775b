package policy_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
	"github.com/agentid-dev/agentid/schema"
)

// yes answers every check as a graph would that grants everything: it is there to show
// that a malformed question does not get that far, and how an Allowed ages.
type yes struct{ asked int }

func (y *yes) CheckBulk(_ context.Context, _ agentid.Zookie, checks []policy.Check) (agentid.Zookie, []policy.Answer, error) {
	y.asked++
	answers := make([]policy.Answer, len(checks))
	for i, c := range checks {
		answers[i] = policy.Answer{Check: c, Verdict: policy.VerdictYes}
		if c.Permission == schema.TokenIsRevoked || c.Permission == schema.PaymentsBarredRefund {
			answers[i].Verdict = policy.VerdictNo
		}
	}
	return "revision", answers, nil
}

func world() policytest.World {
	return policytest.World{
		Alice:    policytest.Must(agentid.PrincipalRef("acme", "alice")),
		Agents:   []agentid.Ref{agent("leaf"), agent("root")},
		Account:  policytest.Must(agentid.ResourceRef(schema.TypePaymentsAccount, "acme", "stripe")),
		Customer: policytest.Must(agentid.ResourceRef(schema.TypePaymentsCustomer, "acme", "cus_1")),
		Token:    policytest.Must(agentid.TokenRef("acme", "jti-1")),
	}
}

func agent(name string) agentid.Ref { return policytest.Must(agentid.AgentRef("acme", name)) }

// TestMalformedQuestions: each is refused with the field named, before anything is asked.
func TestMalformedQuestions(t *testing.T) {
	foreign := policytest.Must(agentid.AgentRef("globex", "leaf"))
	list := func(n int) []string { return make([]string, n) }
	cases := map[string]struct {
		field  string
		change func(*policy.Question)
	}{
		"no stage":                {"stage", func(q *policy.Question) { q.Stage = 0 }},
		"unknown stage":           {"stage", func(q *policy.Question) { q.Stage = 9 }},
		"no lineage":              {"lineage", func(q *policy.Question) { q.Lineage = nil }},
		"zero agent":              {"lineage[1]", func(q *policy.Question) { q.Lineage[1].Agent = agentid.Ref{} }},
		"zero leaf":               {"lineage[0]", func(q *policy.Question) { q.Lineage[0].Agent = agentid.Ref{} }},
		"agent of another tenant": {"lineage[1]", func(q *policy.Question) { q.Lineage[1].Agent = foreign }},
		"leaf of another tenant":  {"lineage[1]", func(q *policy.Question) { q.Lineage[0].Agent = foreign }},
		"cycle":                   {"lineage[1]", func(q *policy.Question) { q.Lineage[1].Agent = q.Lineage[0].Agent }},
		"agent of another type":   {"lineage[0]", func(q *policy.Question) { q.Lineage[0].Agent = q.Principal }},
		"no principal":            {"principal", func(q *policy.Question) { q.Principal = agentid.Ref{} }},
		"agent as principal":      {"principal", func(q *policy.Question) { q.Principal = q.Lineage[0].Agent }},
		"foreign principal":       {"principal", func(q *policy.Question) { q.Principal = policytest.Must(agentid.PrincipalRef("globex", "alice")) }},
		"no token at the gateway": {"tokens", func(q *policy.Question) { q.Tokens = nil }},
		"zero token":              {"tokens[0]", func(q *policy.Question) { q.Tokens[0] = agentid.Ref{} }},
		"foreign token":           {"tokens[0]", func(q *policy.Question) { q.Tokens[0] = policytest.Must(agentid.TokenRef("globex", "jti-1")) }},
		"too many tokens":         {"tokens", func(q *policy.Question) { q.Tokens = make([]agentid.Ref, policy.MaxTokens+1) }},
		"no operation":            {"operation", func(q *policy.Question) { q.Operation = "" }},
		"no permission":           {"permission", func(q *policy.Question) { q.Permission = "" }},
		"not a permission":        {"permission", func(q *policy.Question) { q.Permission = "refund@agent:x" }},
		"not a bar":               {"barred", func(q *policy.Question) { q.Barred = "Barred" }},
		"a bar that is the grant": {"barred", func(q *policy.Question) { q.Barred = q.Permission }},
		"no resource":             {"resources", func(q *policy.Question) { q.Resources = nil }},
		"too many resources":      {"resources", func(q *policy.Question) { q.Resources = make([]agentid.Ref, policy.MaxResources+1) }},
		"zero resource":           {"resources[0]", func(q *policy.Question) { q.Resources[0] = agentid.Ref{} }},
		"foreign resource": {"resources[1]", func(q *policy.Question) {
			q.Resources[1] = policytest.Must(agentid.ResourceRef(schema.TypePaymentsAccount, "globex", "stripe"))
		}},
		"an agent as the resource": {"resources[0]", func(q *policy.Question) { q.Resources[0] = q.Lineage[0].Agent }},
		"no account":               {"account", func(q *policy.Question) { q.Account = agentid.Ref{} }},
		"foreign account": {"account", func(q *policy.Question) {
			q.Account = policytest.Must(agentid.ResourceRef(schema.TypePaymentsAccount, "globex", "stripe"))
		}},
		"NaN":                  {"inputs.amount", func(q *policy.Question) { q.Inputs["amount"] = math.NaN() }},
		"infinity":             {"inputs.amount", func(q *policy.Question) { q.Inputs["amount"] = math.Inf(1) }},
		"a fraction":           {"inputs.amount", func(q *policy.Question) { q.Inputs["amount"] = 1.5 }},
		"int over 2^53":        {"inputs.amount", func(q *policy.Question) { q.Inputs["amount"] = int64(1)<<53 + 1 }},
		"int under -2^53":      {"inputs.amount", func(q *policy.Question) { q.Inputs["amount"] = -int64(1)<<53 - 1 }},
		"another integer type": {"inputs.amount", func(q *policy.Question) { q.Inputs["amount"] = 42 }},
		"nested list":          {"inputs.amount", func(q *policy.Question) { q.Inputs["amount"] = []any{[]any{"x"}} }},
		"nested map":           {"inputs.amount", func(q *policy.Question) { q.Inputs["amount"] = map[string]any{"a": "b"} }},
		"nil value":            {"inputs.amount", func(q *policy.Question) { q.Inputs["amount"] = nil }},
		"a name that is none":  {"inputs", func(q *policy.Question) { q.Inputs["a b"] = "x" }},
		"context over the cap": {"inputs", func(q *policy.Question) { q.Inputs["note"] = strings.Repeat("x", policy.MaxContext) }},
		"a list over the cap":  {"inputs", func(q *policy.Question) { q.Inputs["note"] = list(policy.MaxContext) }},
		"too many inputs": {"inputs", func(q *policy.Question) {
			for i := range policy.MaxInputs {
				q.Inputs["f"+strings.Repeat("x", i+1)] = true
			}
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			checker := &yes{}
			d, err := policy.New(policy.Config{Checker: checker})
			require.NoError(t, err)
			w := world()
			q := w.Question()
			_, err = d.Decide(t.Context(), q)
			require.NoError(t, err)
			c.change(&q)
			allowed, err := d.Decide(t.Context(), q)
			require.False(t, allowed.Valid())
			e := agentid.AsError(err)
			require.Equal(t, agentid.KindInvalid, e.Kind, "%v", err)
			require.Equal(t, c.field, e.Field, "%v", err)
			require.Equal(t, 1, checker.asked, "nothing is asked")
		})
	}
}

// TestLiveNamesNoOperation: a question of liveness that names one is refused.
func TestLiveNamesNoOperation(t *testing.T) {
	w := world()
	full := w.Question()
	base := policy.Question{Stage: policy.StageLive, Lineage: full.Lineage, Principal: full.Principal, Tokens: full.Tokens}
	d, err := policy.New(policy.Config{Checker: &yes{}})
	require.NoError(t, err)
	_, err = d.Decide(t.Context(), base)
	require.NoError(t, err)
	for field, change := range map[string]func(*policy.Question){
		"operation":  func(q *policy.Question) { q.Operation = full.Operation },
		"permission": func(q *policy.Question) { q.Barred = full.Barred },
		"resources":  func(q *policy.Question) { q.Account = full.Account },
		"inputs":     func(q *policy.Question) { q.Inputs = full.Inputs },
		"tokens":     func(q *policy.Question) { q.Tokens = nil },
	} {
		q := base
		change(&q)
		_, err := d.Decide(t.Context(), q)
		require.Equal(t, field, agentid.AsError(err).Field, "%v", err)
	}
}

func TestNewChecksItsConfig(t *testing.T) {
	_, err := policy.New(policy.Config{})
	require.Error(t, err)
	_, err = policy.New(policy.Config{Checker: &yes{}, MaxAge: -time.Second})
	require.Error(t, err)
}
