package embedded_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/embedded"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/schema"
)

// residualWorld is a type that may refund up to 10, and the check for its first agent.
func residualWorld(tb testing.TB) (*policytest.World, *embedded.Checker, policy.Check) {
	tb.Helper()
	w := policytest.NewWorld(tb, start(tb), "rest", 1)
	checker, ok := w.Checker.(*embedded.Checker)
	require.True(tb, ok)
	w.Touch(tb, relate.Edge{
		Resource: w.Customer, Relation: schema.PaymentsRefunder,
		Subject: relate.Set(w.Type, schema.AgentTypeInstance), Caveat: policytest.LimitCaveat(10),
	})
	return w, checker, policy.Check{Resource: w.Customer, Permission: schema.PaymentsRefund, Subject: w.Agents[0]}
}

func residualOf(tb testing.TB, c *embedded.Checker, check policy.Check) policy.Residual {
	tb.Helper()
	_, found, err := c.Residuals(tb.Context(), "", []policy.Check{check})
	require.NoError(tb, err)
	require.Len(tb, found, 1)
	return found[0]
}

func TestResidualRefusesAnInputOfAWrongTypeByName(t *testing.T) {
	w, checker, check := residualWorld(t)
	rest := residualOf(t, checker, check)
	verdict, _, err := rest.Evaluate(validated(t, w, map[string]any{schema.PaymentsLimitAmount: "five", schema.PaymentsLimitCurrency: "usd"}))
	require.NotEqual(t, policy.VerdictYes, verdict)
	require.Equal(t, agentid.KindInvalid, agentid.KindOf(err))
	require.Equal(t, "inputs."+schema.PaymentsLimitAmount, agentid.AsError(err).Field)
}

func TestResidualLetsTheRelationshipsContextWin(t *testing.T) {
	w, checker, check := residualWorld(t)
	rest := residualOf(t, checker, check)
	verdict, _, err := rest.Evaluate(validated(t, w, map[string]any{
		schema.PaymentsLimitAmount: int64(50), schema.PaymentsLimitCurrency: "usd", schema.PaymentsLimitMaxAmount: int64(1000),
	}))
	require.NoError(t, err)
	require.Equal(t, policy.VerdictNo, verdict)
}

func TestResidualExpiresWithItsFirstRelationship(t *testing.T) {
	w, checker, check := residualWorld(t)
	require.True(t, residualOf(t, checker, check).Expires().IsZero())
	alive := policy.Check{Resource: w.Token, Permission: schema.TokenIsRevoked, Subject: w.Agents[0]}
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	w.Touch(t, relate.Edge{Resource: w.Token, Relation: schema.TokenRevoked, Subject: relate.All(schema.TypeAgent), Expires: until})
	require.WithinDuration(t, until, residualOf(t, checker, alive).Expires(), time.Second)
}

func TestWhatIsNoUnionOfRelationsIsAskedInFull(t *testing.T) {
	w, checker, _ := residualWorld(t)
	require.Nil(t, residualOf(t, checker, policy.Check{Resource: w.Agents[0], Permission: schema.AgentAlive, Subject: w.Agents[0]}))
	require.Nil(t, residualOf(t, checker, policy.Check{Resource: w.Agents[0], Permission: schema.AgentLive, Subject: w.Agents[0]}))
}

// TestIssuanceFromTheGraphsPart: what is put together of a remembered graph part says the
// same as a full answer, while the graph says so.
func TestIssuanceFromTheGraphsPart(t *testing.T) {
	w := policytest.NewWorld(t, start(t), "issue", 1)
	view := freshness.New(freshness.Config{})
	view.Standing()
	require.NoError(t, view.Reset(wire.State{Incarnation: "i1"}))
	warm, err := policy.New(policy.Config{Checker: w.Checker, Fresh: view})
	require.NoError(t, err)
	q := w.Question()
	q.Stage, q.Inputs, q.Tokens = policy.StageIssue, nil, nil
	full, err := w.Decider(t).Decide(t.Context(), q)
	require.NoError(t, err)
	require.Contains(t, full.Legs(), policy.Leg{Name: policy.LegAgent, Outcome: policy.OutcomeConditional})
	for range 3 {
		a, err := warm.Decide(t.Context(), q)
		require.NoError(t, err)
		require.Equal(t, full.Legs(), a.Legs())
	}
	require.EqualValues(t, 2, warm.Stats().Misses, "then its parts are enough")
	w.Delete(t, w.AgentGrant())
	_, err = view.Apply(wire.Event{Seq: 1, Kind: wire.EventChanged, Raise: []agentid.Ref{w.Tenant}, Zookie: w.Zookie})
	require.NoError(t, err)
	_, err = warm.Decide(t.Context(), q)
	require.Equal(t, policy.ReasonPolicyDenied, agentid.ReasonOf(err))
}

// BenchmarkCaveatedGrant is one caveated leg with inputs that were never seen before: in
// full, and by what is left of it.
func BenchmarkCaveatedGrant(b *testing.B) {
	_, checker, check := residualWorld(b)
	question := func(n int) *policy.Inputs {
		in, err := policy.NewInputs(map[string]any{schema.PaymentsLimitAmount: int64(n % 10), schema.PaymentsLimitCurrency: "usd"})
		require.NoError(b, err)
		return in
	}
	b.Run("full", func(b *testing.B) {
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			check.Inputs = question(n)
			_, answers, err := checker.CheckBulk(b.Context(), "", []policy.Check{check})
			if err != nil || answers[0].Verdict != policy.VerdictYes {
				b.Fatal(answers, err)
			}
		}
	})
	b.Run("residual", func(b *testing.B) {
		rest := residualOf(b, checker, check)
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			if verdict, _, err := rest.Evaluate(question(n)); err != nil || verdict != policy.VerdictYes {
				b.Fatal(verdict, err)
			}
		}
	})
}
