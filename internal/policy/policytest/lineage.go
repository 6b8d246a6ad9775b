package policytest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
)

func runLineage(t *testing.T, g Graph) {
	for _, depth := range []int{0, 1, 8, policy.MaxDepth} {
		t.Run(fmt.Sprintf("depth %d", depth), func(t *testing.T) { lineageDepth(t, g, depth) })
	}
	t.Run("too deep", func(t *testing.T) { tooDeep(t, g) })
	t.Run("claimed ancestor outside the closed set", func(t *testing.T) { claimedAncestor(t, g) })
	t.Run("attenuated ancestor bounds the leaf", func(t *testing.T) { attenuatedAncestor(t, g) })
	t.Run("expired edge", func(t *testing.T) { expiredEdge(t, g) })
}

// lineageDepth freezes every agent of the chain in turn.
func lineageDepth(t *testing.T, g Graph, depth int) {
	w := NewWorld(t, g, fmt.Sprintf("depth%d", depth), depth)
	require.Len(t, w.Agents, depth+1)
	allow(t, w, w.Question())
	for _, agent := range w.Agents {
		w.Delete(t, w.Enabled(agent))
		forbidden(t, w, w.Question(), policy.ReasonAgentNotLive)
		w.Touch(t, w.Enabled(agent))
	}
	allow(t, w, w.Question())
}

func tooDeep(t *testing.T, g Graph) {
	w := NewWorld(t, g, "toodeep", 0)
	q := w.Question()
	for i := range policy.MaxDepth {
		q.Lineage = append(q.Lineage, policy.Member{Agent: Must(agentid.AgentRef("toodeep", fmt.Sprintf("x-%d", i)))})
	}
	require.Len(t, q.Lineage, policy.MaxDepth+1)
	forbidden(t, w, q, policy.ReasonAgentNotLive) // allowed to ask; those agents do not exist
	q.Lineage = append(q.Lineage, policy.Member{Agent: Must(agentid.AgentRef("toodeep", "one-more"))})
	forbidden(t, w, q, policy.ReasonLineageTooDeep)
}

// claimedAncestor: an agent that the token names but the leaf's lineage edges do not is
// asked for all the same. ".all() speaks only of edges that exist."
func claimedAncestor(t *testing.T, g Graph) {
	w := NewWorld(t, g, "claimed", 1)
	parent := w.Agents[1]
	w.Delete(
		t, w.Enabled(parent),
		relate.Edge{Resource: w.Agents[0], Relation: schema.AgentLineage, Subject: relate.To(parent)},
	)
	forbidden(t, w, w.Question(), policy.ReasonAgentNotLive)
	w.Touch(t, w.Enabled(parent))
	allow(t, w, w.Question())
}

// attenuatedAncestor: the leaf's type may refund, its parent's may not. That stops the
// leaf only where the parent is marked as bounding it.
func attenuatedAncestor(t *testing.T, g Graph) {
	w := NewWorld(t, g, "attenuated", 0)
	planner := Must(agentid.AgentTypeRef("attenuated", "planner"))
	w.AddType(t, planner)
	w.Agents = nil
	w.Spawn(t, "planner-1", planner)
	w.Spawn(t, "refunder-1", w.Type)
	q := w.Question()
	require.Equal(t, policy.OutcomeNotAsked, leg(t, allow(t, w, q), policy.LegAncestor))
	q.Lineage[1].Attenuated = true
	forbidden(t, w, q, policy.ReasonPolicyDenied)
	w.Touch(t, relate.Edge{
		Resource: w.Account, Relation: schema.PaymentsRefunder,
		Subject: relate.Set(planner, schema.AgentTypeInstance), Caveat: LimitCaveat(4200),
	})
	q.AtLeast = w.Zookie
	require.Equal(t, policy.OutcomeYes, leg(t, allow(t, w, q), policy.LegAncestor))
	q.Inputs[schema.PaymentsLimitAmount] = int64(4201)
	forbidden(t, w, q, policy.ReasonPolicyDenied)
	q.Inputs[schema.PaymentsLimitAmount] = int64(4200)
	w.Touch(t, w.Bar(w.Customer, relate.Set(planner, schema.AgentTypeInstance)))
	q.AtLeast = w.Zookie
	forbidden(t, w, q, policy.ReasonBarred)
}

// expiredEdge: an expiry is no event and moves no revision, and yet it counts.
func expiredEdge(t *testing.T, g Graph) {
	w := NewWorld(t, g, "expired", 1)
	allow(t, w, w.Question())
	edge := w.Enabled(w.Agents[0])
	edge.Expires = time.Now().Add(-time.Minute)
	w.Touch(t, edge)
	forbidden(t, w, w.Question(), policy.ReasonAgentNotLive)

	edge.Expires = time.Now().Add(2 * time.Second)
	w.Touch(t, edge)
	q := w.Question()
	allow(t, w, q)
	require.Eventually(t, func() bool {
		_, err := w.Decider(t).Decide(t.Context(), q)
		return agentid.ReasonOf(err) == policy.ReasonAgentNotLive
	}, 10*time.Second, 50*time.Millisecond)
}
