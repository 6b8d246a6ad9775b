package admin_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	holdsRefund = `[{"type":"agentid_capability","identifier":"payments_customer:acme/cus_1","actions":["payments:refund"]}]`
	holdsRead   = `[{"type":"agentid_capability","identifier":"payments_account:acme/stripe","actions":["payments:read"]}]`
)

// more registers agents of refunds for alice with keys of their own.
func (r *rig) more(n int) {
	r.t.Helper()
	docs := make([]doc, 0, n)
	for i := range n {
		docs = append(docs, doc{
			"kind": "agent", "tenant": "acme", "name": fmt.Sprintf("more-%05d", i), "type": "refunds", "principal": "alice",
			"key": newKey(r.t), "expires": r.expires,
		})
	}
	for len(docs) > 0 {
		k := min(1000, len(docs))
		status, out := r.apply(false, docs[:k]...)
		require.Equal(r.t, http.StatusOK, status, out)
		docs = docs[k:]
	}
}

func (r *rig) revoke(in doc) (int, map[string]any) {
	r.t.Helper()
	return r.call(http.MethodPost, "/tenants/acme/revocations", in)
}

func TestRevokeOfEveryKindOfTarget(t *testing.T) {
	r := newRig(t)
	status, _ := r.apply(false, r.acme()...)
	require.Equal(t, http.StatusOK, status)
	r.issue("t1", holdsRefund)
	for _, target := range []string{"agent:acme/ag-1", "principal:acme/alice", "agent_type:acme/refunds", "connector:acme/stripe", "tenant:acme"} {
		status, out := r.revoke(doc{"target": target, "reason": "leaked"})
		require.Equal(t, http.StatusOK, status, out)
		require.Equal(t, "frozen", out["state"], target)
		require.Positive(t, out["epoch"])
		require.NotContains(t, out, "information")
		status, out = r.revoke(doc{"target": target, "reason": "leaked"})
		require.Equal(t, http.StatusOK, status, out)
		require.Equal(t, "already_revoked", out["information"], target)
	}
	status, out := r.revoke(doc{"target": "token:acme/t1"})
	require.Equal(t, http.StatusOK, status, out)
	require.Equal(t, "token", out["subject"])
	require.False(t, r.live("ag-1"))

	status, list := r.call(http.MethodGet, "/tenants/acme/revocations?limit=3", nil)
	require.Equal(t, http.StatusOK, status)
	require.Len(t, list["items"], 3)
	require.NotEmpty(t, list["items"].([]any)[0].(doc)["settled"])

	// Unfreezing everything brings the agent back: no denial outlives its reason.
	for _, path := range []string{"/connectors/stripe", "/agent-types/refunds", "/principals/alice", "/agents/ag-1", ""} {
		for _, reason := range []string{"leaked", "owner_lost"} {
			status, out = r.call(http.MethodPost, "/tenants/acme"+path+"/unfreeze", doc{"reason": reason})
			require.Equal(t, http.StatusOK, status, out)
		}
	}
	require.True(t, r.live("ag-1"))
	for _, d := range r.hub.State().Denials {
		require.Equal(t, "token:acme/t1", d.Target.String(), "only the token stays denied")
	}
}

func TestRevokeRefuses(t *testing.T) {
	r := newRig(t)
	status, _ := r.apply(false, r.acme()...)
	require.Equal(t, http.StatusOK, status)
	for name, c := range map[string]struct {
		in     doc
		status int
		reason string
		field  any
	}{
		"nothing":            {doc{}, 400, "invalid_request", "target"},
		"both":               {doc{"target": "agent:acme/ag-1", "filter": doc{"all": true}}, 400, "invalid_request", "target"},
		"no ref":             {doc{"target": "ag-1"}, 400, "invalid_request", "target"},
		"unknown agent":      {doc{"target": "agent:acme/nobody"}, 404, "agent_unknown", nil},
		"unknown token":      {doc{"target": "token:acme/nothing"}, 404, "token_unknown", nil},
		"another tenant's":   {doc{"target": "agent:rival/ag-1"}, 404, "agent_unknown", "target"},
		"a resource":         {doc{"target": "payments_account:acme/stripe"}, 400, "invalid_request", "ref"},
		"an empty filter":    {doc{"filter": doc{}}, 400, "invalid_request", "filter"},
		"all and a part":     {doc{"filter": doc{"all": true, "type": "refunds"}}, 400, "invalid_request", "filter"},
		"an unknown field":   {doc{"filter": doc{"color": "red"}}, 400, "invalid_request", nil},
		"a bad type":         {doc{"filter": doc{"type": "a/b"}}, 400, "invalid_request", "filter.type"},
		"a foreign resource": {doc{"filter": doc{"resource": "payments_customer:rival/cus_1"}}, 400, "invalid_request", "filter.resource"},
		"before in the future": {
			doc{"filter": doc{"created_before": time.Now().Add(time.Hour).Format(time.RFC3339)}}, 400, "invalid_request", "filter.created_before",
		},
	} {
		status, out := r.revoke(c.in)
		require.Equal(t, c.status, status, "%s: %v", name, out)
		require.Equal(t, c.reason, out["reason"], name)
		if c.field != nil {
			require.Equal(t, c.field, out["field"], name)
		}
	}
	require.True(t, r.live("ag-1"))
	status, _ = r.call(http.MethodPost, "/tenants/nobody/revocations", doc{"filter": doc{"all": true}})
	require.Equal(t, http.StatusNotFound, status)
}

func TestDryRunTakesNothing(t *testing.T) {
	r := newRig(t)
	status, _ := r.apply(false, r.acme()...)
	require.Equal(t, http.StatusOK, status)
	r.more(2)
	r.issue("t1", holdsRefund)
	r.issue("t2", holdsRead)
	for target, want := range map[string][2]int{
		"agent:acme/ag-1": {1, 2}, "agent:acme/more-00000": {1, 0}, "principal:acme/alice": {3, 2}, "agent_type:acme/refunds": {3, 2},
		"tenant:acme": {3, 2}, "connector:acme/stripe": {1, 2}, "token:acme/t1": {1, 1},
	} {
		status, out := r.call(http.MethodPost, "/tenants/acme/revocations?dry_run=true", doc{"target": target})
		require.Equal(t, http.StatusOK, status, out)
		require.EqualValues(t, want[0], out["agents"], target)
		require.EqualValues(t, want[1], out["tokens"], target)
	}
	status, out := r.call(http.MethodPost, "/tenants/acme/revocations?dry_run=true", doc{"filter": doc{"operation": "payments:refund"}})
	require.Equal(t, http.StatusOK, status, out)
	require.Equal(t, []any{"token:acme/t1"}, out["token_list"])
	require.Equal(t, []any{doc{"operation": "payments:refund", "tokens": 1.0}}, out["operations"])
	status, _ = r.call(http.MethodPost, "/tenants/acme/revocations?dry_run=true", doc{"target": "agent:acme/nobody"})
	require.Equal(t, http.StatusNotFound, status)
	require.True(t, r.live("ag-1"))
	_, list := r.call(http.MethodGet, "/tenants/acme/revocations", nil)
	require.Empty(t, list["items"])
}

func TestTokensAreSelectedByTheirCapability(t *testing.T) {
	r := newRig(t)
	status, _ := r.apply(false, r.acme()...)
	require.Equal(t, http.StatusOK, status)
	r.issue("t1", holdsRefund)
	r.issue("t2", holdsRead)
	r.issue("t3", holdsRefund)
	status, out := r.revoke(doc{"filter": doc{"operation": "payments:refund", "resource": "payments_customer:acme/cus_2"}})
	require.Equal(t, http.StatusOK, status, out)
	require.NotContains(t, out, "tokens", "nobody holds it")
	status, out = r.revoke(doc{"filter": doc{"operation": "payments:refund", "resource": "payments_customer:acme/cus_1"}})
	require.Equal(t, http.StatusOK, status, out)
	require.EqualValues(t, 2, out["tokens"])
	require.EqualValues(t, 1, out["batches"], "one write for all")
	_, list := r.call(http.MethodGet, "/tenants/acme/tokens", nil)
	require.Len(t, list["items"], 1)
	require.True(t, r.live("ag-1"), "agents are left alone when a capability is named")
	status, out = r.revoke(doc{"filter": doc{"operation": "payments:refund"}})
	require.Equal(t, http.StatusOK, status, out)
	require.NotContains(t, out, "tokens", "again: nothing is left")
}

// One call, one intent, and a graph that goes away in the middle of it: everything selected
// stays denied, and the replay takes the rest from the recorded filter.
func TestARevocationInBulkIsReplayed(t *testing.T) {
	r := newRig(t)
	status, _ := r.apply(false, r.acme()...)
	require.Equal(t, http.StatusOK, status)
	r.more(bulkAgents)
	r.graph.fail, r.graph.left = true, bulkAgents/1000 // half of it
	status, out := r.revoke(doc{"filter": doc{"type": "refunds"}, "reason": "worm"})
	require.Equal(t, http.StatusServiceUnavailable, status, out)
	require.Len(t, r.hub.State().Denials, bulkAgents+1, "all of them stay denied")
	r.graph.fail = false
	late := doc{
		"kind": "agent", "tenant": "acme", "name": "late", "type": "refunds", "principal": "alice", "key": newKey(t), "expires": r.expires,
	}
	status, out = r.apply(false, late)
	require.Equal(t, http.StatusOK, status, out)
	require.NoError(t, r.service.Replay(t.Context()))
	require.Empty(t, r.hub.State().Denials)
	open, err := r.ledger.OpenRevocations(t.Context())
	require.NoError(t, err)
	require.Empty(t, open)
	require.False(t, r.live("ag-1"))
	require.False(t, r.live(fmt.Sprintf("more-%05d", bulkAgents-1)))
	require.True(t, r.live("late"), "made after the call: not meant")

	status, out = r.call(http.MethodPost, "/tenants/acme/agents/unfreeze", doc{"filter": doc{"all": true}, "reason": "worm"})
	require.Equal(t, http.StatusOK, status, out)
	require.EqualValues(t, bulkAgents+1, out["agents"])
	require.EqualValues(t, bulkAgents+1, out["active"])
	require.True(t, r.live("ag-1"))
	require.True(t, r.live(fmt.Sprintf("more-%05d", bulkAgents-1)))
}
