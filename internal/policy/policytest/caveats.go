package policytest

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
)

func runCaveats(t *testing.T, g Graph) {
	w := NewWorld(t, g, "caveats", 0)
	with := func(inputs map[string]any) policy.Question {
		q := w.Question()
		q.Inputs = inputs
		return q
	}
	t.Run("exact boundary", func(t *testing.T) {
		allow(t, w, with(map[string]any{"amount": int64(Limit), "currency": "usd"}))
		forbidden(t, w, with(map[string]any{"amount": int64(Limit + 1), "currency": "usd"}), policy.ReasonPolicyDenied)
		forbidden(t, w, with(map[string]any{"amount": int64(1) << 53, "currency": "usd"}), policy.ReasonPolicyDenied)
	})
	t.Run("another currency", func(t *testing.T) {
		forbidden(t, w, with(map[string]any{"amount": int64(1), "currency": "eur"}), policy.ReasonPolicyDenied)
	})
	t.Run("missing context is a no that names the fields", func(t *testing.T) {
		require.Equal(t, "amount,currency", fieldAtFault(t, w, with(nil), agentid.KindForbidden, policy.ReasonMissingContext))
		require.Equal(t, "currency", fieldAtFault(t, w, with(map[string]any{"amount": int64(1)}), agentid.KindForbidden, policy.ReasonMissingContext))
	})
	t.Run("wrong type", func(t *testing.T) {
		require.Equal(t, "inputs.amount", fieldAtFault(t, w, with(map[string]any{"amount": "plenty", "currency": "usd"}), agentid.KindInvalid, "invalid_request"))
		require.Equal(t, "inputs.currency", fieldAtFault(t, w, with(map[string]any{"amount": int64(1), "currency": []string{"usd"}}), agentid.KindInvalid, "invalid_request"))
	})
	t.Run("the relationship's context wins over the request's", func(t *testing.T) {
		forbidden(t, w, with(map[string]any{
			"amount": int64(Limit + 1), "currency": "usd", "max_amount": int64(math.MaxInt32), "currencies": []string{"usd", "eur"},
		}), policy.ReasonPolicyDenied)
	})
	t.Run("4,097 bytes of context", func(t *testing.T) {
		inputs := map[string]any{"amount": int64(1), "currency": "usd", "note": strings.Repeat("x", 4000)}
		allow(t, w, with(inputs))
		inputs["note"] = strings.Repeat("x", policy.MaxContext+1)
		require.Equal(t, "inputs", fieldAtFault(t, w, with(inputs), agentid.KindInvalid, "invalid_request"))
	})
	t.Run("the principal's own limit", func(t *testing.T) {
		w.Delete(t, w.PrincipalGrant())
		limited := w.PrincipalGrant()
		limited.Caveat = LimitCaveat(100)
		w.Touch(t, limited)
		allow(t, w, with(map[string]any{"amount": int64(100), "currency": "usd"}))
		forbidden(t, w, with(map[string]any{"amount": int64(101), "currency": "usd"}), policy.ReasonPrincipalDenied)
		w.Delete(t, limited)
		w.Touch(t, w.PrincipalGrant())
	})
	t.Run("a grant on the customer alone", func(t *testing.T) {
		w.Touch(t, relate.Edge{
			Resource: w.Customer, Relation: schema.PaymentsRefunder,
			Subject: relate.Set(w.Type, schema.AgentTypeInstance), Caveat: LimitCaveat(Limit * 2),
		})
		allow(t, w, with(map[string]any{"amount": int64(Limit * 2), "currency": "usd"}))
		other := with(map[string]any{"amount": int64(Limit * 2), "currency": "usd"})
		other.Resources[0] = Must(agentid.ResourceRef(schema.TypePaymentsCustomer, "caveats", "cus_2"))
		forbidden(t, w, other, policy.ReasonPolicyDenied)
	})
}

// runStages: what is open at issuance is closed at the gateway.
func runStages(t *testing.T, g Graph) {
	w := NewWorld(t, g, "stages", 1)
	issue := w.Question()
	issue.Stage, issue.Inputs, issue.Tokens = policy.StageIssue, nil, nil
	a := allow(t, w, issue)
	require.Equal(t, policy.OutcomeConditional, leg(t, a, policy.LegAgent))
	require.Equal(t, policy.OutcomeYes, leg(t, a, policy.LegPrincipal))
	require.Equal(t, policy.OutcomeNotAsked, leg(t, a, policy.LegRevoked))

	enforce := w.Question()
	enforce.Inputs = nil
	forbidden(t, w, enforce, policy.ReasonMissingContext)

	w.Delete(t, w.AgentGrant())
	issue.AtLeast = w.Zookie
	forbidden(t, w, issue, policy.ReasonPolicyDenied)
	w.Touch(t, w.AgentGrant())

	live := policy.Question{Stage: policy.StageLive, Lineage: enforce.Lineage, Principal: w.Alice, Tokens: enforce.Tokens, AtLeast: w.Zookie}
	a = allow(t, w, live)
	require.False(t, a.Covers("", agentid.Ref{}))
	require.Equal(t, policy.OutcomeNotAsked, leg(t, a, policy.LegAgent))
	w.Touch(t, w.Revoke(w.Token))
	live.AtLeast = w.Zookie
	forbidden(t, w, live, policy.ReasonTokenRevoked)
	w.Delete(t, w.Revoke(w.Token), w.Enabled(w.Agents[1]))
	live.AtLeast = w.Zookie
	forbidden(t, w, live, policy.ReasonAgentNotLive)
}
