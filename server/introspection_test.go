package server_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
)

// inactive is all that may be said of a token that is not good, or not the caller's.
var inactive = map[string]any{"active": false}

func basic(id string, secret agentid.Secret) http.Header {
	text := url.QueryEscape(id) + ":" + url.QueryEscape(secret.Reveal())
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(text))}}
}

// asService introspects as acme's Stripe service.
func (w *world) asService(token string) (*http.Response, map[string]any) {
	w.tb.Helper()
	return w.post("/acme/oauth2/introspect", url.Values{"token": {token}}, basic("connector:acme/stripe", w.secret))
}

func (w *world) asAgent(a actor, path, token string) (*http.Response, map[string]any) {
	w.tb.Helper()
	return w.do(a, call{path: path, form: url.Values{"token": {token}}})
}

func TestIntrospectionOfAGoodToken(t *testing.T) {
	w := newWorld(t)
	token, _ := w.mint(w.agent)
	c := w.claims(token)
	resp, doc := w.asService(token)
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
	require.Equal(t, true, doc["active"])
	require.Equal(t, "payments:refund", doc["scope"])
	require.Equal(t, "agent:acme/ag-1", doc["client_id"])
	require.Equal(t, "principal:acme/alice", doc["sub"])
	require.Equal(t, "DPoP", doc["token_type"])
	require.Equal(t, resource, doc["aud"])
	require.Equal(t, w.base+"/acme", doc["iss"])
	require.Equal(t, c.ID, doc["jti"])
	require.InDelta(t, c.Expiry.Unix(), doc["exp"], 0)
	require.Equal(t, map[string]any{"sub": "agent:acme/ag-1"}, doc["act"])
	require.Equal(t, map[string]any{"jkt": c.Confirmation.JKT}, doc["cnf"])
	require.Len(t, doc["authorization_details"], 1)

	_, own := w.asAgent(w.agent, "/acme/oauth2/introspect", token)
	require.Equal(t, doc, own)
	_, root := w.asAgent(w.agent, "/oauth2/introspect", token)
	require.Equal(t, doc, root)
	// A client that does not encode the ':' of its id is understood.
	raw := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("connector:acme/stripe:"+w.secret.Reveal()))}}
	_, doc = w.post("/acme/oauth2/introspect", url.Values{"token": {token}}, raw)
	require.Equal(t, true, doc["active"])
}

func TestIntrospectionTellsNothingElse(t *testing.T) {
	w := newWorld(t)
	token, _ := w.mint(w.agent)
	other := w.spawn("acme", "ag-2", "", nil, time.Hour)
	rival := w.spawn("rival", "ag-1", "", nil, time.Hour)
	_, rivalSecret, err := w.ledger.AddClientSecret(t.Context(), must(agentid.ConnectorRef("rival", "stripe")))
	require.NoError(t, err)
	_, openSecret, err := w.ledger.AddClientSecret(t.Context(), must(agentid.ConnectorRef("acme", "open")))
	require.NoError(t, err)
	form := url.Values{"token": {token}}
	parts := strings.Split(token, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`))
	for name, ask := range map[string]func() (*http.Response, map[string]any){
		"another agent of the tenant": func() (*http.Response, map[string]any) { return w.asAgent(other, "/acme/oauth2/introspect", token) },
		"another tenant's agent":      func() (*http.Response, map[string]any) { return w.asAgent(rival, "/rival/oauth2/introspect", token) },
		"the same at the root":        func() (*http.Response, map[string]any) { return w.asAgent(rival, "/oauth2/introspect", token) },
		"another tenant's connector": func() (*http.Response, map[string]any) {
			return w.post("/rival/oauth2/introspect", form, basic("connector:rival/stripe", rivalSecret))
		},
		"another connector of ours": func() (*http.Response, map[string]any) {
			return w.post("/acme/oauth2/introspect", form, basic("connector:acme/open", openSecret))
		},
		"garbage":                      func() (*http.Response, map[string]any) { return w.asService("garbage") },
		"a token without a signature":  func() (*http.Response, map[string]any) { return w.asService(parts[0] + "." + parts[1] + ".AAAA") },
		"alg none":                     func() (*http.Response, map[string]any) { return w.asService(none + "." + parts[1] + ".") },
		"the agent's client assertion": func() (*http.Response, map[string]any) { return w.asService(w.assertion(w.agent, w.base+"/acme")) },
	} {
		t.Run(name, func(t *testing.T) {
			w.tb = t
			resp, doc := ask()
			require.Equal(t, 200, resp.StatusCode, "%v", doc)
			require.Equal(t, inactive, doc)
		})
	}
	w.tb = t
	_, doc := w.asService(token)
	require.Equal(t, true, doc["active"])
}

func TestIntrospectionIsLive(t *testing.T) {
	w := newWorld(t)
	token, _ := w.mint(w.agent)
	edge := relate.Edge{Resource: must(agentid.TenantRef("acme")), Relation: schema.TenantEnabled, Subject: relate.All(schema.TypeAgent)}
	for _, e := range []relate.Edge{enabled(w.agent.ref), edge} {
		w.remove(e)
		_, doc := w.asService(token)
		require.Equal(t, inactive, doc)
		w.touch(e)
		_, doc = w.asService(token)
		require.Equal(t, true, doc["active"], "unfrozen")
	}
	w.shift.Add(int64(5*time.Minute + time.Second))
	_, doc := w.asService(token)
	require.Equal(t, inactive, doc, "expired")
}

func TestIntrospectionAfterARestore(t *testing.T) {
	w := newWorld(t)
	token, _ := w.mint(w.agent)
	_, err := w.ledger.StartIncarnation(t.Context())
	require.NoError(t, err)
	require.NoError(t, w.broker.Fleet().Reload(t.Context()))
	_, doc := w.asService(token)
	require.Equal(t, inactive, doc)
	token, _ = w.mint(w.agent)
	_, doc = w.asService(token)
	require.Equal(t, true, doc["active"])
}

func TestIntrospectionRefusesStrangers(t *testing.T) {
	w := newWorld(t)
	token, _ := w.mint(w.agent)
	form := url.Values{"token": {token}}
	for _, c := range []struct {
		name   string
		header http.Header
		form   url.Values
		status int
		code   string
		reason string
	}{
		{"nobody", nil, form, 401, "invalid_client", "credential_missing"},
		{"wrong secret", basic("connector:acme/stripe", agentid.NewSecret("guess")), form, 401, "invalid_client", "client_not_authenticated"},
		{"another's secret", basic("connector:acme/open", w.secret), form, 401, "invalid_client", "client_not_authenticated"},
		{"unknown connector", basic("connector:acme/nothing", w.secret), form, 401, "invalid_client", "client_not_authenticated"},
		{"another tenant's connector", basic("connector:rival/stripe", w.secret), form, 401, "invalid_client", "client_not_authenticated"},
		{"an agent's id", basic("agent:acme/ag-1", w.secret), form, 401, "invalid_client", "client_not_authenticated"},
		{"not base64", http.Header{"Authorization": {"Basic ???"}}, form, 401, "invalid_client", "credential_malformed"},
		{"no colon", http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("connector"))}}, form, 401, "invalid_client", "credential_malformed"},
		{"the token as credential", http.Header{"Authorization": {"Bearer " + token}}, form, 401, "invalid_client", "credential_method"},
		{"Basic and an assertion", basic("connector:acme/stripe", w.secret), url.Values{"token": {token}, "client_assertion": {"x"}}, 400, "invalid_request", "credential_ambiguous"},
		{"no token", basic("connector:acme/stripe", w.secret), url.Values{}, 400, "invalid_request", "invalid_request"},
		{"two tokens", basic("connector:acme/stripe", w.secret), url.Values{"token": {token, token}}, 400, "invalid_request", "parameter_repeated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.tb = t
			resp, doc := w.post("/acme/oauth2/introspect", c.form, c.header)
			w.refused(resp, doc, c.status, c.code, c.reason)
			if c.status == 401 {
				require.True(t, strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Basic "))
			}
		})
	}
	w.tb = t
}

func TestIntrospectionDuringAnOutage(t *testing.T) {
	w := newWorld(t)
	token, _ := w.mint(w.agent)
	require.NoError(t, w.engine.Close())
	require.NoError(t, w.store.Close())
	resp, doc := w.asService(token)
	w.refused(resp, doc, 503, "temporarily_unavailable", "graph_unavailable")
}

func TestSignedIntrospection(t *testing.T) {
	w := newWorld(t)
	token, _ := w.mint(w.agent)
	_, plain := w.asService(token)
	header := basic("connector:acme/stripe", w.secret)
	header.Set("Accept", "text/html, application/token-introspection+jwt")
	ask := func(token string) map[string]any {
		resp, doc := w.post("/acme/oauth2/introspect", url.Values{"token": {token}}, header.Clone())
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, "application/token-introspection+jwt", resp.Header.Get("Content-Type"))
		compact, _ := doc[""].(string)
		parsed, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.EdDSA})
		require.NoError(t, err)
		require.Equal(t, "token-introspection+jwt", parsed.Signatures[0].Protected.ExtraHeaders[jose.HeaderType])
		key, err := w.broker.Signer().Key(parsed.Signatures[0].Header.KeyID)
		require.NoError(t, err)
		payload, err := parsed.Verify(key)
		require.NoError(t, err)
		var claims map[string]any
		require.NoError(t, json.Unmarshal(payload, &claims))
		require.Equal(t, w.base+"/acme", claims["iss"])
		require.Equal(t, "connector:acme/stripe", claims["aud"])
		require.NotContains(t, claims, "sub")
		require.NotContains(t, claims, "exp")
		answer, _ := claims["token_introspection"].(map[string]any)
		return answer
	}
	require.Equal(t, plain, ask(token))
	require.Equal(t, inactive, ask("garbage"))

	header.Set("Accept", "application/token-introspection+jwt;q=0, application/json")
	resp, _ := w.post("/acme/oauth2/introspect", url.Values{"token": {token}}, header)
	require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
}

// A signed answer is no access token.
func TestSignedIntrospectionIsNoToken(t *testing.T) {
	w := newWorld(t)
	token, _ := w.mint(w.agent)
	header := basic("connector:acme/stripe", w.secret)
	header.Set("Accept", "application/token-introspection+jwt")
	_, doc := w.post("/acme/oauth2/introspect", url.Values{"token": {token}}, header)
	_, doc = w.asService(doc[""].(string))
	require.Equal(t, inactive, doc)
}
