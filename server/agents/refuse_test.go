package agents_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/capability/keyproof"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/ledger"
)

// refusal is a spawn that a parent asks for, and how it is refused.
type refusal struct {
	prepare func(w *world, parent actor)
	change  func(w *world, parent actor, body map[string]any)
	status  int
	reason  string
	field   string
}

func with(name string, value any) func(*world, actor, map[string]any) {
	return func(_ *world, _ actor, body map[string]any) { body[name] = value }
}

var refusals = map[string]refusal{
	"frozen parent": {prepare: func(w *world, p actor) {
		must(w.service.Freeze(context.Background(), operator, p.ref, "operator"))
	}, status: 403, reason: "parent_frozen", field: "parent"},
	"frozen grandparent": {prepare: func(w *world, _ actor) {
		must(w.service.Freeze(context.Background(), operator, agentRef("top"), "operator"))
	}, status: 403, reason: "parent_frozen", field: "parent"},
	"foreign type":     {change: with("type", "agent_type:rival/worker"), status: 403, reason: "tenant_mismatch", field: "type"},
	"foreign ceiling":  {change: with("ceiling", json.RawMessage(`[{"type":"agentid_capability","identifier":"payments_customer:rival/c","actions":["payments:refund"]}]`)), status: 403, reason: "tenant_mismatch", field: "ceiling"},
	"unknown type":     {change: with("type", "nothing"), status: 400, reason: "agent_type_unknown", field: "type"},
	"no type":          {change: with("type", ""), status: 400, reason: "invalid_request", field: "type"},
	"unknown field":    {change: with("parent", "agent:acme/top"), status: 400, reason: "invalid_request", field: "parent"},
	"unknown kind":     {change: with("child_kind", "free"), status: 400, reason: "invalid_request", field: "child_kind"},
	"a bad name":       {change: with("name", "a/b"), status: 400, reason: "invalid_request", field: "name"},
	"a wildcard":       {change: with("name", "*"), status: 400, reason: "invalid_request", field: "name"},
	"id taken":         {change: with("name", "top"), status: 409, reason: "agent_exists", field: "name"},
	"key reused":       {change: func(w *world, p actor, body map[string]any) { reuse(w, p, body, p.key) }, status: 409, reason: "key_in_use", field: "public_key"},
	"key of a retired": {change: retiredKey, status: 409, reason: "key_in_use", field: "public_key"},
	"key of another kind": {change: func(_ *world, _ actor, body map[string]any) {
		key := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
		body["key"] = jose.JSONWebKey{Key: &key.PublicKey}
	}, status: 400, reason: "key_forbidden", field: "key"},
	"private key": {change: func(_ *world, p actor, body map[string]any) {
		body["key"] = jose.JSONWebKey{Key: p.key.private.Key}
	}, status: 400, reason: "key_forbidden", field: "key"},
	"no proof": {change: with("key_proof", ""), status: 400, reason: "key_proof_invalid", field: "key_proof"},
	"proof by another": {change: func(w *world, p actor, body map[string]any) {
		body["key_proof"] = w.child(p.ref, "x", "worker", newPair())["key_proof"]
	}, status: 400, reason: "key_proof_invalid", field: "key_proof"},
	"proof for another": {change: proofFor("top"), status: 400, reason: "key_proof_invalid", field: "key_proof.sub"},
	"beyond the parent": {change: func(w *world, _ actor, body map[string]any) { body["expires"] = w.now().Add(3 * time.Hour) }, status: 403, reason: "lifetime_exceeds_parent", field: "expires"},
	"beyond the limit":  {prepare: limitType("worker", ledger.Limits{MaxLifetime: time.Minute}), change: func(w *world, _ actor, body map[string]any) { body["expires"] = w.now().Add(time.Hour) }, status: 403, reason: "lifetime_exceeds_limit", field: "expires"},
	"in the past":       {change: func(w *world, _ actor, body map[string]any) { body["expires"] = w.now().Add(-time.Hour) }, status: 400, reason: "invalid_request", field: "expires"},
	"template unknown":  {change: withTemplate("nothing"), status: 400, reason: "template_unknown", field: "template"},
	"template of another": {prepare: func(w *world, _ actor) {
		w.setType("acme", "worker", func(t *ledger.AgentType) { t.Templates = []string{"other"} })
	}, change: withTemplate(template), status: 403, reason: "template_not_of_type", field: "template"},
	"too deep by type":   {prepare: limitType("worker", ledger.Limits{MaxDepth: 1}), status: 403, reason: "lineage_too_deep", field: "parent"},
	"too deep by tenant": {prepare: limitTenant(ledger.Limits{MaxDepth: 1}), status: 403, reason: "lineage_too_deep", field: "parent"},
	"fan-out by type": {prepare: func(w *world, p actor) {
		limitType("root", ledger.Limits{MaxChildren: 1})(w, p)
		w.mustStart("sibling", "worker", "parent")
	}, status: 403, reason: "fan_out_exceeded", field: "parent"},
	"fan-out by tenant": {prepare: func(w *world, p actor) {
		limitTenant(ledger.Limits{MaxChildren: 1})(w, p)
		w.mustStart("sibling", "worker", "parent")
	}, status: 403, reason: "fan_out_exceeded", field: "parent"},
	"live by tenant": {prepare: limitTenant(ledger.Limits{MaxLive: 2}), status: 403, reason: "live_agents_exceeded", field: "principal"},
	"live by type": {prepare: func(w *world, p actor) {
		limitType("worker", ledger.Limits{MaxLive: 1})(w, p)
		w.mustStart("other", "worker", "top")
	}, status: 403, reason: "live_agents_exceeded", field: "principal"},
	"not allowed type": {change: with("type", "stranger"), status: 403, reason: "child_type_not_allowed", field: "type"},
	"not independent":  {change: with("child_kind", "independent"), status: 403, reason: "independent_not_allowed", field: "child_kind"},
	"frozen type": {prepare: func(w *world, _ actor) {
		must(w.ledger.AddFreeze(context.Background(), typeRef("worker"), "operator", "op"))
	}, status: 409, reason: "type_frozen", field: "type"},
	"frozen tenant": {prepare: func(w *world, _ actor) {
		must(w.ledger.AddFreeze(context.Background(), must(agentid.TenantRef("acme")), "operator", "op"))
	}, status: 409, reason: "tenant_frozen", field: "tenant"},
}

func limitType(name string, l ledger.Limits) func(*world, actor) {
	return func(w *world, _ actor) { w.setType("acme", name, func(t *ledger.AgentType) { t.Limits = l }) }
}

func limitTenant(l ledger.Limits) func(*world, actor) {
	return func(w *world, _ actor) {
		_, _, err := w.ledger.PutTenant(context.Background(), ledger.Tenant{Ref: must(agentid.TenantRef("acme")), Limits: l})
		require.NoError(w.tb, err)
	}
}

func withTemplate(name string) func(*world, actor, map[string]any) {
	return with("ceiling", json.RawMessage(`[{"type":"agentid_template","template":"`+name+`","arguments":{"customer":"cus_1","max_amount":100}}]`))
}

func proofFor(other string) func(*world, actor, map[string]any) {
	return func(w *world, p actor, body map[string]any) {
		key := newPair()
		reuse(w, p, body, key)
		body["key_proof"] = must(keyproof.Sign(key.private, keyproof.Claims{Issuer: base, Subject: agentRef(other)}, w.now()))
	}
}

func reuse(w *world, p actor, body map[string]any, key pair) {
	for k, v := range w.child(p.ref, "", "", key) {
		if k == "key" || k == "key_proof" {
			body[k] = v
		}
	}
}

func retiredKey(w *world, p actor, body map[string]any) {
	old := w.mustStart("old", "worker", "")
	must(w.service.Retire(context.Background(), operator, old.ref))
	reuse(w, p, body, old.key)
}

// Each reason, one fault each; at the end the same request without any.
func TestASpawnIsRefusedForItsReasonAndReservesNothing(t *testing.T) {
	for name, tc := range refusals {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			start := spec("top", "root", "")
			start.Expires = w.now().Add(2 * time.Hour)
			_, err := w.start(start)
			require.NoError(t, err)
			parent := w.mustStart("parent", "root", "top")
			if tc.prepare != nil {
				tc.prepare(w, parent)
			}
			key := newPair()
			body := w.child(parent.ref, "kid", "worker", key)
			if tc.change != nil {
				tc.change(w, parent, body)
			}
			before := rows(w)
			status, doc := w.ask(parent, http.MethodPost, "/agents/v1/spawn", body)
			require.Equal(t, tc.status, status, "%v", doc)
			require.Equal(t, tc.reason, doc["reason"], "%v", doc)
			require.Equal(t, tc.field, doc["field"], "%v", doc)
			audited := w.audited("agent.spawn", tc.reason)
			require.Len(t, audited, 1, "the refusal is audited")
			require.Equal(t, auditlog.Deny, audited[0].Decision)
			require.Equal(t, parent.ref.String(), audited[0].Agent)
			require.Equal(t, before, rows(w), "nothing is reserved")
			require.Zero(t, w.edges(agentRef("kid")))
		})
	}
	// Without any fault the same request is allowed.
	w := newWorld(t)
	w.mustStart("top", "root", "")
	parent := w.mustStart("parent", "root", "top")
	status, doc := w.ask(parent, http.MethodPost, "/agents/v1/spawn", w.child(parent.ref, "kid", "worker", newPair()))
	require.Equal(t, http.StatusCreated, status, "%v", doc)
	body := w.child(parent.ref, "kid2", "worker", newPair())
	withTemplate(template)(w, parent, body)
	status, doc = w.ask(parent, http.MethodPost, "/agents/v1/spawn", body)
	require.Equal(t, http.StatusCreated, status, "%v", doc)
	require.NoError(t, w.decide(agentRef("kid2")))
}

// rows counts what the ledger holds of agents.
func rows(w *world) int {
	w.tb.Helper()
	return len(must(w.ledger.Agents(context.Background(), ledger.AgentFilter{Tenant: "acme", Page: ledger.Page{Limit: 1000}})))
}

func TestAParentThatIsUnknownRetiredOrExpiredSpawnsNothing(t *testing.T) {
	w := newWorld(t)
	_, err := w.start(spec("kid", "worker", "nobody"))
	w.refused(err, "parent_unknown")
	require.Equal(t, agentid.KindInvalid, agentid.KindOf(err))

	parent := w.mustStart("parent", "root", "")
	must(w.service.Retire(t.Context(), operator, parent.ref))
	_, err = w.start(spec("kid", "worker", "parent"))
	w.refused(err, "parent_retired")
	status, doc := w.ask(parent, http.MethodPost, "/agents/v1/spawn", w.child(parent.ref, "kid", "worker", newPair()))
	require.Equal(t, http.StatusUnauthorized, status, "a retired agent has no credential: %v", doc)

	short := spec("short", "root", "")
	short.Expires = w.now().Add(time.Minute)
	late, err := w.start(short)
	require.NoError(t, err)
	w.shift.Add(int64(2 * time.Minute))
	_, err = w.start(spec("kid", "worker", "short"))
	w.refused(err, "parent_expired")
	status, doc = w.ask(late, http.MethodPost, "/agents/v1/spawn", w.child(late.ref, "kid", "worker", newPair()))
	require.Equal(t, http.StatusForbidden, status)
	require.Equal(t, "parent_expired", doc["reason"])

	w.mustStart("alive", "root", "")
	s := spec("kid", "worker", "alive")
	s.Principal = owner("bob")
	_, err = w.start(s)
	w.refused(err, "principal_differs")
	s.Principal = must(agentid.PrincipalRef("rival", "alice"))
	_, err = w.start(s)
	w.refused(err, "tenant_mismatch")
	s.Principal = owner("alice")
	_, err = w.start(s)
	require.NoError(t, err)
}

func TestAgentsAuthenticateByTheirOwnKeyOnce(t *testing.T) {
	w := newWorld(t)
	a := w.mustStart("a", "root", "")
	status, doc := w.ask(a, http.MethodGet, "/agents/v1/self", nil)
	require.Equal(t, http.StatusOK, status, doc)
	require.Equal(t, "agent:acme/a", doc["agent"])
	require.Equal(t, "active", doc["state"])
	status, _ = w.ask(actor{a.ref, newPair()}, http.MethodGet, "/agents/v1/self", nil)
	require.Equal(t, http.StatusUnauthorized, status)
	status, _ = w.askWith("", http.MethodGet, "/agents/v1/self", nil)
	require.Equal(t, http.StatusUnauthorized, status)
	status, _ = w.askWith("Basic YTpi", http.MethodGet, "/agents/v1/self", nil)
	require.Equal(t, http.StatusUnauthorized, status)

	for _, endpoint := range []struct{ method, path string }{
		{http.MethodGet, "self"}, {http.MethodGet, "tree"}, {http.MethodPost, "spawn"}, {http.MethodPost, "rotate"}, {http.MethodPost, "retire"},
	} {
		used := "Bearer " + must(clientauth.Sign(a.key.private, clientauth.Request{ClientID: a.ref.String(), Issuer: base, Now: w.now()}))
		body := map[string]any{"agent": "agent:acme/nobody"}
		_, _ = w.askWith(used, endpoint.method, "/agents/v1/"+endpoint.path, body)
		status, doc = w.askWith(used, endpoint.method, "/agents/v1/"+endpoint.path, w.good(endpoint.path, a))
		require.Equal(t, http.StatusUnauthorized, status, "%s %v", endpoint.path, doc)
		require.Equal(t, "assertion_replayed", doc["reason"], endpoint.path)
	}
	require.NoError(t, w.decide(a.ref), "nothing of it was done")

	forTenant := "Bearer " + must(clientauth.Sign(a.key.private, clientauth.Request{ClientID: a.ref.String(), Issuer: base + "/acme", Now: w.now()}))
	status, _ = w.askWith(forTenant, http.MethodGet, "/agents/v1/self", nil)
	require.Equal(t, http.StatusUnauthorized, status, "the audience is another issuer")
	status, _ = w.askWith(forTenant, http.MethodGet, "/acme/agents/v1/self", nil)
	require.Equal(t, http.StatusOK, status)
	forRival := "Bearer " + must(clientauth.Sign(a.key.private, clientauth.Request{ClientID: a.ref.String(), Issuer: base + "/rival", Now: w.now()}))
	status, _ = w.askWith(forRival, http.MethodGet, "/rival/agents/v1/self", nil)
	require.Equal(t, http.StatusUnauthorized, status, "an agent of another tenant")
}

// good is a body that the endpoint would take.
func (w *world) good(path string, a actor) map[string]any {
	switch key := newPair(); path {
	case "spawn":
		return w.child(a.ref, "", "worker", key)
	case "rotate":
		body := w.child(a.ref, "", "", key)
		return map[string]any{"key": body["key"], "key_proof": body["key_proof"]}
	default:
		return map[string]any{}
	}
}
