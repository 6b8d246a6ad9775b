package forward

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/gateway/match"
	"github.com/agentid-dev/agentid/gateway/rawhttp"
	"github.com/agentid-dev/agentid/internal/httperr"
)

// FuzzPath: a target goes over a socket through the raw guard, net/http, Normalise,
// Match, Parse and out again. If it is let through, the path that policy saw, the path
// on the client's wire and the path on the upstream's wire are the same bytes.
func FuzzPath(f *testing.F) {
	for _, s := range []string{
		"/v1/customers/cus_1", "/v1/customers/cus_1%2f", "/v1/charges/ch_1?x=1", "/v1/../v1/customers/cus_1", "/v1/customers/cus%5f1",
		"//", "/v1/refunds/re_1;a", "/v1/customers/cus_1\\x", "/%761/customers/cus_1", "http://gateway.test/v1/customers/cus_1", "*",
	} {
		f.Add(s)
	}
	var got atomic.Pointer[string] // what came to the upstream
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got.Store(&r.RequestURI) }))
	f.Cleanup(upstream.Close)
	base, err := url.Parse(upstream.URL)
	if err != nil {
		f.Fatal(err)
	}
	kind := connectors.Builtin()["payments"]
	u := Upstream{Base: base, AllowPrivate: true, Kind: kind, Secret: agentid.NewSecret("sk_test_1")}
	forwarder := New(Config{})
	guard := rawhttp.New(16 << 10)
	var saw atomic.Pointer[string] // what policy saw
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := pass(forwarder, guard, u, r, &saw); err != nil {
			httperr.Problem(w, r, err)
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(guard.Listener(l)) }()
	f.Cleanup(func() { _ = server.Close() })

	f.Fuzz(func(t *testing.T, target string) {
		if strings.ContainsAny(target, "\r\n") || len(target) > 5000 {
			return
		}
		got.Store(nil)
		saw.Store(nil)
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n", target)
		first, _ := bufio.NewReader(conn).ReadString('\n')
		if !strings.HasPrefix(first, "HTTP/1.1 200") {
			if got.Load() != nil {
				t.Fatalf("%q was refused and forwarded", target)
			}
			return
		}
		sent := strings.TrimPrefix(strings.TrimPrefix(target, "http://gateway.test"), "https://gateway.test")
		if g, s := got.Load(), saw.Load(); g == nil || s == nil || *g != *s || *g != sent && !strings.EqualFold(target[:4], "http") {
			t.Fatalf("sent %q, policy saw %v, upstream got %v", target, s, g)
		}
	})
}

func pass(f *Forwarder, guard *rawhttp.Guard, u Upstream, r *http.Request, saw *atomic.Pointer[string]) error {
	if err := guard.Violation(r); err != nil {
		return err
	}
	n, err := match.Normalise(r, "gateway.test")
	if err != nil {
		return err
	}
	m, err := match.Match(u.Kind, n, r)
	if err != nil {
		return err
	}
	call, err := m.Operation().Parse(m.Params(), n.Query(), "")
	if err != nil {
		return err
	}
	path := n.Path()
	saw.Store(&path)
	out, err := f.request(u, http.MethodGet, call.Path(), call.RawQuery())
	if err != nil {
		return err
	}
	resp, err := f.exchange(r.Context(), u, out)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return err
}
