package policytest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
)

// runLegs takes one edge away (or adds one) per case: the decision turns from yes to the
// named no, and back.
func runLegs(t *testing.T, g Graph) {
	w := NewWorld(t, g, "legs", 1)
	leaf, parent := w.Agents[0], w.Agents[1]
	takenAway := []struct {
		name, reason string
		edge         relate.Edge
	}{
		{"frozen agent", policy.ReasonAgentNotLive, w.Enabled(leaf)},
		{"frozen ancestor", policy.ReasonAgentNotLive, w.Enabled(parent)},
		{"disabled tenant", policy.ReasonAgentNotLive, relate.Edge{Resource: w.Tenant, Relation: schema.TenantEnabled, Subject: relate.All(schema.TypeAgent)}},
		{"disabled principal", policy.ReasonAgentNotLive, relate.Edge{Resource: w.Alice, Relation: schema.PrincipalEnabled, Subject: relate.All(schema.TypeAgent)}},
		{"disabled type", policy.ReasonAgentNotLive, relate.Edge{Resource: w.Type, Relation: schema.AgentTypeEnabled, Subject: relate.All(schema.TypeAgent)}},
		{"inactive account", policy.ReasonAccountInactive, relate.Edge{Resource: w.Account, Relation: schema.PaymentsEnabled, Subject: relate.All(schema.TypeAgent)}},
		{"policy grants nothing", policy.ReasonPolicyDenied, w.AgentGrant()},
		{"principal lost its grant", policy.ReasonPrincipalDenied, w.PrincipalGrant()},
	}
	for _, c := range takenAway {
		t.Run(c.name, func(t *testing.T) {
			allow(t, w, w.Question())
			w.Delete(t, c.edge)
			forbidden(t, w, w.Question(), c.reason)
			w.Touch(t, c.edge)
			allow(t, w, w.Question())
		})
	}
	earlier := Must(agentid.TokenRef("legs", "jti-0"))
	added := []struct {
		name, reason string
		edge         relate.Edge
	}{
		{"revoked token", policy.ReasonTokenRevoked, w.Revoke(w.Token)},
		{"revoked token that it was made from", policy.ReasonTokenRevoked, w.Revoke(earlier)},
		{"barred resource", policy.ReasonBarred, w.Bar(w.Customer, relate.All(schema.TypeAgent))},
		{"barred ancestor of the resource", policy.ReasonBarred, w.Bar(w.Account, relate.All(schema.TypeAgent))},
		{"barred for the agents' type", policy.ReasonBarred, w.Bar(w.Customer, relate.Set(w.Type, schema.AgentTypeInstance))},
		{"barred for the principal", policy.ReasonBarred, w.Bar(w.Customer, relate.To(w.Alice))},
	}
	for _, c := range added {
		t.Run(c.name, func(t *testing.T) {
			ask := func() policy.Question {
				q := w.Question()
				q.Tokens = append(q.Tokens, earlier)
				return q
			}
			allow(t, w, ask())
			w.Touch(t, c.edge)
			forbidden(t, w, ask(), c.reason)
			w.Delete(t, c.edge)
			allow(t, w, ask())
		})
	}
	t.Run("outcomes", func(t *testing.T) { legOutcomes(t, w) })
	t.Run("own authority", func(t *testing.T) { ownAuthority(t, w) })
	t.Run("unknown permission", func(t *testing.T) { unknownPermission(t, w) })
}

func legOutcomes(t *testing.T, w *World) {
	a := allow(t, w, w.Question())
	require.Equal(t, []policy.Leg{
		{Name: policy.LegRevoked, Outcome: policy.OutcomeNo},
		{Name: policy.LegAlive, Outcome: policy.OutcomeYes},
		{Name: policy.LegAgent, Outcome: policy.OutcomeYes},
		{Name: policy.LegAncestor, Outcome: policy.OutcomeNotAsked},
		{Name: policy.LegPrincipal, Outcome: policy.OutcomeYes},
		{Name: policy.LegBarred, Outcome: policy.OutcomeNo},
		{Name: policy.LegAccount, Outcome: policy.OutcomeYes},
	}, a.Legs())
	require.True(t, a.Covers("payments:refund", w.Customer))
	require.False(t, a.Covers("payments:refund", w.Account))
	require.False(t, a.Covers("payments:read", w.Customer))
}

// ownAuthority: leg 3 falls away for a type that is declared so, and for no other.
func ownAuthority(t *testing.T, w *World) {
	w.Delete(t, w.PrincipalGrant())
	defer w.Touch(t, w.PrincipalGrant())
	q := w.Question()
	forbidden(t, w, q, policy.ReasonPrincipalDenied)
	q.OwnAuthority = true
	require.Equal(t, policy.OutcomeNotAsked, leg(t, allow(t, w, q), policy.LegPrincipal))
}

// unknownPermission: a permission or a bar that the schema does not have is an error,
// never "not barred".
func unknownPermission(t *testing.T, w *World) {
	q := w.Question()
	q.Barred = "barred_nothing"
	refuse(t, w, q, agentid.KindUnavailable, policy.ReasonGraphUnavailable)
	q = w.Question()
	q.Permission = "no_such_permission"
	refuse(t, w, q, agentid.KindUnavailable, policy.ReasonGraphUnavailable)
	q = w.Question()
	q.Resources = []agentid.Ref{Must(agentid.ResourceRef("no_such_type", "legs", "x"))}
	refuse(t, w, q, agentid.KindUnavailable, policy.ReasonGraphUnavailable)
}
