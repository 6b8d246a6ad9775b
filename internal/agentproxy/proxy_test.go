package agentproxy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/internal/agentproxy"
	"github.com/agentid-dev/agentid/internal/httpx"
)

// upstreams are a broker that counts its mints and a gateway that demands a nonce.
type upstreams struct {
	mints    atomic.Int64
	refuse   atomic.Bool // the broker says no
	seen     chan *http.Request
	bodies   chan string
	answer   func(http.ResponseWriter, *http.Request)
	broker   *httptest.Server
	gateway  *httptest.Server
	clock    func() time.Time
	noNonces atomic.Bool
}

func newUpstreams(t *testing.T) *upstreams {
	u := &upstreams{seen: make(chan *http.Request, 64), bodies: make(chan string, 64), clock: time.Now}
	u.answer = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }
	u.broker = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u.refuse.Load() {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"error":"access_denied","error_description":"the agent is frozen","reason":"agent_not_live"}`)
			return
		}
		n := u.mints.Add(1)
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprintf("token-%d", n), "token_type": "DPoP", "expires_in": 300})
	}))
	u.gateway = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var claims map[string]any
		if sig, err := jose.ParseSignedCompact(r.Header.Get("DPoP"), []jose.SignatureAlgorithm{jose.EdDSA}); err == nil {
			payload, _ := sig.Verify(sig.Signatures[0].Protected.JSONWebKey)
			_ = json.Unmarshal(payload, &claims)
		}
		if claims["nonce"] != "n1" && !u.noNonces.Load() {
			w.Header().Set("DPoP-Nonce", "n1")
			w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce", algs="EdDSA ES256"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if claims["htm"] != r.Method || claims["ath"] == nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		u.seen <- r
		u.bodies <- string(body)
		u.answer(w, r)
	}))
	t.Cleanup(u.broker.Close)
	t.Cleanup(u.gateway.Close)
	return u
}

func (u *upstreams) proxy(t *testing.T, change func(*agentproxy.Config)) string {
	t.Helper()
	key, err := client.GenerateKey("EdDSA")
	require.NoError(t, err)
	ref, err := agentid.AgentRef("acme", "ag-1")
	require.NoError(t, err)
	now := func() time.Time { return u.clock() }
	agent, err := client.New(client.Config{Issuer: u.broker.URL + "/acme", Agent: ref, Key: key, Now: now})
	require.NoError(t, err)
	cfg := agentproxy.Config{
		Agent: agent, Request: client.TokenRequest{Details: json.RawMessage(`[]`), Resource: u.gateway.URL},
		Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	p, err := agentproxy.New(cfg)
	require.NoError(t, err)
	srv := httptest.NewUnstartedServer(p)
	srv.Config = httpx.NewServer("", p, slog.New(slog.DiscardHandler))
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL
}

// raw sends bytes as they are and reads one response.
func raw(t *testing.T, base, request string) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_, err = io.WriteString(c, request)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	return resp
}

func TestForwardsByteForByteAndSwapsTheCredential(t *testing.T) {
	u := newUpstreams(t)
	base := u.proxy(t, nil)
	body := "amount=4200&metadata%5Ba%5D=b+c&x=%2f"
	resp := raw(t, base, "POST /v1/refunds%2Fx/../y;z?b=1&a=%7e& HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk_from_the_sdk\r\n"+
		"Cookie: a=b\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: X-Drop\r\nX-Drop: 1\r\nIdempotency-Key: k 1\r\nStripe-Version: v\r\n"+
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body))
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Empty(t, resp.Header.Get("DPoP-Nonce"))
	got := <-u.seen
	require.Equal(t, "/v1/refunds%2Fx/../y;z?b=1&a=%7e&", got.RequestURI)
	require.Equal(t, body, <-u.bodies)
	require.Equal(t, []string{"DPoP token-1"}, got.Header["Authorization"])
	require.Equal(t, "k 1", got.Header.Get("Idempotency-Key"))
	require.Equal(t, "v", got.Header.Get("Stripe-Version"))
	require.Equal(t, strings.TrimPrefix(u.gateway.URL, "http://"), got.Host)
	for _, name := range []string{"Cookie", "X-Forwarded-For", "X-Drop", "User-Agent", "Accept-Encoding"} {
		require.Empty(t, got.Header.Get(name), name)
	}
}

func TestOneMintForManyAndAnotherAheadOfExpiry(t *testing.T) {
	u := newUpstreams(t)
	var shift atomic.Int64
	u.clock = func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
	base := u.proxy(t, nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			resp, err := http.Get(base + "/v1/charges/ch_1")
			if err == nil {
				_ = resp.Body.Close()
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, u.mints.Load())
	shift.Store(int64(220 * time.Second))
	get(t, base)
	require.EqualValues(t, 1, u.mints.Load())
	shift.Store(int64(242 * time.Second))
	get(t, base)
	require.EqualValues(t, 2, u.mints.Load(), "renewed when a fifth of its life is left")
}

func get(t *testing.T, base string) *http.Response {
	t.Helper()
	resp, err := http.Get(base + "/v1/charges/ch_1")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp
}

func TestAFreshTokenPerEffect(t *testing.T) {
	u := newUpstreams(t)
	base := u.proxy(t, func(c *agentproxy.Config) { c.PerEffect = true })
	for range 2 {
		resp, err := http.Post(base+"/v1/refunds", "application/x-www-form-urlencoded", strings.NewReader("amount=1"))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	require.EqualValues(t, 2, u.mints.Load())
	get(t, base)
	get(t, base)
	require.EqualValues(t, 3, u.mints.Load(), "reads share one")
}

func TestRefusalsReachTheAgentUnchanged(t *testing.T) {
	u := newUpstreams(t)
	u.answer = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `DPoP error="insufficient_scope"`)
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"error":{"type":"invalid_request_error","code":"uses_exhausted"}}`)
	}
	base := u.proxy(t, nil)
	resp, err := http.Get(base + "/v1/charges/ch_1")
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	require.Equal(t, `DPoP error="insufficient_scope"`, resp.Header.Get("WWW-Authenticate"))
	require.Equal(t, `{"error":{"type":"invalid_request_error","code":"uses_exhausted"}}`, string(body))
}

func TestABrokerThatRefusesIsARefusalWithItsReason(t *testing.T) {
	u := newUpstreams(t)
	u.refuse.Store(true)
	base := u.proxy(t, nil)
	resp, err := http.Get(base + "/v1/charges/ch_1")
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	require.Contains(t, string(body), `"code":"agent_not_live"`)
	require.Empty(t, u.seen)
}

func TestABodyOverTheReplayBoundIsSentOnce(t *testing.T) {
	u := newUpstreams(t)
	base := u.proxy(t, func(c *agentproxy.Config) { c.MaxReplay = 8 })
	resp, err := http.Post(base+"/x", "text/plain", strings.NewReader("0123456789"))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode, "the nonce came with the answer; the body is gone")
	resp, err = http.Post(base+"/x", "text/plain", strings.NewReader("0123456789"))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode, "the nonce is known now")
	require.Equal(t, "0123456789", <-u.bodies)
}

func TestStreams(t *testing.T) {
	u := newUpstreams(t)
	more := make(chan struct{})
	u.answer = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "one\n")
		_ = http.NewResponseController(w).Flush()
		<-more
		_, _ = io.WriteString(w, "two\n")
	}
	resp, err := http.Get(u.proxy(t, nil) + "/stream")
	require.NoError(t, err)
	lines := bufio.NewReader(resp.Body)
	first, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "one\n", first)
	close(more)
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	require.Equal(t, "two\n", string(rest))
	require.NoError(t, resp.Body.Close())
}

func TestRefusesWhoIsNotTheAgent(t *testing.T) {
	u := newUpstreams(t)
	base := u.proxy(t, func(c *agentproxy.Config) { c.LocalSecret = agentid.NewSecret("local") })
	for name, head := range map[string]string{
		"dns rebinding":   "Host: evil.example\r\nAuthorization: Bearer local\r\n",
		"a web page":      "Host: localhost\r\nOrigin: https://evil.example\r\nAuthorization: Bearer local\r\n",
		"no local secret": "Host: localhost\r\n",
		"wrong secret":    "Host: localhost\r\nAuthorization: Bearer nope\r\n",
	} {
		resp := raw(t, base, "GET /x HTTP/1.1\r\n"+head+"\r\n")
		require.GreaterOrEqual(t, resp.StatusCode, http.StatusUnauthorized, name)
		require.LessOrEqual(t, resp.StatusCode, http.StatusForbidden, name)
	}
	for _, target := range []string{"http://evil.example/x", "//evil.example/x", "*"} {
		method := "GET"
		if target == "*" {
			method = "OPTIONS"
		}
		resp := raw(t, base, method+" "+target+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer local\r\n\r\n")
		require.GreaterOrEqual(t, resp.StatusCode, http.StatusBadRequest, target)
	}
	require.Zero(t, u.mints.Load())
	require.Equal(t, http.StatusOK, raw(t, base, "GET /x HTTP/1.1\r\nHost: 127.0.0.1:1\r\nAuthorization: bearer local\r\n\r\n").StatusCode)
	require.Equal(t, http.StatusOK, raw(t, base, "GET /x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic bG9jYWw6\r\n\r\n").StatusCode, "the key as Basic user")
}

func TestListensOnLoopbackOrASocketOnly(t *testing.T) {
	for _, bad := range []string{"0.0.0.0:0", ":0", "8.8.8.8:1", "example.com:1", "1234", ""} {
		_, err := agentproxy.Listen(bad)
		require.Error(t, err, bad)
	}
	l, err := agentproxy.Listen("127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())

	u := newUpstreams(t)
	_ = u.proxy(t, nil)
	path := filepath.Join(t.TempDir(), "s")
	socket, err := agentproxy.Listen("unix:" + path)
	require.NoError(t, err)
	_, err = agentproxy.Listen("unix:" + path)
	require.ErrorContains(t, err, "in use")
	require.NoError(t, socket.Close())
	_, err = agentproxy.Listen("unix:/proc/self/exe")
	require.Error(t, err)
}

func TestServesOnAUnixSocket(t *testing.T) {
	u := newUpstreams(t)
	key, err := client.GenerateKey("EdDSA")
	require.NoError(t, err)
	ref, err := agentid.AgentRef("acme", "ag-1")
	require.NoError(t, err)
	agent, err := client.New(client.Config{Issuer: u.broker.URL, Agent: ref, Key: key})
	require.NoError(t, err)
	p, err := agentproxy.New(agentproxy.Config{Agent: agent, Request: client.TokenRequest{Resource: u.gateway.URL}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "s")
	socket, err := agentproxy.Listen("unix:" + path)
	require.NoError(t, err)
	srv := &http.Server{Handler: p, ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(socket) }()
	defer func() { _ = srv.Close() }()
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	resp, err := c.Get("http://anything/v1/charges/ch_1")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

func TestConfigIsChecked(t *testing.T) {
	for _, resource := range []string{"", "gateway", "http://gateway.example.com", "https://gateway.example.com/path", "ftp://x"} {
		_, err := agentproxy.New(agentproxy.Config{Request: client.TokenRequest{Resource: resource}})
		require.Error(t, err, resource)
	}
}
