package server_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/relations"
	"github.com/agentid-dev/agentid/server/revocation"
)

// Each edge that is missing, or in the way, refuses a token; its return grants one.
func TestPolicyDecidesAtIssuance(t *testing.T) {
	w := newWorld(t)
	w.mint(w.agent)
	all := relate.All(schema.TypeAgent)
	tenant := must(agentid.TenantRef("acme"))
	alice := must(agentid.PrincipalRef("acme", "alice"))
	typ := must(agentid.AgentTypeRef("acme", "refund-agent"))
	account := must(agentid.ResourceRef(schema.TypePaymentsAccount, "acme", "stripe"))
	customer := must(agentid.ResourceRef(schema.TypePaymentsCustomer, "acme", "cus_123"))
	limit := relate.Caveat{Name: schema.CaveatPaymentsLimit, Context: map[string]any{
		schema.PaymentsLimitMaxAmount: int64(5000), schema.PaymentsLimitCurrencies: []string{"usd"},
	}}
	for _, c := range []struct {
		name   string
		edge   relate.Edge
		bar    bool // the edge refuses by being there
		reason string
	}{
		{"frozen agent", enabled(w.agent.ref), false, "agent_not_live"},
		{"frozen tenant", relate.Edge{Resource: tenant, Relation: schema.TenantEnabled, Subject: all}, false, "agent_not_live"},
		{"frozen principal", relate.Edge{Resource: alice, Relation: schema.PrincipalEnabled, Subject: all}, false, "agent_not_live"},
		{"frozen agent type", relate.Edge{Resource: typ, Relation: schema.AgentTypeEnabled, Subject: all}, false, "agent_not_live"},
		{"frozen connector", relate.Edge{Resource: account, Relation: schema.PaymentsEnabled, Subject: all}, false, "account_inactive"},
		{"agents of this type have no grant", relate.Edge{Resource: account, Relation: schema.PaymentsRefunder, Subject: relate.Set(typ, schema.AgentTypeInstance), Caveat: limit}, false, "policy_denied"},
		{"the principal has no grant", relate.Edge{Resource: account, Relation: schema.PaymentsRefunder, Subject: relate.To(alice)}, false, "principal_denied"},
		{"barred customer", relate.Edge{Resource: customer, Relation: schema.PaymentsBarredRefunder, Subject: all}, true, "barred"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.tb = t
			refuse, restore := w.remove, w.touch
			if c.bar {
				refuse, restore = w.touch, w.remove
			}
			refuse(c.edge)
			resp, doc := w.do(w.agent, w.tokenCall())
			w.refused(resp, doc, 403, "access_denied", c.reason)
			rec := w.audited(resp)
			require.Equal(t, w.agent.ref.String(), rec.Agent)
			require.Equal(t, "payments:refund", rec.Operation)
			require.Equal(t, customer.String(), rec.Resource)
			restore(c.edge)
			w.mint(w.agent)
		})
	}
	w.tb = t
}

func TestAgentThatExpires(t *testing.T) {
	w := newWorld(t)
	short := w.spawn("acme", "ag-short", "", nil, 2*time.Minute)
	_, doc := w.mint(short)
	require.LessOrEqual(t, doc["expires_in"], 120.0, "no token outlives its agent")
	w.shift.Add(int64(3 * time.Minute))
	resp, doc := w.do(short, w.tokenCall())
	w.refused(resp, doc, 403, "access_denied", "agent_expired")
	w.mint(w.agent)
}

func TestCeilings(t *testing.T) {
	w := newWorld(t)
	ceiling := func(text string) json.RawMessage { return json.RawMessage(text) }
	const account = `"type":"agentid_capability","identifier":"payments_account:acme/stripe"`
	split := ceiling(`[{` + account + `,"actions":["payments:refund"],"constraints":{"amount":{"max":3000,"currency":"usd"}}},{` + account + `,"actions":["payments:read_customer"]}]`)
	bounded := w.spawn("acme", "ag-bounded", "", split, time.Hour)
	child := w.spawn("acme", "ag-child", "ag-bounded", nil, time.Hour)
	euro := w.spawn("acme", "ag-euro", "", ceiling(`[{`+account+`,"actions":["payments:refund"],"constraints":{"amount":{"max":3000,"currency":"eur"}}}]`), time.Hour)
	reader := w.spawn("acme", "ag-reader", "", ceiling(`[{`+account+`,"actions":["payments:read_customer"]}]`), time.Hour)
	other := w.spawn("acme", "ag-other", "", ceiling(`[{"type":"agentid_capability","identifier":"payments_customer:acme/cus_9","actions":["payments:refund"]}]`), time.Hour)
	nothing := w.spawn("acme", "ag-nothing", "", ceiling(`[]`), time.Hour)

	amount := func(doc map[string]any, i int) any {
		entry, _ := doc["authorization_details"].([]any)[i].(map[string]any)
		constraints, _ := entry["constraints"].(map[string]any)
		if constraints == nil {
			return nil
		}
		bound, _ := constraints["amount"].(map[string]any)
		return bound["max"]
	}
	_, doc := w.mint(bounded)
	require.InDelta(t, 3000, amount(doc, 0), 0, "narrowed, and told")
	_, doc = w.mint(bounded, "authorization_details", detail(`{"amount":{"max":100,"currency":"usd"}}`))
	require.InDelta(t, 100, amount(doc, 0), 0)
	_, doc = w.mint(child)
	require.InDelta(t, 3000, amount(doc, 0), 0, "a child is below its parent's ceiling")

	both := `[{"type":"agentid_capability","identifier":"payments_customer:acme/cus_123","actions":["payments:refund","payments:read_customer"]}]`
	_, doc = w.mint(bounded, "authorization_details", both)
	require.Len(t, doc["authorization_details"], 2, "operations below different entries are kept apart")

	for _, c := range []struct {
		name  string
		who   actor
		field string
	}{
		{"another currency", euro, "constraints.amount"},
		{"another operation", reader, "authorization_details"},
		{"another resource", other, "authorization_details"},
		{"an empty ceiling", nothing, "authorization_details"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.tb = t
			resp, doc := w.do(c.who, w.tokenCall())
			w.refused(resp, doc, 403, "access_denied", "ceiling_exceeded")
			require.Contains(t, fieldOf(doc), c.field)
		})
	}
	w.tb = t
}

// A frozen parent stops its child at once; a child asks its parents' rights too.
func TestLineage(t *testing.T) {
	w := newWorld(t)
	parent := w.spawn("acme", "ag-parent", "", nil, time.Hour)
	child := w.spawn("acme", "ag-child", "ag-parent", nil, time.Hour)
	token, _ := w.mint(child)
	c := w.claims(token)
	require.Equal(t, []agentid.Ref{child.ref, parent.ref}, c.Lineage())
	require.Equal(t, []agentid.Ref{parent.ref}, c.Context.Attenuated)

	free := w.spawnAs(ledger.Independent, "acme", "ag-free", "ag-parent", nil, time.Hour)
	token, _ = w.mint(free)
	c = w.claims(token)
	require.Equal(t, []agentid.Ref{free.ref, parent.ref}, c.Lineage())
	require.Empty(t, c.Context.Attenuated, "its own type's authority, its parent's life")

	w.remove(enabled(parent.ref))
	for _, a := range []actor{child, free} {
		resp, doc := w.do(a, w.tokenCall())
		w.refused(resp, doc, 403, "access_denied", "agent_not_live")
	}
	w.mint(w.agent)
}

func TestOwnAuthorityAndAutonomy(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice := must(agentid.PrincipalRef("acme", "alice"))
	account := must(agentid.ResourceRef(schema.TypePaymentsAccount, "acme", "stripe"))
	w.remove(relate.Edge{Resource: account, Relation: schema.PaymentsRefunder, Subject: relate.To(alice)})
	resp, doc := w.do(w.agent, w.tokenCall())
	w.refused(resp, doc, 403, "access_denied", "principal_denied")

	_, _, err := w.ledger.PutAgentType(ctx, ledger.AgentType{Ref: must(agentid.AgentTypeRef("acme", "refund-agent")), OwnAuthority: true})
	require.NoError(t, err)
	_, _, err = w.ledger.PutPrincipal(ctx, ledger.Principal{Ref: alice, Kind: ledger.PrincipalService})
	require.NoError(t, err)
	token, _ := w.mint(w.agent)
	c := w.claims(token)
	require.True(t, c.Context.OwnAuthority)
	require.Equal(t, w.agent.ref.String(), c.Subject, "an autonomous agent is its own subject")
	require.Equal(t, alice, c.Context.Principal)
}

func TestRateOfOneAgent(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.TokensPerMin, c.TokensBurst = 1, 3 })
	other := w.spawn("acme", "ag-2", "", nil, time.Hour)
	for range 2 { // the first mint is two requests: the nonce
		w.mint(w.agent)
	}
	resp, doc := w.do(w.agent, w.tokenCall())
	w.refused(resp, doc, 429, "temporarily_unavailable", "rate_agent")
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	w.mint(other)
}

func TestGraphDown(t *testing.T) {
	w := newWorld(t)
	w.mint(w.agent)
	require.NoError(t, w.engine.Close())
	require.NoError(t, w.store.Close())
	resp, doc := w.do(w.agent, w.tokenCall())
	w.refused(resp, doc, 503, "temporarily_unavailable", "graph_unavailable")
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
}

// TestDuringAnOutageOfTheGraph: no token is made; what is remembered of one is told for a
// minute at most, and what is taken away meanwhile is refused from memory.
func TestDuringAnOutageOfTheGraph(t *testing.T) {
	w := newWorld(t)
	other := w.spawn("acme", "ag-other", "", nil, time.Hour)
	cold := w.spawn("acme", "ag-cold", "", nil, time.Hour)
	var token, gone string
	for range 3 {
		token, _ = w.mint(w.agent)
		gone, _ = w.mint(other)
		_, doc := w.asService(token)
		require.Equal(t, true, doc["active"])
		_, doc = w.asService(gone)
		require.Equal(t, true, doc["active"])
	}
	require.NoError(t, w.engine.Close())
	require.NoError(t, w.store.Close())
	_, doc := w.asService(token)
	require.Equal(t, true, doc["active"])
	for _, agent := range []actor{w.agent, cold} { // remembered or not
		resp, doc := w.do(agent, w.tokenCall())
		w.refused(resp, doc, 503, "temporarily_unavailable", "graph_unavailable")
	}
	_, err := w.broker.Revoker().Take(t.Context(), revocation.Taking{
		Intent: ledger.Revocation{Target: other.ref, Reason: "stolen", Actor: "test"},
		Edges: func(context.Context) (relations.Set, error) {
			return relations.Set{Unwanted: []relate.Edge{enabled(other.ref)}}, nil
		},
	})
	require.Error(t, err, "the graph cannot be written")
	_, doc = w.asService(gone)
	require.Equal(t, inactive, doc)
	w.shift.Add(int64(policy.MaxLife + time.Second))
	resp, doc := w.asService(token)
	w.refused(resp, doc, 503, "temporarily_unavailable", "graph_unavailable")
}

func TestLedgerDown(t *testing.T) {
	w := newWorld(t)
	w.mint(w.agent)
	require.NoError(t, w.ledger.Close())
	resp, doc := w.do(w.agent, w.tokenCall())
	require.Equal(t, 503, resp.StatusCode, "%v", doc)
	require.Equal(t, "temporarily_unavailable", doc["error"])
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	require.NotContains(t, doc, "access_token")
}
