package server_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/exchange"
	"github.com/agentid-dev/agentid/server/ledger"
)

const wideDetails = `[{"type":"agentid_capability","identifier":"payments_customer:acme/cus_123","actions":["payments:refund"],
	"constraints":{"amount":{"max":4200,"currency":"usd"},"reason":{"in":["duplicate","fraudulent"]},
	"time":{"after":"2026-01-01T00:00:00Z","before":"2126-01-01T00:00:00Z"},"client_ip":{"within":["10.0.0.0/8"]},"uses":{"max":2}}}]`

// exchangeCall asks for a token of subject's child.
func (w *world) exchangeCall(subject string, form ...string) call {
	c := w.tokenCall(append([]string{
		"grant_type", discovery.GrantTokenExchange, "subject_token", subject, "subject_token_type", exchange.TypeAccessToken,
		"authorization_details", "", "resource", "",
	}, form...)...)
	return c
}

func (w *world) exchange(child actor, subject string, form ...string) (string, capability.Claims) {
	w.tb.Helper()
	resp, doc := w.do(child, w.exchangeCall(subject, form...))
	require.Equal(w.tb, http.StatusOK, resp.StatusCode, "%v", doc)
	require.Equal(w.tb, exchange.TypeAccessToken, doc["issued_token_type"])
	token, _ := doc["access_token"].(string)
	return token, w.claims(token)
}

// forge signs what the broker would not have: only a broken mint could.
func (w *world) forge(token string, edit func(*capability.Claims)) string {
	w.tb.Helper()
	c := w.claims(token)
	edit(&c)
	return must(capability.Sign(c, must(w.broker.Signer().Active())))
}

func TestExchange(t *testing.T) {
	w := newWorld(t)
	child := w.spawn("acme", "ag-child", "ag-1", nil, time.Hour)
	leaf := w.spawn("acme", "ag-leaf", "ag-child", nil, time.Hour)
	root, _ := w.mint(w.agent, "authorization_details", wideDetails)
	parent := w.claims(root)

	token, c := w.exchange(child, root)
	require.Equal(t, parent.Issuer, c.Issuer)
	require.Equal(t, "principal:acme/alice", c.Subject)
	require.Equal(t, child.ref.String(), c.ClientID)
	require.Equal(t, parent.Audience, c.Audience)
	require.Equal(t, []agentid.Ref{child.ref, w.agent.ref}, c.Lineage())
	require.Equal(t, []agentid.Ref{w.agent.ref}, c.Context.Attenuated)
	require.Equal(t, []string{parent.ID}, c.Context.Chain)
	require.Equal(t, parent.Capabilities[0].Digest(), c.Capabilities[0].Digest(), "all that the parent has, where nothing is named")
	require.False(t, c.Expiry.After(parent.Expiry))
	require.NotEqual(t, parent.Confirmation, c.Confirmation, "bound to the child's own key")
	digest := c.Capabilities[0].Digest()
	require.Equal(t, map[string][]capability.Counter{digest: {{Token: parent.ID, Capability: digest, Max: 2}}}, c.Context.Counters)

	narrow := strings.ReplaceAll(strings.ReplaceAll(wideDetails, "4200", "100"), `"uses":{"max":2}`, `"uses":{"max":1}`)
	resp, doc := w.do(leaf, w.exchangeCall(token, "authorization_details", narrow, "resource", resource, "audience", resource, "scope", "payments:refund"))
	require.Equal(t, 200, resp.StatusCode, "%v", doc)
	require.Equal(t, "DPoP", doc["token_type"])
	l := w.claims(doc["access_token"].(string))
	require.Equal(t, []agentid.Ref{leaf.ref, child.ref, w.agent.ref}, l.Lineage())
	require.Equal(t, []string{c.ID, parent.ID}, l.Context.Chain)
	require.Equal(t, []capability.Counter{{Token: c.ID, Capability: digest, Max: 2}, {Token: parent.ID, Capability: digest, Max: 2}},
		l.Context.Counters[l.Capabilities[0].Digest()])
	rec := w.audited(resp)
	require.Equal(t, []string{leaf.ref.String(), child.ref.String(), w.agent.ref.String()}, rec.Lineage)
	require.Equal(t, c.ID, rec.Notes["subject_token"])

	// What introspection says is what the ledger has, and what the key set alone shows.
	leafToken := doc["access_token"].(string)
	_, told := w.asService(leafToken)
	line, err := w.ledger.Lineage(t.Context(), leaf.ref)
	require.NoError(t, err)
	var ledgers []any
	for _, member := range line {
		ledgers = append(ledgers, member.Ref.String())
	}
	require.Equal(t, ledgers, told["lineage"])
	require.Equal(t, map[string]any{
		"sub": leaf.ref.String(), "act": map[string]any{"sub": child.ref.String(), "act": map[string]any{"sub": w.agent.ref.String()}},
	}, told["act"])
	offline, err := capability.VerifyLineage(t.Context(), leafToken, capability.KeySet(w.broker.Signer().JWKS()))
	require.NoError(t, err)
	require.Equal(t, l.Lineage(), offline.Agents)
	require.Equal(t, []string{l.ID, c.ID, parent.ID}, offline.Tokens)
	_, told = w.asAgent(leaf, "/acme/oauth2/introspect", token)
	require.Equal(t, inactive, told, "the parent's token is not the child's to ask about")
}

// A token of an ancestor above the parent, of a sibling, of the agent itself or of a
// stranger gives nothing; nor does one that the broker would not take elsewhere.
func TestSubjectTokens(t *testing.T) {
	w := newWorld(t)
	child := w.spawn("acme", "ag-child", "ag-1", nil, time.Hour)
	sibling := w.spawn("acme", "ag-sibling", "ag-1", nil, time.Hour)
	leaf := w.spawn("acme", "ag-leaf", "ag-child", nil, time.Hour)
	other := w.spawn("acme", "ag-other", "", nil, time.Hour)
	rival := w.spawn("rival", "ag-1", "", nil, time.Hour)
	rivalChild := w.spawn("rival", "ag-child", "ag-1", nil, time.Hour)
	root, _ := w.mint(w.agent)
	token, _ := w.exchange(child, root)
	siblings, _ := w.exchange(sibling, root)
	others, _ := w.mint(other)
	resp, doc := w.do(rival, call{path: "/rival/oauth2/token", form: w.tokenCall("authorization_details", strings.ReplaceAll(details, "acme", "rival"),
		"resource", strings.ReplaceAll(resource, "acme", "rival")).form})
	require.Equal(t, 200, resp.StatusCode, "%v", doc)
	rivals := doc["access_token"].(string)
	line := func(agents ...agentid.Ref) func(*capability.Claims) {
		return func(c *capability.Claims) {
			c.Actor, c.Context.LineageDigest, c.Context.Chain, c.Context.Attenuated = capability.NewActor(agents), capability.LineageDigest(agents), nil, nil
		}
	}
	for _, c := range []struct {
		name    string
		who     actor
		subject string
		reason  string
		message []string // the values that the description names
	}{
		{"its own", w.agent, root, "not_a_child", []string{"agent:acme/ag-1", "has no parent"}},
		{"its own, as a child", child, token, "not_a_child", []string{"agent:acme/ag-child", "agent:acme/ag-1"}},
		{"its grandparent's", leaf, root, "not_a_child", []string{"agent:acme/ag-1", "agent:acme/ag-child"}},
		{"its parent's sibling's", leaf, siblings, "not_a_child", []string{"agent:acme/ag-sibling", "agent:acme/ag-child"}},
		{"its child's", w.agent, token, "not_a_child", nil},
		{"a stranger's", child, others, "not_a_child", []string{"agent:acme/ag-other", "agent:acme/ag-1"}},
		{"another tenant's", child, rivals, "tenant_mismatch", []string{"rival", "acme"}},
		{"act spliced below another", leaf, w.forge(token, line(child.ref, other.ref)), "not_a_child", nil},
		{"act cut off", leaf, w.forge(token, line(child.ref)), "not_a_child", nil},
		{"act lengthened", leaf, w.forge(token, line(child.ref, w.agent.ref, other.ref)), "not_a_child", nil},
		{"another principal's", child, w.forge(root, func(c *capability.Claims) {
			bob := must(agentid.PrincipalRef("acme", "bob"))
			c.Subject, c.Context.Principal = bob.String(), bob
		}), "not_a_child", []string{"principal:acme/bob", "principal:acme/alice"}},
		{"of another incarnation", child, w.forge(root, func(c *capability.Claims) { c.Context.Incarnation = "before" }), "subject_token_incarnation", nil},
		{"of another broker", child, w.forge(root, func(c *capability.Claims) { c.Issuer = "https://id.example.com/acme" }), "subject_token_refused", nil},
		{"of another tenant's issuer", child, w.forge(root, func(c *capability.Claims) { c.Issuer = w.base + "/rival" }), "subject_token_issuer", nil},
		{"altered", child, root[:len(root)-6] + "AAAAAA", "subject_token_signature", nil},
		{"an assertion", child, w.assertion(w.agent, w.base+"/acme"), "subject_token_type", nil},
		{"noise", child, "abc", "subject_token_malformed", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.tb = t
			resp, doc := w.do(c.who, w.exchangeCall(c.subject))
			w.refused(resp, doc, 400, "invalid_request", c.reason)
			require.Equal(t, "subject_token", doc["field"])
			for _, value := range c.message {
				require.Contains(t, doc["error_description"], value)
			}
			require.Equal(t, c.who.ref.String(), w.audited(resp).Agent)
		})
	}
	w.tb = t
	// At the root issuer the same holds, and the right one is taken.
	at := w.exchangeCall(root)
	at.path = "/oauth2/token"
	resp, doc = w.do(child, at)
	require.Equal(t, 200, resp.StatusCode, "%v", doc)
	at = w.exchangeCall(rivals)
	at.path = "/oauth2/token"
	resp, doc = w.do(rivalChild, at)
	require.Equal(t, 200, resp.StatusCode, "%v", doc)
	resp, doc = w.do(child, at)
	w.refused(resp, doc, 400, "invalid_request", "tenant_mismatch")
}

func TestExchangeParameters(t *testing.T) {
	w := newWorld(t)
	child := w.spawn("acme", "ag-child", "ag-1", nil, time.Hour)
	root, _ := w.mint(w.agent)
	const jwt = "urn:ietf:params:oauth:token-type:jwt"
	w.exchange(child, root, "requested_token_type", exchange.TypeAccessToken)
	for _, c := range []struct{ name, parameter, value, reason, field string }{
		{"no subject token", "subject_token", "", "invalid_subject_token", "subject_token"},
		{"no type", "subject_token_type", "", "invalid_subject_token_type", "subject_token_type"},
		{"other type", "subject_token_type", jwt, "invalid_subject_token_type", "subject_token_type"},
		{"other type asked for", "requested_token_type", jwt, "invalid_requested_token_type", "requested_token_type"},
		{"actor token", "actor_token", root, "actor_token_refused", "actor_token"},
		{"type of an actor token", "actor_token_type", exchange.TypeAccessToken, "actor_token_refused", "actor_token_type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.tb = t
			resp, doc := w.do(child, w.exchangeCall(root, c.parameter, c.value))
			require.Equal(t, 400, resp.StatusCode)
			require.Equal(t, "invalid_request", doc["error"])
			require.Equal(t, c.field, doc["field"])
			if !strings.HasPrefix(c.reason, "invalid_") {
				require.Equal(t, c.reason, doc["reason"])
			}
		})
	}
	w.tb = t
	twice := w.exchangeCall(root)
	twice.form["subject_token"] = []string{root, root}
	resp, doc := w.do(child, twice)
	require.Equal(t, 400, resp.StatusCode, "%v", doc)
	require.Equal(t, "invalid_request", doc["error"])
}

// An exchange is authenticated like any other request: by the child's assertion and its
// proof, each of which is good once.
func TestExchangeNeedsTheChild(t *testing.T) {
	w := newWorld(t)
	child := w.spawn("acme", "ag-child", "ag-1", nil, time.Hour)
	root, _ := w.mint(w.agent)
	used := []string{"client_assertion_type", clientauth.AssertionType, "client_assertion", w.assertion(child, w.base+"/acme")}
	w.exchange(child, root, used...)
	resp, doc := w.do(child, w.exchangeCall(root, used...))
	w.refused(resp, doc, 401, "invalid_client", "assertion_replayed")

	bare := w.exchangeCall(root)
	bare.noProof = true
	resp, doc = w.do(child, bare)
	w.refused(resp, doc, 400, "invalid_dpop_proof", "dpop_required")
	open, _ := w.mint(w.agent, "resource", resourceBearer)
	bare = w.exchangeCall(open)
	bare.noProof = true
	resp, doc = w.do(child, bare)
	w.refused(resp, doc, 400, "invalid_dpop_proof", "dpop_required") // the parent's is bound

	// The parent's key proves nothing for the child, and the child's assertion nothing with it.
	mixed := w.exchangeCall(root, "client_assertion_type", clientauth.AssertionType, "client_assertion", w.assertion(child, w.base+"/acme"))
	resp, doc = w.do(w.agent, mixed)
	w.refused(resp, doc, 400, "invalid_dpop_proof", "dpop_key_mismatch")

	header := http.Header{}
	proofOf := w.exchangeCall(root)
	resp, _ = w.once(child, proofOf) // refreshes the nonce
	require.Equal(t, 200, resp.StatusCode)
	header.Set("DPoP", resp.Request.Header.Get("DPoP"))
	replay := w.exchangeCall(root)
	replay.header = header
	resp, doc = w.once(child, replay)
	require.Equal(t, 400, resp.StatusCode, "%v", doc)
	require.Equal(t, "invalid_dpop_proof", doc["error"])

	// A bearer parent gives a bearer child, no longer than itself.
	loose := w.tokenCall("resource", resourceBearer)
	loose.noProof = true
	resp, doc = w.do(w.agent, loose)
	require.Equal(t, 200, resp.StatusCode, "%v", doc)
	bearer := w.exchangeCall(doc["access_token"].(string))
	bearer.noProof = true
	resp, doc = w.do(child, bearer)
	require.Equal(t, 200, resp.StatusCode, "%v", doc)
	require.Equal(t, "Bearer", doc["token_type"])
}

func TestExchangeNeverWidens(t *testing.T) {
	w := newWorld(t)
	child := w.spawn("acme", "ag-child", "ag-1", nil, time.Hour)
	root, _ := w.mint(w.agent, "authorization_details", wideDetails)
	w.exchange(child, root, "authorization_details", wideDetails)
	change := func(old, replacement string) []string {
		require.Contains(t, wideDetails, old)
		return []string{"authorization_details", strings.ReplaceAll(wideDetails, old, replacement)}
	}
	const constraints = "authorization_details[0].constraints."
	for _, c := range []struct {
		name  string
		form  []string
		code  string
		field string
		both  []string
	}{
		{"operation", change(`["payments:refund"]`, `["payments:refund","payments:read_customer"]`), "", "", nil},
		{"operation alone", []string{"authorization_details", `[{"type":"agentid_capability","identifier":"payments_customer:acme/cus_123","actions":["payments:read_customer"]}]`}, "", "authorization_details[0].actions", []string{"payments:read_customer", "payments:refund"}},
		{"resource", change("cus_123", "cus_9"), "", "authorization_details[0].identifier", []string{"cus_9", "cus_123"}},
		{"account", change("payments_customer:acme/cus_123", "payments_account:acme/stripe"), "", "authorization_details[0].identifier", []string{"payments_account:acme/stripe", "cus_123"}},
		{"amount", change("4200", "4201"), "", constraints + "amount.max", []string{"4201", "4200"}},
		{"currency", change(`"usd"`, `"eur"`), "", constraints + "amount.max", []string{"usd", "eur"}},
		{"no amount", change(`"amount":{"max":4200,"currency":"usd"},`, ""), "", constraints + "amount", []string{"no limit", "4200"}},
		{"set", change(`["duplicate","fraudulent"]`, `["duplicate","requested_by_customer"]`), "", constraints + "reason.in", []string{"requested_by_customer", "fraudulent"}},
		{"later", change("2126", "2127"), "", constraints + "time.before", []string{"2127", "2126"}},
		{"earlier", change("2026", "2025"), "", constraints + "time.after", []string{"2025", "2026"}},
		{"network", change("10.0.0.0/8", "10.0.0.0/7"), "", constraints + "client_ip.within", []string{"10.0.0.0/7", "10.0.0.0/8"}},
		{"uses", change(`"uses":{"max":2}`, `"uses":{"max":3}`), "", constraints + "uses.max", []string{"3", "2"}},
		{"no uses", change(`,"uses":{"max":2}`, ""), "", constraints + "uses", []string{"no limit", "2"}},
		{"second capability", []string{"authorization_details", strings.TrimSuffix(wideDetails, "]") + "," + strings.TrimPrefix(strings.ReplaceAll(wideDetails, "4200", "9"), "[")}, "ok", "", nil},
		{"audience", []string{"resource", resourceBearer}, "invalid_target", "resource", []string{resourceBearer, resource}},
		{"scope", []string{"scope", "payments:refund payments:read_customer"}, "invalid_scope", "scope", []string{"payments:read_customer", "payments:refund"}},
		{"template", []string{"authorization_details", `[{"type":"agentid_template","template":"refund-customer","arguments":{"customer":"cus_123","max_amount":4201}}]`}, "", "", []string{"4200"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.tb = t
			resp, doc := w.do(child, w.exchangeCall(root, c.form...))
			if c.code == "ok" {
				require.Equal(t, 200, resp.StatusCode, "%v", doc)
				return
			}
			status, code := 400, c.code
			if code == "" {
				status, code = 403, "access_denied"
			}
			if c.name == "operation" { // limits that the other operation does not know are refused before
				require.GreaterOrEqual(t, resp.StatusCode, 400)
				return
			}
			w.refused(resp, doc, status, code, capability.ReasonExceeds)
			if c.field != "" {
				require.Equal(t, c.field, doc["field"])
			}
			for _, value := range c.both {
				require.Contains(t, doc["error_description"], value)
			}
		})
	}
}

// A fact is a bound that a child cannot shake off.
func TestExchangeKeepsFacts(t *testing.T) {
	w := newWorld(t)
	child := w.spawn("acme", "ag-child", "ag-1", nil, time.Hour)
	root, _ := w.mint(w.agent, "authorization_details", detail(`{"amount":{"max":4200,"currency":"usd","at_most_fact":"charge.refundable"}}`))
	resp, doc := w.do(child, w.exchangeCall(root, "authorization_details", detail(`{"amount":{"max":42,"currency":"usd"}}`)))
	w.refused(resp, doc, 403, "access_denied", capability.ReasonExceeds)
	require.Equal(t, "authorization_details[0].constraints.amount.at_most_fact", doc["field"])
	// A ceiling of the child's own narrows further, also what is not named.
	bounded := w.spawn("acme", "ag-bounded", "ag-1", json.RawMessage(`[{"type":"agentid_capability","identifier":"payments_account:acme/stripe","actions":["payments:refund"],"constraints":{"amount":{"max":7,"currency":"usd"}}}]`), time.Hour)
	_, c := w.exchange(bounded, root)
	require.Contains(t, string(must(json.Marshal(c.Capabilities))), `"max":7`)
	require.Contains(t, string(must(json.Marshal(c.Capabilities))), "charge.refundable")
}

func TestExchangeEndsWithTheParent(t *testing.T) {
	w := newWorld(t)
	child := w.spawn("acme", "ag-child", "ag-1", nil, time.Hour)
	root, _ := w.mint(w.agent)
	w.shift.Add(int64(4*time.Minute + 30*time.Second))
	_, c := w.exchange(child, root)
	require.Equal(t, w.claims(root).Expiry, c.Expiry)
	require.Less(t, c.Expiry.Sub(c.IssuedAt), 31*time.Second)
	w.shift.Add(int64(time.Minute))
	resp, doc := w.do(child, w.exchangeCall(root))
	w.refused(resp, doc, 400, "invalid_request", "subject_token_expired")
}

func TestExchangeOfWhatWasTakenAway(t *testing.T) {
	w := newWorld(t)
	child := w.spawn("acme", "ag-child", "ag-1", nil, time.Hour)
	leaf := w.spawn("acme", "ag-leaf", "ag-child", nil, time.Hour)
	root, _ := w.mint(w.agent)
	token, _ := w.exchange(child, root)
	live, _ := w.exchange(leaf, token)
	active := func(token string) any {
		_, doc := w.asService(token)
		return doc["active"]
	}
	require.Equal(t, true, active(live))

	w.remove(enabled(w.agent.ref))
	resp, doc := w.do(leaf, w.exchangeCall(token))
	w.refused(resp, doc, 400, "invalid_request", "subject_agent_not_live")
	require.Equal(t, false, active(live))
	w.touch(enabled(w.agent.ref))
	w.exchange(leaf, token)

	w.remove(enabled(leaf.ref))
	resp, doc = w.do(leaf, w.exchangeCall(token))
	w.refused(resp, doc, 403, "access_denied", "agent_not_live") // not the subject's fault
	w.touch(enabled(leaf.ref))

	// Revoking the token at the root takes all that was made from it.
	_, err := w.broker.Revoker().Revoke(t.Context(), must(agentid.TokenRef("acme", w.claims(root).ID)), "test", "test")
	require.NoError(t, err)
	for _, c := range []struct {
		who     actor
		subject string
	}{{child, root}, {leaf, token}} {
		resp, doc = w.do(c.who, w.exchangeCall(c.subject))
		w.refused(resp, doc, 400, "invalid_request", "subject_token_revoked")
	}
	require.Equal(t, false, active(token))
	require.Equal(t, false, active(live))
	again, _ := w.mint(w.agent)
	w.exchange(child, again)
}

// What a parent hands down stays below the parent, also to a child with rights of its own.
func TestExchangeOfAnIndependentChild(t *testing.T) {
	w := newWorld(t)
	child := w.spawnAs(ledger.Independent, "acme", "ag-own", "ag-1", nil, time.Hour)
	root, _ := w.mint(w.agent)
	token, c := w.exchange(child, root)
	require.Equal(t, []agentid.Ref{w.agent.ref}, c.Context.Attenuated)
	_, alone := w.mint(child)
	require.Len(t, alone["authorization_details"], 1)
	require.Empty(t, w.claims(alone["access_token"].(string)).Context.Attenuated)
	grandchild := w.spawn("acme", "ag-below", "ag-own", nil, time.Hour)
	_, c = w.exchange(grandchild, token)
	require.Equal(t, []agentid.Ref{child.ref, w.agent.ref}, c.Context.Attenuated, "the subject's bounds stay")

	// Authority of its own does not reach what a bounded parent handed down.
	_, _, err := w.ledger.PutAgentType(t.Context(), ledger.AgentType{Ref: must(agentid.AgentTypeRef("acme", "refund-agent")), OwnAuthority: true})
	require.NoError(t, err)
	own, _ := w.mint(w.agent)
	_, c = w.exchange(child, own)
	require.True(t, c.Context.OwnAuthority)
	_, c = w.exchange(child, w.forge(own, func(c *capability.Claims) { c.Context.OwnAuthority = false }))
	require.False(t, c.Context.OwnAuthority)
}

// hook stands between policy and the graph: it tells a test of every question.
type hook struct {
	policy.Checker
	asked func(atLeast agentid.Zookie)
}

func (h *hook) CheckBulk(ctx context.Context, atLeast agentid.Zookie, checks []policy.Check) (agentid.Zookie, []policy.Answer, error) {
	at, answers, err := h.Checker.CheckBulk(ctx, atLeast, checks)
	if h.asked != nil {
		h.asked(atLeast)
	}
	return at, answers, err
}

// A subject token that is revoked while the child's is being made gives nothing: every
// decision asks for the chain, at a revision that is no older than the subject's.
func TestSubjectTokenRevokedInBetween(t *testing.T) {
	h := &hook{}
	w := newWorld(t, func(cfg *server.Config) { cfg.Decider = must(policy.New(policy.Config{Checker: h, Now: cfg.Now})) })
	h.Checker = w.engine.Checker()
	child := w.spawn("acme", "ag-child", "ag-1", nil, time.Hour)
	root, _ := w.mint(w.agent)
	var asked []agentid.Zookie
	h.asked = func(atLeast agentid.Zookie) { asked = append(asked, atLeast) }
	w.exchange(child, root)
	zookie := w.claims(root).Context.Zookie
	require.Equal(t, []agentid.Zookie{zookie, zookie}, asked, "whether the subject lives, and the one operation")

	h.asked = func(agentid.Zookie) {
		h.asked = nil
		_, err := w.broker.Revoker().Revoke(t.Context(), must(agentid.TokenRef("acme", w.claims(root).ID)), "test", "test")
		require.NoError(t, err)
	}
	resp, doc := w.do(child, w.exchangeCall(root))
	w.refused(resp, doc, 400, "invalid_request", "subject_token_revoked")
	require.Nil(t, h.asked)
}

// The deepest chain that there can be fits into a token, and a step more is refused.
func TestExchangeDownToTheLimit(t *testing.T) {
	w := newWorld(t)
	token, _ := w.mint(w.agent, "authorization_details", wideDetails)
	parent := "ag-1"
	var leaf actor
	for i := range 32 {
		name := fmt.Sprintf("agent-of-depth-%02d-named-at-length", i+1)
		leaf = w.spawn("acme", name, parent, nil, time.Hour)
		token, _ = w.exchange(leaf, token)
		parent = name
	}
	c := w.claims(token)
	require.Len(t, c.Lineage(), capability.MaxLineage)
	require.Len(t, c.Context.Chain, 32)
	require.Len(t, c.Counts(c.Capabilities[0]), 33)
	require.Less(t, len(token), capability.MaxTokenBytes)
	t.Logf("a token at depth 32 has %d bytes", len(token))
	_, doc := w.asService(token)
	require.Len(t, doc["lineage"], 33)

	_, _, err := w.ledger.PutAgent(context.Background(), ledger.Agent{
		Ref: must(agentid.AgentRef("acme", "too-deep")), Type: must(agentid.AgentTypeRef("acme", "refund-agent")),
		Principal: must(agentid.PrincipalRef("acme", "alice")), Parent: leaf.ref, PublicKey: publicKey(t), Expires: time.Now().Add(time.Minute),
	})
	require.Error(t, err)
}

func publicKey(t *testing.T) json.RawMessage {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return must(json.Marshal(jose.JSONWebKey{Key: public}))
}

// Removing the grant of the parent's type reaches a child at issuance too.
func TestExchangeAsksTheParentsRights(t *testing.T) {
	w := newWorld(t)
	child := w.spawn("acme", "ag-child", "ag-1", nil, time.Hour)
	root, _ := w.mint(w.agent)
	w.exchange(child, root)
	// The parent alone is an instance of its type no more.
	instance := relate.Edge{Resource: must(agentid.AgentTypeRef("acme", "refund-agent")), Relation: schema.AgentTypeInstance, Subject: relate.To(w.agent.ref)}
	w.remove(instance)
	resp, doc := w.do(child, w.exchangeCall(root))
	w.refused(resp, doc, 403, "access_denied", "policy_denied")
	w.touch(instance)
	w.exchange(child, root)
}
