package server_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation/federationtest"
	"github.com/agentid-dev/agentid/server/ledger"
)

const (
	verifier = "a-verifier-of-forty-three-characters-or-more-0"
	cliURI   = "http://127.0.0.1:49152/callback"
)

// provider is an identity provider on loopback that says what the test wants.
type provider struct {
	w      *world
	server *httptest.Server
	key    jose.JSONWebKey

	mu      sync.Mutex
	subject string
	claims  map[string]any // added to, or replaced in, each ID token
	codes   map[string]url.Values
	sendIss bool
	down    bool
	refuse  bool // refresh tokens
	asked   int  // token requests
}

// newProvider starts one and puts it into acme's settings, with rules for two groups.
func newProvider(w *world, change ...func(*ledger.IdentityProvider)) *provider {
	w.tb.Helper()
	p := &provider{w: w, key: federationtest.NewKey(w.tb, jose.ES256), subject: "u-1", claims: map[string]any{}, codes: map[string]url.Values{}}
	p.server = httptest.NewServer(http.HandlerFunc(p.serve))
	w.tb.Cleanup(p.server.Close)
	set := ledger.IdentityProvider{
		Tenant: "acme", Name: "corp", Issuer: p.server.URL, ClientID: "agentid", AllowPrivate: true,
		Flows: []ledger.LoginFlow{ledger.FlowLogin, ledger.FlowDevice, ledger.FlowExchange, ledger.FlowIDJAG},
		Groups: []ledger.GroupRule{
			{Group: "support", Resource: must(agentid.AgentTypeRef("acme", "refund-agent")), Relation: "launcher"},
			{Group: "staff", Resource: must(agentid.TenantRef("acme")), Relation: "member"},
			{Group: "support", Resource: must(agentid.ResourceRef("payments_account", "acme", "stripe")), Relation: "refunder"},
		},
	}
	for _, c := range change {
		c(&set)
	}
	_, _, err := w.ledger.PutIdentityProvider(context.Background(), set)
	require.NoError(w.tb, err)
	require.NoError(w.tb, w.ledger.PutProviderSecret(context.Background(), "acme", "corp", agentid.NewSecret("s3cret")))
	return p
}

func (p *provider) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *provider) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		panic(http.ErrAbortHandler)
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": p.server.URL, "jwks_uri": p.server.URL + "/keys", "authorization_endpoint": p.server.URL + "/authorize",
			"token_endpoint": p.server.URL + "/token", "authorization_response_iss_parameter_supported": p.sendIss,
		})
	case "/keys":
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.key.Public()}})
	case "/token":
		p.token(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	p.asked++
	id, secret, _ := r.BasicAuth()
	query, known := p.codes[r.FormValue("code")]
	challenge := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	refresh := r.FormValue("grant_type") == "refresh_token"
	switch {
	case id != "agentid" || secret != "s3cret":
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
		return
	case refresh && p.refuse, !refresh && (!known || query.Get("code_challenge_method") != "S256" ||
		query.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(challenge[:]) || query.Get("redirect_uri") != r.FormValue("redirect_uri")):
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	delete(p.codes, r.FormValue("code"))
	more := map[string]any{"nonce": query.Get("nonce")}
	if nonce, ok := p.claims["nonce"]; ok {
		more["nonce"] = nonce
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": "upstream-access", "token_type": "Bearer", "refresh_token": "upstream-refresh", "id_token": p.sign("JWT", more),
	})
}

// sign makes a token of the person as the provider says now. p.mu is held, or nobody
// changes p.
func (p *provider) sign(typ string, more map[string]any) string {
	now := p.w.now()
	claims := map[string]any{
		"iss": p.server.URL, "aud": "agentid", "sub": p.subject, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"name": "Alice", "groups": []string{"support", "staff"},
	}
	for _, m := range []map[string]any{p.claims, more} {
		for name, value := range m {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
	}
	return federationtest.Sign(p.w.tb, p.key, map[string]any{"typ": typ}, claims)
}

func (p *provider) idToken(more map[string]any) string { return p.sign("JWT", more) }

// visitor is a person at a browser that follows no redirect by itself.
type visitor struct {
	w *world
	c *http.Client
}

func (w *world) browser() *visitor {
	return &visitor{w: w, c: &http.Client{
		Jar: must(cookiejar.New(nil)), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// get opens a page, and gives its status, where it sends the browser, and its text.
func (b *visitor) get(target string) (int, string, string) {
	b.w.tb.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, target, nil)
	require.NoError(b.w.tb, err)
	return b.send(req)
}

func (b *visitor) send(req *http.Request) (int, string, string) {
	b.w.tb.Helper()
	resp, err := b.c.Do(req)
	require.NoError(b.w.tb, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(b.w.tb, err)
	require.Contains(b.w.tb, resp.Header.Get("Content-Security-Policy"), "default-src 'none'")
	require.Equal(b.w.tb, "no-store", resp.Header.Get("Cache-Control"))
	return resp.StatusCode, resp.Header.Get("Location"), string(body)
}

func challengeOf(v string) string {
	sum := sha256.Sum256([]byte(v))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// authorizeURL is the authorization request of the command line, changed as pairs say; an
// empty value takes a parameter out.
func (w *world) authorizeURL(pairs ...string) string {
	q := url.Values{
		"response_type": {"code"}, "client_id": {ledger.LoginCLI}, "redirect_uri": {cliURI}, "state": {"st&te"},
		"code_challenge": {challengeOf(verifier)}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(pairs); i += 2 {
		if q.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			q.Del(pairs[i])
		}
	}
	return w.base + "/acme/oauth2/authorize?" + q.Encode()
}

var startLink = regexp.MustCompile(`href="([^"]+/login/start[^"]+)"`)

// toProvider goes from a page of choices to the provider, and gives what was sent there.
func (b *visitor) toProvider(page string) url.Values {
	b.w.tb.Helper()
	found := startLink.FindStringSubmatch(page)
	require.NotNil(b.w.tb, found, page)
	status, location, text := b.get(strings.ReplaceAll(found[1], "&amp;", "&"))
	require.Equal(b.w.tb, http.StatusSeeOther, status, text)
	u, err := url.Parse(location)
	require.NoError(b.w.tb, err)
	return u.Query()
}

// answerURL is what the provider sends the browser back with.
func (p *provider) answerURL(asked url.Values, pairs ...string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	code := "code-" + asked.Get("state")
	p.codes[code] = asked
	q := url.Values{"state": {asked.Get("state")}, "code": {code}, "iss": {p.server.URL}}
	for i := 0; i < len(pairs); i += 2 {
		if q.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			q.Del(pairs[i])
		}
	}
	return asked.Get("redirect_uri") + "?" + q.Encode()
}

// code signs the person in and gives the parameters that the program gets.
func (p *provider) code(b *visitor, pairs ...string) url.Values {
	p.w.tb.Helper()
	status, _, page := b.get(p.w.authorizeURL(pairs...))
	require.Equal(p.w.tb, http.StatusOK, status, page)
	status, location, text := b.get(p.answerURL(b.toProvider(page)))
	require.Equal(p.w.tb, http.StatusSeeOther, status, text)
	u, err := url.Parse(location)
	require.NoError(p.w.tb, err)
	return u.Query()
}

// people asks the token endpoint for people.
func (w *world) people(grant string, pairs ...string) (*http.Response, map[string]any) {
	w.tb.Helper()
	form := url.Values{"grant_type": {grant}, "client_id": {ledger.LoginCLI}}
	for i := 0; i < len(pairs); i += 2 {
		if form.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			form.Del(pairs[i])
		}
	}
	return w.post("/acme/oauth2/token", form, nil)
}

// session is a person who signed in.
type session struct{ access, refresh string }

func (p *provider) login() session {
	p.w.tb.Helper()
	got := p.code(p.w.browser())
	resp, doc := p.w.people("authorization_code", "code", got.Get("code"), "redirect_uri", cliURI, "code_verifier", verifier)
	require.Equal(p.w.tb, http.StatusOK, resp.StatusCode, "%v", doc)
	return session{doc["access_token"].(string), doc["refresh_token"].(string)}
}

// ask calls an endpoint of people.
func (w *world) ask(token, method, path string, body any) (*http.Response, map[string]any) {
	w.tb.Helper()
	var reader io.Reader
	if body != nil {
		reader = strings.NewReader(string(must(json.Marshal(body))))
	}
	req, err := http.NewRequestWithContext(context.Background(), method, w.base+"/acme/people/v1"+path, reader)
	require.NoError(w.tb, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return w.send(req)
}

// principal is who a session is of.
func (w *world) principal(token string) agentid.Ref {
	w.tb.Helper()
	resp, doc := w.ask(token, http.MethodGet, "/self", nil)
	require.Equal(w.tb, http.StatusOK, resp.StatusCode, "%v", doc)
	ref, err := agentid.ParseRef(doc["principal"].(string))
	require.NoError(w.tb, err)
	return ref
}

func many(c *testing.T, n int, do func(i int)) {
	c.Helper()
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { do(i) })
	}
	group.Wait()
}
