package admin_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/client"
)

// family is acme with a child below ag-1, declared before its parent.
func (r *rig) family() []doc {
	r.t.Helper()
	docs := r.acme()
	docs[5]["children"] = []string{"refunds"}
	docs[5]["templates"] = []string{"refund-customer"}
	docs[1]["max_depth"] = 4
	child := doc{"kind": "agent", "tenant": "acme", "name": "kid", "type": "refunds", "parent": "ag-1", "key": r.publicKey(), "expires": docs[0]["expires"]}
	return append([]doc{child}, docs...)
}

func (r *rig) publicKey() any {
	r.t.Helper()
	key, err := client.GenerateKey("EdDSA")
	require.NoError(r.t, err)
	return key.Public()
}

func TestChildrenAreDeclaredLikeOtherAgents(t *testing.T) {
	r := newRig(t)
	docs := r.family()
	status, plan := r.apply(false, docs...)
	require.Equal(t, http.StatusOK, status, plan)
	require.True(t, r.live("kid"))
	_, plan = r.apply(true, docs...)
	require.Equal(t, map[string]int{"unchanged": 9}, r.actions(plan))
	_, kid := r.call(http.MethodGet, "/tenants/acme/agents/kid", nil)
	require.Equal(t, "ag-1", kid["parent"])
	require.Equal(t, "attenuated", kid["child_kind"])
	require.Equal(t, "alice", kid["principal"])
	_, line := r.call(http.MethodGet, "/tenants/acme/agents/kid/lineage", nil)
	require.Equal(t, []any{"agent:acme/kid", "agent:acme/ag-1"}, line["lineage"])
	_, list := r.call(http.MethodGet, "/tenants/acme/agents?parent=ag-1", nil)
	require.Len(t, list["items"], 1)
	_, tree := r.call(http.MethodGet, "/tenants/acme/principals/alice/tree", nil)
	require.Len(t, tree["agents"], 2)
	_, tree = r.call(http.MethodGet, "/tenants/acme/agents/kid/tree", nil)
	require.Len(t, tree["agents"], 1)
	_, _ = r.call(http.MethodPost, "/tenants/acme/agents/ag-1/freeze", doc{"reason": "operator"})
	require.False(t, r.live("kid"))
}

func TestAChildThatIsNotAllowedIsRefusedAndAudited(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(docs []doc)
		status int
		reason string
	}{
		"unknown parent":        {func(d []doc) { d[0]["parent"] = "nobody" }, 400, "invalid_request"},
		"unknown kind":          {func(d []doc) { d[0]["child_kind"] = "free" }, 400, "invalid_request"},
		"not independent":       {func(d []doc) { d[0]["child_kind"] = "independent" }, 403, "independent_not_allowed"},
		"type may not spawn it": {func(d []doc) { d[6]["children"] = nil }, 403, "child_type_not_allowed"},
		"beyond the parent": {func(d []doc) {
			d[0]["expires"] = time.Now().Add(2 * time.Hour).UTC().Format(time.RFC3339)
		}, 403, "lifetime_exceeds_parent"},
		"unknown child type":  {func(d []doc) { d[6]["children"] = []string{"nothing"} }, 400, "invalid_request"},
		"unknown template":    {func(d []doc) { d[6]["templates"] = []string{"nothing"} }, 400, "invalid_request"},
		"beyond what is kept": {func(d []doc) { d[2]["max_depth"] = 33 }, 400, "invalid_request"},
		"a negative limit":    {func(d []doc) { d[6]["max_live"] = -1 }, 400, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			docs := r.family()
			tc.change(docs)
			status, answer := r.apply(false, docs...)
			require.Equal(t, tc.status, status, answer)
			require.Equal(t, tc.reason, answer["reason"], answer)
			status, _ = r.call(http.MethodGet, "/tenants/acme/agents/kid", nil)
			require.Equal(t, http.StatusNotFound, status)
			found := false
			for _, rec := range r.auditRows("admin.post") {
				found = found || rec.Reason == tc.reason
			}
			require.True(t, found, "the refusal is audited")
		})
	}
}

func TestAnAdministratorRespawnsAndNarrows(t *testing.T) {
	r := newRig(t)
	docs := append(r.family(), doc{"kind": "principal", "tenant": "acme", "name": "bob", "type": "human"})
	_, _ = r.apply(false, docs...)
	ceiling := []doc{{"type": "agentid_capability", "identifier": "payments_customer:acme/cus_1", "actions": []string{"payments:refund"}, "constraints": doc{"amount": doc{"max": 100, "currency": "usd"}}}}
	status, answer := r.call(http.MethodPut, "/tenants/acme/agents/ag-1/ceiling", doc{"ceiling": ceiling})
	require.Equal(t, http.StatusOK, status, answer)
	require.Len(t, answer["ceiling"], 1)
	wider := []doc{{"type": "agentid_capability", "identifier": "payments_customer:acme/cus_1", "actions": []string{"payments:refund"}, "constraints": doc{"amount": doc{"max": 101, "currency": "usd"}}}}
	status, answer = r.call(http.MethodPut, "/tenants/acme/agents/ag-1/ceiling", doc{"ceiling": wider})
	require.Equal(t, http.StatusForbidden, status)
	require.Equal(t, "ceiling_exceeded", answer["reason"])

	body := doc{"name": "ag-2", "principal": "bob", "key": r.publicKey()}
	status, answer = r.call(http.MethodPost, "/tenants/acme/agents/ag-1/respawn", doc{"name": "ag-2", "principal": "nobody", "key": body["key"]})
	require.Equal(t, http.StatusBadRequest, status, answer)
	require.True(t, r.live("ag-1"))
	status, answer = r.call(http.MethodPost, "/tenants/acme/agents/ag-1/respawn", body)
	require.Equal(t, http.StatusCreated, status, answer)
	require.Equal(t, "principal:acme/bob", answer["principal"])
	require.True(t, r.live("ag-2"))
	require.False(t, r.live("ag-1"))
	require.False(t, r.live("kid"))
	_, kid := r.call(http.MethodGet, "/tenants/acme/agents/kid", nil)
	require.Equal(t, "retired", kid["state"], "the slots of the subtree came back")
}
