package server_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/server/ledger"
)

func TestLogin(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	got := p.code(w.browser())
	require.Equal(t, "st&te", got.Get("state"))
	require.Equal(t, w.base+"/acme", got.Get("iss"), "RFC 9207")
	resp, doc := w.people("authorization_code", "code", got.Get("code"), "redirect_uri", cliURI, "code_verifier", verifier)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
	require.Equal(t, "Bearer", doc["token_type"])
	ref := w.principal(doc["access_token"].(string))
	known, err := w.ledger.PrincipalBySubject(t.Context(), "acme", p.server.URL, "u-1")
	require.NoError(t, err)
	require.Equal(t, known.Ref, ref)
	require.Equal(t, "Alice", known.Display)
	require.Equal(t, ref, w.principal(p.login().access), "the second sign-in finds the same principal")

	resp, doc = w.ask("", http.MethodGet, "/self", nil)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode, "%v", doc)
	resp, _ = w.ask(doc["reason"].(string), http.MethodGet, "/self", nil)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
}

func TestMetadataSaysHowPeopleComeIn(t *testing.T) {
	w := newWorld(t)
	get := func() map[string]any {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.base+"/.well-known/oauth-authorization-server/acme", nil)
		require.NoError(t, err)
		_, doc := w.send(req)
		return doc
	}
	require.NotContains(t, get(), "authorization_endpoint", "nobody comes in before a provider is set")
	newProvider(w)
	doc := get()
	require.Equal(t, w.base+"/acme/oauth2/authorize", doc["authorization_endpoint"])
	require.Equal(t, w.base+"/acme/oauth2/device_authorization", doc["device_authorization_endpoint"])
	require.Equal(t, []any{"S256"}, doc["code_challenge_methods_supported"])
	require.Equal(t, []any{"code"}, doc["response_types_supported"])
	require.Equal(t, true, doc["authorization_response_iss_parameter_supported"])
	require.Contains(t, doc["grant_types_supported"], "refresh_token")
}

// ATTACKS: code without PKCE, verifier without challenge, plain.
func TestAuthorizationWithoutPKCEIsRefused(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	for name, pairs := range map[string][]string{
		"no challenge":                        {"code_challenge", "", "code_challenge_method", ""},
		"plain":                               {"code_challenge", verifier, "code_challenge_method", "plain"},
		"no method, which means plain":        {"code_challenge_method", ""},
		"a challenge that is no SHA-256":      {"code_challenge", "short"},
		"another response type":               {"response_type", "token"},
		"a resource that is not this issuer":  {"resource", "https://other.example"},
		"a request object, which is not read": {"request", "e30.e30."},
	} {
		t.Run(name, func(t *testing.T) {
			status, location, _ := w.browser().get(w.authorizeURL(pairs...))
			require.Equal(t, http.StatusSeeOther, status)
			u, err := url.Parse(location)
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(location, cliURI+"?"))
			require.NotEmpty(t, u.Query().Get("error"))
			require.Equal(t, "st&te", u.Query().Get("state"))
			require.Equal(t, w.base+"/acme", u.Query().Get("iss"))
			require.Empty(t, u.Query().Get("code"))
		})
	}
	for name, sent := range map[string]string{"no verifier": "", "another verifier": strings.Repeat("b", 43), "the challenge as verifier": challengeOf(verifier), "too short": "a"} {
		t.Run(name, func(t *testing.T) {
			code := p.code(w.browser()).Get("code")
			resp, doc := w.people("authorization_code", "code", code, "redirect_uri", cliURI, "code_verifier", sent)
			require.Equal(t, http.StatusBadRequest, resp.StatusCode)
			require.Equal(t, "invalid_grant", doc["error"])
			resp, doc = w.people("authorization_code", "code", code, "redirect_uri", cliURI, "code_verifier", verifier)
			require.Equal(t, "invalid_grant", doc["error"], "a code that was tried wrongly is spent")
			require.Equal(t, http.StatusBadRequest, resp.StatusCode)
		})
	}
}

// ATTACKS: redirect_uri with dot segments, user, port, fragment.
func TestRedirectURIIsMatchedExactly(t *testing.T) {
	w := newWorld(t)
	newProvider(w)
	_, _, err := w.ledger.PutLoginClient(t.Context(), ledger.LoginClient{Tenant: "acme", Name: "console", RedirectURIs: []string{"https://good.example/cb"}})
	require.NoError(t, err)
	for uri, client := range map[string]string{
		"https://good.example/cb":          "console",
		"http://127.0.0.1:1/callback":      ledger.LoginCLI,
		"http://[::1]:65535/callback":      ledger.LoginCLI,
		"http://127.0.0.1:49153/callback":  ledger.LoginCLI,
		"!https://good.example/cb/../evil": "console", "!https://good.example/cb/": "console", "!https://good.example/cb?x=1": "console",
		"!https://good.example@evil.example/cb": "console", "!https://good.example:443/cb": "console", "!https://good.example/cb#f": "console",
		"!HTTPS://good.example/cb": "console", "!https://GOOD.example/cb": "console", "!": "console", "!http://127.0.0.1:1/callback": "console",
		"!http://localhost:1/callback": ledger.LoginCLI, "!http://127.0.0.1:1/callback/": ledger.LoginCLI, "!http://127.0.0.1/callback": ledger.LoginCLI,
		"!http://127.0.0.1:65536/callback": ledger.LoginCLI, "!http://127.0.0.1:1@evil.example/callback": ledger.LoginCLI,
		"!https://127.0.0.1:1/callback": ledger.LoginCLI, "!http://127.0.0.1:1/callback?x=1": ledger.LoginCLI, "!http://127.0.0.1.evil.example:1/callback": ledger.LoginCLI,
		"!http://127.0.0.1:01/callback": ledger.LoginCLI, "!https://good.example/cb%00": "console",
	} {
		want, refused := strings.CutPrefix(uri, "!")
		status, location, page := w.browser().get(w.authorizeURL("client_id", client, "redirect_uri", want))
		require.Empty(t, location, "nothing is sent to %q", want)
		if refused {
			require.Equal(t, http.StatusBadRequest, status, want)
		} else {
			require.Equal(t, http.StatusOK, status, want+page)
		}
	}
	status, location, _ := w.browser().get(w.authorizeURL("client_id", "nobody"))
	require.Equal(t, http.StatusUnauthorized, status)
	require.Empty(t, location)
	status, _, _ = w.browser().get(w.authorizeURL() + "&client_id=console")
	require.Equal(t, http.StatusBadRequest, status, "a parameter twice")
}

// ATTACKS: mix-up, iss missing or another in the response.
func TestMixUp(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	p.set(func() { p.sendIss = true })
	for name, iss := range map[string]string{"another": "https://evil.example", "missing though announced": "", "with a slash": p.server.URL + "/"} {
		t.Run(name, func(t *testing.T) {
			b := w.browser()
			_, _, page := b.get(w.authorizeURL())
			asked := p.asked
			status, location, text := b.get(p.answerURL(b.toProvider(page), "iss", iss))
			require.Equal(t, http.StatusUnauthorized, status, text)
			require.Empty(t, location)
			require.Equal(t, asked, p.asked, "the code was sent nowhere")
		})
	}
	require.NotEmpty(t, p.code(w.browser()).Get("code"))
}

// ATTACKS: code bound to another client_id.
func TestCodeOfAnotherClient(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	_, _, err := w.ledger.PutLoginClient(t.Context(), ledger.LoginClient{Tenant: "acme", Name: "console", RedirectURIs: []string{cliURI}})
	require.NoError(t, err)
	for name, pairs := range map[string][]string{
		"another client":       {"client_id", "console"},
		"another redirect URI": {"redirect_uri", "http://127.0.0.1:49153/callback"},
		"no redirect URI":      {"redirect_uri", ""},
	} {
		t.Run(name, func(t *testing.T) {
			all := append([]string{"code", p.code(w.browser()).Get("code"), "redirect_uri", cliURI, "code_verifier", verifier}, pairs...)
			resp, doc := w.people("authorization_code", all...)
			require.Equal(t, http.StatusBadRequest, resp.StatusCode, "%v", doc)
			require.Equal(t, "invalid_grant", doc["error"])
		})
	}
	resp, doc := w.people("authorization_code", "code", p.code(w.browser()).Get("code"), "client_id", "nobody")
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Equal(t, "invalid_client", doc["error"])
	resp, doc = w.post("/rival/oauth2/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {ledger.LoginCLI}, "code": {p.code(w.browser()).Get("code")},
		"redirect_uri": {cliURI}, "code_verifier": {verifier},
	}, nil)
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	require.Equal(t, "invalid_grant", doc["error"], "another tenant's code does not exist")
}

// A code is used once; a second use takes back what came of the first.
func TestCodeIsUsedOnce(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	code := p.code(w.browser()).Get("code")
	resp, doc := w.people("authorization_code", "code", code, "redirect_uri", cliURI, "code_verifier", verifier)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	access := doc["access_token"].(string)
	w.principal(access)
	_, again := w.people("authorization_code", "code", code, "redirect_uri", cliURI, "code_verifier", verifier)
	require.Equal(t, "invalid_grant", again["error"])
	resp, _ = w.ask(access, http.MethodGet, "/self", nil)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	_, again = w.people("refresh_token", "refresh_token", doc["refresh_token"].(string))
	require.Equal(t, "invalid_grant", again["error"])

	late := p.code(w.browser()).Get("code")
	w.shift.Add(int64(2 * time.Minute))
	_, again = w.people("authorization_code", "code", late, "redirect_uri", cliURI, "code_verifier", verifier)
	require.Equal(t, "invalid_grant", again["error"], "it has expired")
}

func TestRefresh(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	first := p.login()
	resp, doc := w.people("refresh_token", "refresh_token", first.refresh)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	require.NotEqual(t, first.refresh, doc["refresh_token"])
	require.Equal(t, w.principal(first.access), w.principal(doc["access_token"].(string)))
	_, _, err := w.ledger.PutLoginClient(t.Context(), ledger.LoginClient{Tenant: "acme", Name: "console", RedirectURIs: []string{cliURI}})
	require.NoError(t, err)
	_, other := w.people("refresh_token", "refresh_token", doc["refresh_token"].(string), "client_id", "console")
	require.Equal(t, "invalid_grant", other["error"], "another program's")
	_, other = w.people("refresh_token", "refresh_token", "agentid_refresh_nothing")
	require.Equal(t, "invalid_grant", other["error"])
	w.shift.Add(int64(25 * time.Hour))
	_, other = w.people("refresh_token", "refresh_token", doc["refresh_token"].(string))
	require.Equal(t, "invalid_grant", other["error"], "it has expired")
}

// ATTACKS: refresh token reuse → whole family revoked atomically under 100 concurrent uses.
func TestRefreshReuseRevokesTheWholeFamily(t *testing.T) {
	w := newWorld(t, manyLogins)
	p := newProvider(w)
	first, bystander := p.login(), p.login()
	var won atomic.Int64
	var tokens [100]session
	many(t, len(tokens), func(i int) {
		resp, err := http.PostForm(w.base+"/acme/oauth2/token", url.Values{ //nolint:noctx // a hundred at once, no context of their own
			"grant_type": {"refresh_token"}, "client_id": {ledger.LoginCLI}, "refresh_token": {first.refresh},
		})
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode == http.StatusOK {
			won.Add(1)
			tokens[i] = decoded(t, resp)
		}
	})
	require.EqualValues(t, 1, won.Load(), "one use at most succeeds")
	for _, s := range append(tokens[:], first) {
		if s.access == "" {
			continue
		}
		resp, _ := w.ask(s.access, http.MethodGet, "/self", nil)
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		_, doc := w.people("refresh_token", "refresh_token", s.refresh)
		require.Equal(t, "invalid_grant", doc["error"])
	}
	w.principal(bystander.access)
}

// The answer belongs to the browser that began, is used once, and to the sign-in that sent
// its nonce.
func TestAnswerOfAnotherSignIn(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	b := w.browser()
	_, _, page := b.get(w.authorizeURL())
	asked := b.toProvider(page)
	status, location, _ := w.browser().get(p.answerURL(asked))
	require.Equal(t, http.StatusForbidden, status, "another browser")
	require.Empty(t, location)
	status, _, _ = b.get(p.answerURL(asked))
	require.Equal(t, http.StatusNotFound, status, "the state was used by that")

	_, _, page = b.get(w.authorizeURL())
	asked = b.toProvider(page)
	status, _, _ = b.get(p.answerURL(asked, "state", "forged"))
	require.Equal(t, http.StatusNotFound, status)
	start, err := url.Parse(strings.ReplaceAll(startLink.FindStringSubmatch(page)[1], "&amp;", "&"))
	require.NoError(t, err)
	status, _, _ = b.get(p.answerURL(asked, "state", start.Query().Get("flow")))
	require.Equal(t, http.StatusBadRequest, status, "a sign-in that was sent nowhere")
	status, _, _ = w.browser().get(start.String())
	require.NotEqual(t, http.StatusSeeOther, status, "the link of another browser")

	for name, claims := range map[string]map[string]any{
		"another nonce": {"nonce": "another"}, "no nonce": {"nonce": nil}, "another audience": {"aud": "somebody"},
		"an audience beside us": {"aud": []string{"agentid", "somebody"}}, "azp of another": {"azp": "somebody"},
		"another issuer": {"iss": "https://evil.example"}, "expired": {"exp": w.now().Add(-time.Second).Unix()},
		"issued later": {"iat": w.now().Add(time.Hour).Unix()}, "no subject": {"sub": nil}, "no expiry": {"exp": nil},
	} {
		t.Run(name, func(t *testing.T) {
			p.set(func() { p.claims = claims })
			defer p.set(func() { p.claims = map[string]any{} })
			b := w.browser()
			_, _, page := b.get(w.authorizeURL())
			status, location, text := b.get(p.answerURL(b.toProvider(page)))
			require.Equal(t, http.StatusSeeOther, status, text)
			u, err := url.Parse(location)
			require.NoError(t, err)
			require.Equal(t, "access_denied", u.Query().Get("error"), "the program learns no more")
			require.Empty(t, u.Query().Get("code"))
		})
	}
}

func TestProviderRefusesOrIsDown(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	b := w.browser()
	_, _, page := b.get(w.authorizeURL())
	_, location, _ := b.get(p.answerURL(b.toProvider(page), "error", "access_denied", "code", ""))
	require.Contains(t, location, "error=access_denied")
	_, _, page = b.get(w.authorizeURL())
	answer := p.answerURL(b.toProvider(page))
	p.set(func() { p.down = true })
	_, location, _ = b.get(answer)
	require.Contains(t, location, "error=temporarily_unavailable", "an outage is told as one")
	p.set(func() { p.down = false })
	require.NotEmpty(t, p.code(w.browser()).Get("code"), "recovery needs no restart")
}

func TestDisabledPrincipalDoesNotComeIn(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	s := p.login()
	ref := w.principal(s.access)
	_, err := w.ledger.AddFreeze(context.Background(), ref, "operator", "test")
	require.NoError(t, err)
	resp, _ := w.ask(s.access, http.MethodGet, "/self", nil)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	_, doc := w.people("refresh_token", "refresh_token", s.refresh)
	require.Equal(t, "invalid_grant", doc["error"])
	require.Equal(t, "access_denied", p.code(w.browser()).Get("error"))
}

func TestDeclaredPeopleOnly(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w, func(set *ledger.IdentityProvider) { set.Declared = true })
	require.Equal(t, "access_denied", p.code(w.browser()).Get("error"))
	_, _, err := w.ledger.PutPrincipal(t.Context(), ledger.Principal{
		Ref: principalRef("acme", "alice-at-corp"), Kind: ledger.PrincipalHuman, Issuer: p.server.URL, Subject: "u-1",
	})
	require.NoError(t, err)
	require.Equal(t, principalRef("acme", "alice-at-corp"), w.principal(p.login().access))
}
