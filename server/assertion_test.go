package server_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/capability/clientauth"
)

// rawAssertion signs any claims under any header with the agent's key.
func (w *world) rawAssertion(a actor, header, claims map[string]any) string {
	w.tb.Helper()
	enc := base64.RawURLEncoding.EncodeToString
	text := enc(must(json.Marshal(header))) + "." + enc(must(json.Marshal(claims)))
	private, ok := a.key.Key.(ed25519.PrivateKey)
	require.True(w.tb, ok)
	return text + "." + enc(must(private.Sign(nil, []byte(text), crypto.Hash(0))))
}

func (w *world) goodClaims(a actor, issuer string) map[string]any {
	now := w.now().Unix()
	return map[string]any{
		"iss": a.ref.String(), "sub": a.ref.String(), "aud": issuer, "jti": rand.Text(), "iat": now, "exp": now + 60,
	}
}

func TestClientAssertions(t *testing.T) {
	w := newWorld(t)
	issuer := w.base + "/acme"
	eddsa := map[string]any{"alg": "EdDSA"}
	now := w.now().Unix()
	w.mint(w.agent) // learns a nonce
	for _, c := range []struct {
		name   string
		header map[string]any
		change map[string]any // nil value: the claim is left out
		reason string         // "": accepted
	}{
		{name: "no typ"},
		{name: "explicit type", header: map[string]any{"alg": "EdDSA", "typ": "client-authentication+jwt"}},
		{name: "audience as a list of one", change: map[string]any{"aud": []string{issuer}}},
		{name: "8 seconds in the future is accepted", change: map[string]any{"iat": now + 8, "nbf": now + 8}},
		{name: "without iat", change: map[string]any{"iat": nil}},

		{name: "token endpoint as audience fails", change: map[string]any{"aud": issuer + "/oauth2/token"}, reason: "client_assertion_audience"},
		{name: "token endpoint as array audience fails", change: map[string]any{"aud": []string{issuer + "/oauth2/token"}}, reason: "client_assertion_audience"},
		{name: "another endpoint as array audience fails", change: map[string]any{"aud": []string{issuer + "/oauth2/par"}}, reason: "client_assertion_audience"},
		{name: "issuer and another audience", change: map[string]any{"aud": []string{issuer, "https://other.example"}}, reason: "client_assertion_audience"},
		{name: "root issuer at a tenant's endpoint", change: map[string]any{"aud": w.base}, reason: "client_assertion_audience"},
		{name: "trailing slash", change: map[string]any{"aud": issuer + "/"}, reason: "client_assertion_audience"},
		{name: "upper case", change: map[string]any{"aud": strings.ToUpper(issuer)}, reason: "client_assertion_audience"},
		{name: "no audience", change: map[string]any{"aud": nil}, reason: "client_assertion_audience"},
		{name: "empty audience list", change: map[string]any{"aud": []string{}}, reason: "client_assertion_audience"},
		{name: "no sub", change: map[string]any{"sub": nil}, reason: "client_assertion_client"},
		{name: "no iss", change: map[string]any{"iss": nil}, reason: "client_assertion_client"},
		{name: "sub is another", change: map[string]any{"sub": "agent:acme/ag-2"}, reason: "client_assertion_client"},
		{name: "exp is 5 minutes in the past", change: map[string]any{"exp": now - 300}, reason: "client_assertion_expired"},
		{name: "iat and nbf over 60 seconds in the future", change: map[string]any{"iat": now + 65, "nbf": now + 65, "exp": now + 120}, reason: "client_assertion_expired"},
		{name: "exp a day ahead", change: map[string]any{"exp": now + 86400}, reason: "client_assertion_expired"},
		{name: "no exp", change: map[string]any{"exp": nil}, reason: "client_assertion_malformed"},
		{name: "exp is a string", change: map[string]any{"exp": "9999999999"}, reason: "client_assertion_malformed"},
		{name: "exp is a fraction", change: map[string]any{"exp": 1.5}, reason: "client_assertion_malformed"},
		{name: "no jti", change: map[string]any{"jti": nil}, reason: "client_assertion_malformed"},
		{name: "alg none", header: map[string]any{"alg": "none"}, reason: "client_assertion_malformed"},
		{name: "alg NoNe", header: map[string]any{"alg": "NoNe"}, reason: "client_assertion_malformed"},
		{name: "alg of another family", header: map[string]any{"alg": "ES256"}, reason: "client_not_authenticated"},
		{name: "jku", header: map[string]any{"alg": "EdDSA", "jku": "https://evil.example/jwks"}, reason: "client_assertion_malformed"},
		{name: "x5u", header: map[string]any{"alg": "EdDSA", "x5u": "https://evil.example/cert"}, reason: "client_assertion_malformed"},
		{name: "embedded key", header: map[string]any{"alg": "EdDSA", "jwk": map[string]any{"kty": "OKP"}}, reason: "client_assertion_malformed"},
		{name: "crit", header: map[string]any{"alg": "EdDSA", "crit": []string{"x"}, "x": 1}, reason: "client_assertion_malformed"},
		{name: "b64 false", header: map[string]any{"alg": "EdDSA", "b64": false}, reason: "client_assertion_malformed"},
		{name: "zip", header: map[string]any{"alg": "EdDSA", "zip": "DEF"}, reason: "client_assertion_malformed"},
		{name: "kid path", header: map[string]any{"alg": "EdDSA", "kid": "../../dev/null"}, reason: "client_not_authenticated"},
		{name: "kid of 10 kB", header: map[string]any{"alg": "EdDSA", "kid": strings.Repeat("k", 10_000)}, reason: "client_assertion_malformed"},
		{name: "an access token's type", header: map[string]any{"alg": "EdDSA", "typ": "at+jwt"}, reason: "client_assertion_malformed"},
		{name: "a proof's type", header: map[string]any{"alg": "EdDSA", "typ": "dpop+jwt"}, reason: "client_assertion_malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.tb = t
			header, claims := c.header, w.goodClaims(w.agent, issuer)
			if header == nil {
				header = eddsa
			}
			for name, value := range c.change {
				claims[name] = value
				if value == nil {
					delete(claims, name)
				}
			}
			resp, doc := w.do(w.agent, w.tokenCall(
				"client_assertion_type", clientauth.AssertionType, "client_assertion", w.rawAssertion(w.agent, header, claims)))
			if c.reason == "" {
				require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
				return
			}
			w.refused(resp, doc, 401, "invalid_client", c.reason)
			require.Contains(t, resp.Header.Get("WWW-Authenticate"), `error="invalid_client"`)
		})
	}
	w.tb = t
}

func TestClientAssertionIsUsedOnce(t *testing.T) {
	w := newWorld(t)
	w.mint(w.agent)
	used := []string{"client_assertion_type", clientauth.AssertionType, "client_assertion", w.assertion(w.agent, w.base+"/acme")}
	w.mint(w.agent, used...)
	resp, doc := w.do(w.agent, w.tokenCall(used...))
	w.refused(resp, doc, 401, "invalid_client", "assertion_replayed")

	// A refused request uses its assertion up too.
	used[3] = w.assertion(w.agent, w.base+"/acme")
	resp, doc = w.do(w.agent, w.tokenCall(append([]string{"scope", "payments:other"}, used...)...))
	w.refused(resp, doc, 400, "invalid_scope", "scope_not_granted")
	resp, doc = w.do(w.agent, w.tokenCall(used...))
	w.refused(resp, doc, 401, "invalid_client", "assertion_replayed")

	// At another endpoint as well.
	used[3] = w.assertion(w.agent, w.base+"/acme")
	w.mint(w.agent, used...)
	c := w.tokenCall(used...)
	c.path = "/acme/oauth2/introspect"
	c.form.Set("token", "x")
	resp, doc = w.do(w.agent, c)
	require.Equal(t, 401, resp.StatusCode, "%v", doc)
	require.Equal(t, "assertion_replayed", doc["reason"])
}

func TestClientIsNotWhoItSays(t *testing.T) {
	w := newWorld(t)
	w.mint(w.agent)
	rival := w.spawn("rival", "ag-1", "", nil, time.Hour)
	_, other, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	stolen := actor{ref: w.agent.ref, key: jose.SigningKey{Algorithm: jose.EdDSA, Key: other}}
	stranger := actor{ref: must(parseAgent("agent:acme/nobody")), key: stolen.key}
	retired := w.spawn("acme", "ag-retired", "", nil, time.Hour)
	require.NoError(t, w.ledger.RetireAgent(t.Context(), retired.ref))

	var bodies []map[string]any
	for name, a := range map[string]actor{"wrong key": stolen, "unknown agent": stranger, "another tenant's agent": rival, "retired": retired} {
		resp, doc := w.do(a, w.tokenCall())
		w.refused(resp, doc, 401, "invalid_client", "client_not_authenticated")
		require.Empty(t, w.audited(resp).Agent, name)
		delete(doc, "request_id")
		bodies = append(bodies, doc)
	}
	for _, b := range bodies {
		require.Equal(t, bodies[0], b, "who exists cannot be told apart")
	}
	// The rival's agent is fine at home.
	c := w.tokenCall("authorization_details", strings.ReplaceAll(details, "acme", "rival"), "resource", strings.ReplaceAll(resource, "acme", "rival"))
	c.path = "/rival/oauth2/token"
	resp, doc := w.do(rival, c)
	require.Equal(t, 200, resp.StatusCode, "%v", doc)
	// The root issuer serves every tenant, under its own name.
	c = w.tokenCall()
	c.path = "/oauth2/token"
	resp, doc = w.do(w.agent, c)
	require.Equal(t, 200, resp.StatusCode, "%v", doc)
	require.Equal(t, w.base, w.claims(doc["access_token"].(string)).Issuer)
}

func TestHMACWithThePublicKeyIsRefused(t *testing.T) {
	w := newWorld(t)
	w.mint(w.agent)
	private, ok := w.agent.key.Key.(ed25519.PrivateKey)
	require.True(t, ok)
	enc := base64.RawURLEncoding.EncodeToString
	text := enc([]byte(`{"alg":"HS256"}`)) + "." + enc(must(json.Marshal(w.goodClaims(w.agent, w.base+"/acme"))))
	mac := hmac.New(sha256.New, private.Public().(ed25519.PublicKey))
	_, _ = mac.Write([]byte(text))
	resp, doc := w.do(w.agent, w.tokenCall("client_assertion_type", clientauth.AssertionType, "client_assertion", text+"."+enc(mac.Sum(nil))))
	w.refused(resp, doc, 401, "invalid_client", "client_assertion_malformed")
}

func TestMalformedAssertionsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.mint(w.agent)
	for name, text := range map[string]string{
		"dots": strings.Repeat(".", 60_000), "oversized": strings.Repeat("a", 40_000) + ".b.c",
		"JSON serialisation": `{"payload":"e30","signatures":[]}`, "five parts": "a.b.c.d.e", "empty parts": "..",
	} {
		resp, doc := w.do(w.agent, w.tokenCall("client_assertion_type", clientauth.AssertionType, "client_assertion", text))
		require.Equal(t, 401, resp.StatusCode, "%s: %v", name, doc)
		w.refused(resp, doc, 401, "invalid_client", "client_assertion_malformed")
	}
	resp, doc := w.do(w.agent, w.tokenCall("client_assertion_type", clientauth.AssertionType, "client_assertion", strings.Repeat("a", 70_000)))
	w.refused(resp, doc, 413, "invalid_request", "body_too_large")
}

func TestOneWayOfAuthentication(t *testing.T) {
	w := newWorld(t)
	w.mint(w.agent)
	basic := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("agent%3Aacme%2Fag-1:secret"))}}
	nobody := actor{}
	for _, c := range []struct {
		name   string
		who    actor
		form   []string
		header http.Header
		status int
		code   string
		reason string
	}{
		{"none", nobody, nil, nil, 401, "invalid_client", "credential_missing"},
		{"assertion and Basic", w.agent, nil, basic, 400, "invalid_request", "credential_ambiguous"},
		{"assertion and secret", w.agent, []string{"client_secret", "x"}, nil, 400, "invalid_request", "credential_ambiguous"},
		{"two Authorization headers", nobody, nil, http.Header{"Authorization": {basic.Get("Authorization"), basic.Get("Authorization")}}, 400, "invalid_request", "credential_ambiguous"},
		{"Basic at the token endpoint", nobody, nil, basic, 401, "invalid_client", "credential_method"},
		{"client_secret_post", nobody, []string{"client_secret", "x", "client_id", "agent:acme/ag-1"}, nil, 401, "invalid_client", "credential_method"},
		{"Bearer", nobody, nil, http.Header{"Authorization": {"Bearer x"}}, 401, "invalid_client", "credential_method"},
		{"type without assertion", nobody, []string{"client_assertion_type", clientauth.AssertionType}, nil, 400, "invalid_request", "invalid_request"},
		{"assertion of another type", nobody, []string{"client_assertion", "x", "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}, nil, 400, "invalid_request", "invalid_request"},
		{"client_id of another", w.agent, []string{"client_id", "agent:acme/ag-2"}, nil, 401, "invalid_client", "client_assertion_client"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.tb = t
			call := w.tokenCall(c.form...)
			call.header = c.header
			resp, doc := w.do(c.who, call)
			w.refused(resp, doc, c.status, c.code, c.reason)
		})
	}
	w.tb = t
	w.mint(w.agent, "client_id", "agent:acme/ag-1")
}
