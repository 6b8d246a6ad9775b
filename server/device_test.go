package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/server"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/ledger"
)

func principalRef(tenant, name string) agentid.Ref { return must(agentid.PrincipalRef(tenant, name)) }

// manyLogins lifts the bound on steps of one address.
func manyLogins(c *server.Config) { c.LoginsPerMin, c.LoginsBurst = 60_000, 60_000 }

func decoded(t *testing.T, resp *http.Response) session {
	t.Helper()
	var doc map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Error(err)
		return session{}
	}
	access, _ := doc["access_token"].(string)
	refresh, _ := doc["refresh_token"].(string)
	return session{access, refresh}
}

var formToken = regexp.MustCompile(`name="token" value="([^"]+)"`)

// enter types a user code, and gives the page that follows.
func (b *visitor) enter(uri, code string, change ...func(*http.Request)) (int, string) {
	b.w.tb.Helper()
	_, _, page := b.get(uri)
	found := formToken.FindStringSubmatch(page)
	require.NotNil(b.w.tb, found, page)
	form := url.Values{"user_code": {code}, "token": {found[1]}}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, b.w.base+"/acme/device", strings.NewReader(form.Encode()))
	require.NoError(b.w.tb, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range change {
		c(req)
	}
	status, _, text := b.send(req)
	return status, text
}

func TestDeviceFlow(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	resp, doc := w.post("/acme/oauth2/device_authorization", url.Values{"client_id": {ledger.LoginCLI}}, nil)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	device, code := doc["device_code"].(string), doc["user_code"].(string)
	poll := func(pairs ...string) map[string]any {
		_, answer := w.people(discovery.GrantDeviceCode, append([]string{"device_code", device}, pairs...)...)
		return answer
	}
	require.Equal(t, "authorization_pending", poll()["error"])
	require.Equal(t, "slow_down", poll()["error"])
	w.shift.Add(int64(11 * time.Second))
	require.Equal(t, "authorization_pending", poll()["error"])

	b := w.browser()
	status, text := b.enter(doc["verification_uri_complete"].(string), strings.ToLower(code))
	require.Equal(t, http.StatusOK, status, text)
	require.Contains(t, text, "the command line")
	status, _, text = b.get(p.answerURL(b.toProvider(text)))
	require.Equal(t, http.StatusOK, status, text)
	require.Contains(t, text, "Signed in")

	status, _ = w.browser().enter(w.base+"/acme/device", code)
	require.Equal(t, http.StatusConflict, status, "somebody signed in with it already")
	_, _, err := w.ledger.PutLoginClient(t.Context(), ledger.LoginClient{Tenant: "acme", Name: "console", RedirectURIs: []string{cliURI}})
	require.NoError(t, err)
	require.Equal(t, "invalid_grant", poll("client_id", "console")["error"])
	got := poll()
	access, _ := got["access_token"].(string)
	w.principal(access)
	require.Equal(t, "invalid_grant", poll()["error"], "it is used once")
	again, _ := w.ask(access, http.MethodGet, "/self", nil)
	require.Equal(t, http.StatusUnauthorized, again.StatusCode, "a second use takes the session back")
}

func TestDeviceFlowRefuses(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	resp, doc := w.post("/acme/oauth2/device_authorization", url.Values{"client_id": {"nobody"}}, nil)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode, "%v", doc)
	_, doc = w.people(discovery.GrantDeviceCode, "device_code", "guessed")
	require.Equal(t, "expired_token", doc["error"])
	status, _ := w.browser().enter(w.base+"/acme/device", "BBBB-BBBB")
	require.Equal(t, http.StatusNotFound, status)

	_, doc = w.post("/acme/oauth2/device_authorization", url.Values{"client_id": {ledger.LoginCLI}}, nil)
	code := doc["user_code"].(string)
	status, _ = w.browser().enter(w.base+"/acme/device", code, func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") })
	require.Equal(t, http.StatusForbidden, status, "a form of another site")
	bare := w.browser()
	bare.c.Jar = nil
	status, _ = bare.enter(w.base+"/acme/device", code)
	require.Equal(t, http.StatusForbidden, status, "a browser that we do not know")

	b := w.browser()
	_, text := b.enter(w.base+"/acme/device", code)
	p.set(func() { p.claims = map[string]any{"aud": "somebody"} })
	status, _, _ = b.get(p.answerURL(b.toProvider(text)))
	require.Equal(t, http.StatusUnauthorized, status)
	_, answer := w.people(discovery.GrantDeviceCode, "device_code", doc["device_code"].(string))
	require.Equal(t, "authorization_pending", answer["error"], "nobody signed in")
	w.shift.Add(int64(11 * time.Minute))
	_, answer = w.people(discovery.GrantDeviceCode, "device_code", doc["device_code"].(string))
	require.Equal(t, "expired_token", answer["error"])
}

func TestStepsOfOneAddressAreBounded(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.LoginsPerMin, c.LoginsBurst = 1, 3 })
	newProvider(w)
	for range 3 {
		status, _, _ := w.browser().get(w.authorizeURL())
		require.Equal(t, http.StatusOK, status)
	}
	status, _, _ := w.browser().get(w.authorizeURL())
	require.Equal(t, http.StatusTooManyRequests, status)
}
