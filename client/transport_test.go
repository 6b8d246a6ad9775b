package client_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/client"
)

// broker is a counterpart that counts, and fails where a test wants it to.
type broker struct {
	*httptest.Server
	mints    atomic.Int64
	spawns   atomic.Int64
	down     atomic.Bool
	lose     atomic.Bool // do the first spawn, and lose the answer
	audience string
	names    sync.Map // name and key of the spawns
	shift    atomic.Int64
}

func newBroker(t *testing.T) *broker {
	b := &broker{audience: "http://127.0.0.1:1"}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /acme/oauth2/token", func(w http.ResponseWriter, r *http.Request) {
		if b.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		proof, err := dpop.Verify(r.Header.Get("DPoP"), dpop.Expect{Method: http.MethodPost, URL: b.URL + r.URL.Path, Now: b.now()})
		if err != nil || proof.Nonce != "broker-1" {
			w.Header().Set("DPoP-Nonce", "broker-1")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"use_dpop_nonce"}`)
			return
		}
		claims := base64.RawURLEncoding.EncodeToString([]byte(`{"aud":"` + b.audience + `","jkt":"` + proof.JKT + `"}`))
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": fmt.Sprintf("e30.%s.%d", claims, b.mints.Add(1)), "token_type": "DPoP", "expires_in": 300, "scope": "payments:refund",
		})
	})
	mux.HandleFunc("POST /acme/agents/v1/spawn", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Name string          `json:"name"`
			Key  json.RawMessage `json:"key"`
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		b.names.Store(in.Name+string(in.Key), true)
		if b.spawns.Add(1); b.lose.CompareAndSwap(true, false) {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"agent":"agent:acme/`+in.Name+`"}`)
	})
	b.Server = httptest.NewServer(mux)
	t.Cleanup(b.Close)
	return b
}

func (b *broker) now() time.Time { return time.Now().Add(time.Duration(b.shift.Load())) }

func (b *broker) client(t *testing.T) *client.Client {
	t.Helper()
	key, err := client.GenerateKey("EdDSA")
	require.NoError(t, err)
	ref, err := agentid.AgentRef("acme", "ag-1")
	require.NoError(t, err)
	c, err := client.New(client.Config{Issuer: b.URL + "/acme", Agent: ref, Key: key, Now: b.now})
	require.NoError(t, err)
	return c
}

// gateway demands a nonce, and tells of what it took.
type gateway struct {
	*httptest.Server
	taken  atomic.Int64
	bodies chan string
	status atomic.Int64
}

func newGateway(t *testing.T) *gateway {
	g := &gateway{bodies: make(chan string, 64)}
	g.status.Store(http.StatusOK)
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
		proof, err := dpop.Verify(r.Header.Get("DPoP"), dpop.Expect{Method: r.Method, URL: g.URL + r.URL.EscapedPath(), AccessToken: token, Thumbprint: keyOf(token), Now: time.Now()})
		switch {
		case err != nil:
			t.Error(err)
			w.WriteHeader(http.StatusBadRequest)
		case proof.Nonce != "gateway-1":
			w.Header().Set("DPoP-Nonce", "gateway-1")
			w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			g.taken.Add(1)
			g.bodies <- string(body)
			w.WriteHeader(int(g.status.Load()))
		}
	}))
	t.Cleanup(g.Close)
	return g
}

func keyOf(token string) string {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	data, _ := base64.RawURLEncoding.DecodeString(payload)
	var claims struct {
		JKT string `json:"jkt"`
	}
	_ = json.Unmarshal(data, &claims)
	return claims.JKT
}

var anything = client.TokenRequest{Details: json.RawMessage(`[{"type":"agentid_template","template":"t","arguments":{}}]`)}

func send(t *testing.T, rt http.RoundTripper, method, url string, body io.Reader) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer sk_of_the_sdk")
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	require.Equal(t, "Bearer sk_of_the_sdk", req.Header.Get("Authorization"), "the caller's request is left alone")
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, nil
}

func TestTransportReplaysBodiesOnlyByGetBody(t *testing.T) {
	b, g := newBroker(t), newGateway(t)
	b.audience = g.URL
	rt := b.client(t).Transport(anything)
	status, err := send(t, rt, http.MethodPost, g.URL+"/v1/refunds?x=1", strings.NewReader("amount=1"))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "amount=1", <-g.bodies)

	once := b.client(t).Transport(anything)
	status, err = send(t, once, http.MethodPost, g.URL+"/v1/refunds", io.MultiReader(strings.NewReader("amount=1")))
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, status, "the body is gone: the caller decides")
	require.EqualValues(t, 1, g.taken.Load())
	status, err = send(t, once, http.MethodPost, g.URL+"/v1/refunds", io.MultiReader(strings.NewReader("amount=2")))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, "the nonce is known now")
	require.Equal(t, "amount=2", <-g.bodies)
}

func TestTransportSendsTheTokenToItsOwnConnectorOnly(t *testing.T) {
	b, g := newBroker(t), newGateway(t)
	b.audience = g.URL
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the token went to %s: %v", r.Host, r.Header)
	}))
	defer elsewhere.Close()
	rt := b.client(t).Transport(anything)
	_, err := send(t, rt, http.MethodGet, elsewhere.URL+"/x", nil)
	require.Equal(t, "resource_foreign", agentid.ReasonOf(err))
	_, err = send(t, rt, http.MethodGet, strings.Replace(g.URL, "http:", "https:", 1)+"/x", nil)
	require.Equal(t, "resource_foreign", agentid.ReasonOf(err))

	named := b.client(t)
	mints := b.mints.Load()
	req := anything
	req.Resource = g.URL
	_, err = send(t, named.Transport(req), http.MethodGet, elsewhere.URL+"/x", nil)
	require.Equal(t, "resource_foreign", agentid.ReasonOf(err))
	require.Equal(t, mints, b.mints.Load(), "nothing was minted for it")
	req.Resource = "http://gateway.example.com"
	_, err = send(t, named.Transport(req), http.MethodGet, "http://gateway.example.com/x", nil)
	require.Equal(t, "resource_foreign", agentid.ReasonOf(err), "plain http beyond loopback")

	redirect := httptest.NewServer(http.RedirectHandler(elsewhere.URL+"/steal", http.StatusTemporaryRedirect))
	defer redirect.Close()
	b.audience = redirect.URL
	_, err = (&http.Client{Transport: b.client(t).Transport(anything)}).Get(redirect.URL + "/x")
	require.ErrorContains(t, err, "resource_foreign")
	_, err = (&client.Transport{}).RoundTrip(httptest.NewRequest(http.MethodGet, g.URL, nil))
	require.Error(t, err, "the zero Transport refuses")
}

func TestA401DropsTheTokenAndPerEffectMintsEach(t *testing.T) {
	b, g := newBroker(t), newGateway(t)
	b.audience = g.URL
	rt := b.client(t).Transport(anything)
	_, err := send(t, rt, http.MethodGet, g.URL+"/x", nil)
	require.NoError(t, err)
	g.status.Store(http.StatusUnauthorized)
	_, err = send(t, rt, http.MethodGet, g.URL+"/x", nil)
	require.NoError(t, err)
	require.EqualValues(t, 1, b.mints.Load())
	g.status.Store(http.StatusOK)
	_, err = send(t, rt, http.MethodGet, g.URL+"/x", nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, b.mints.Load())

	rt.PerEffect = true
	for range 2 {
		_, err = send(t, rt, http.MethodPost, g.URL+"/x", nil)
		require.NoError(t, err)
	}
	require.EqualValues(t, 4, b.mints.Load())
}

func TestOneMintForManyAheadOfExpiryAndWhileTheBrokerIsAway(t *testing.T) {
	b := newBroker(t)
	c := b.client(t)
	tokens := make([]client.Token, 32)
	var wg sync.WaitGroup
	for i := range tokens {
		wg.Go(func() { tokens[i], _ = c.Token(context.Background(), anything) })
	}
	wg.Wait()
	require.EqualValues(t, 1, b.mints.Load())
	for _, token := range tokens {
		require.Equal(t, tokens[0].Access, token.Access)
	}
	other := anything
	other.Resource = "http://127.0.0.1:2"
	_, err := c.Token(t.Context(), other)
	require.NoError(t, err)
	require.EqualValues(t, 2, b.mints.Load(), "another request, another token")

	b.shift.Store(int64(242 * time.Second))
	b.down.Store(true)
	kept, err := c.Token(t.Context(), anything)
	require.NoError(t, err, "a fifth of its life is left")
	require.Equal(t, tokens[0].Access, kept.Access)
	b.shift.Store(int64(301 * time.Second))
	_, err = c.Token(t.Context(), anything)
	require.Error(t, err)
	b.down.Store(false)
	_, err = c.Token(t.Context(), anything)
	require.NoError(t, err)
	require.EqualValues(t, 3, b.mints.Load())
}

func TestASpawnWhoseAnswerIsLostIsAskedOnceMoreAsTheSame(t *testing.T) {
	b := newBroker(t)
	b.lose.Store(true)
	child, err := b.client(t).Spawn(t.Context(), client.SpawnRequest{Type: "t"})
	require.NoError(t, err)
	require.EqualValues(t, 2, b.spawns.Load())
	seen := 0
	b.names.Range(func(any, any) bool { seen++; return true })
	require.Equal(t, 1, seen, "the same name and the same key")
	require.Equal(t, "acme", child.Agent().Tenant())
}

func TestConfigIsChecked(t *testing.T) {
	key, err := client.GenerateKey("EdDSA")
	require.NoError(t, err)
	agent, err := agentid.AgentRef("acme", "a")
	require.NoError(t, err)
	principal, err := agentid.PrincipalRef("acme", "a")
	require.NoError(t, err)
	for name, cfg := range map[string]client.Config{
		"no issuer":  {Agent: agent, Key: key},
		"not a URL":  {Issuer: "id.example.com", Agent: agent, Key: key},
		"no agent":   {Issuer: "https://id.example.com", Key: key},
		"not agent":  {Issuer: "https://id.example.com", Agent: principal, Key: key},
		"no key":     {Issuer: "https://id.example.com", Agent: agent},
		"zero value": {},
	} {
		_, err := client.New(cfg)
		require.Equal(t, agentid.KindInvalid, agentid.KindOf(err), name)
	}
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", key, key, key), "PrivateKey")
}
