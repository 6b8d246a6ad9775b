package policy_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/schema"
)

// issuing is the question of a mint: no inputs, no tokens.
func (m *memory) issuing() policy.Question {
	q := m.w.Question()
	q.Stage, q.Inputs, q.Tokens = policy.StageIssue, nil, nil
	return q
}

// caveated makes the graph answer "conditional" to what agents may refund.
func (m *memory) caveated() {
	m.graph.answer = func(_ context.Context, checks []policy.Check, answers []policy.Answer) error {
		for i, c := range checks {
			answers[i].Fixed = true
			if c.Permission == schema.PaymentsRefund && c.Subject.Type() == schema.TypeAgent {
				answers[i].Fixed, answers[i].Verdict, answers[i].Missing = false, policy.VerdictConditional, []string{"amount"}
			}
		}
		return nil
	}
}

// TestIssuanceIsRemembered: a mint that waits for no input asks once; what the gateway
// asks afterwards is another question.
func TestIssuanceIsRemembered(t *testing.T) {
	m := newMemory(t)
	q := m.issuing()
	first := m.allow(q, false)
	require.Equal(t, first.Legs(), m.allow(q, true).Legs())
	m.allow(m.w.Question(), false)
	m.apply(wire.Event{Kind: wire.EventChanged, Raise: []agentid.Ref{agent("root")}})
	m.allow(q, false)
}

// TestAnOpenConditionIsNotRemembered: what waits for inputs is asked at each mint, and the
// rest is not; the gateway is refused as ever.
func TestAnOpenConditionIsNotRemembered(t *testing.T) {
	m := newMemory(t)
	m.caveated()
	q := m.issuing()
	first := m.allow(q, false)
	require.Contains(t, first.Legs(), policy.Leg{Name: policy.LegAgent, Outcome: policy.OutcomeConditional})
	for range 3 {
		before := m.graph.checks.Load()
		require.Equal(t, first.Legs(), m.allow(q, false).Legs())
		require.EqualValues(t, 2, m.graph.checks.Load()-before, "the agent, on two resources")
	}
	enforced := m.w.Question()
	enforced.Inputs = nil
	_, _, err := m.ask(enforced)
	require.Equal(t, policy.ReasonMissingContext, agentid.ReasonOf(err))
	// The grant goes: the part that is remembered does not speak for the other.
	m.apply(wire.Event{Kind: wire.EventChanged, All: true})
	m.graph.answer = func(_ context.Context, checks []policy.Check, answers []policy.Answer) error {
		for i, c := range checks {
			if c.Permission == schema.PaymentsRefund && c.Subject.Type() == schema.TypeAgent {
				answers[i].Verdict = policy.VerdictNo
			}
		}
		return nil
	}
	_, _, err = m.ask(q)
	require.Equal(t, policy.ReasonPolicyDenied, agentid.ReasonOf(err))
}

// TestIssuanceHearsOfDenials: from the event on nothing is minted on what was remembered.
func TestIssuanceHearsOfDenials(t *testing.T) {
	for _, conditional := range []bool{false, true} {
		m := newMemory(t)
		if conditional {
			m.caveated()
		}
		q := m.issuing()
		held := m.allow(q, false)
		m.apply(wire.Event{Kind: wire.EventDeny, Epoch: 1, Denials: []wire.Denial{{Target: agent("leaf"), Epoch: 1}}})
		asked, _, err := m.ask(q)
		require.False(t, asked)
		require.Equal(t, policy.ReasonAgentNotLive, agentid.ReasonOf(err))
		require.Equal(t, policy.ReasonDecisionExpired, agentid.ReasonOf(held.StillGood(*m.now.Load())))
	}
}

// TestIssuanceExpires: with the first relationship that expires.
func TestIssuanceExpires(t *testing.T) {
	m := newMemory(t)
	end := m.now.Load().Add(10 * time.Second)
	m.graph.answer = func(_ context.Context, _ []policy.Check, answers []policy.Answer) error {
		answers[0].Expires = end
		return nil
	}
	q := m.issuing()
	m.allow(q, false)
	m.advance(9 * time.Second)
	m.allow(q, true)
	m.advance(2 * time.Second)
	end = m.now.Load().Add(time.Hour)
	m.allow(q, false)
}

// TestIssuanceKnowsNoInputs: a mint that claims to know them is refused before anything is
// asked.
func TestIssuanceKnowsNoInputs(t *testing.T) {
	m := newMemory(t)
	q := m.issuing()
	q.Inputs = map[string]any{"amount": int64(1)}
	asked, _, err := m.ask(q)
	require.False(t, asked)
	require.Equal(t, "inputs", agentid.AsError(err).Field)
}
