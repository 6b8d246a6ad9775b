package egress_test

import (
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/egress"
)

func get(t *testing.T, c *http.Client, url string) (int, string, error) {
	t.Helper()
	t.Cleanup(c.CloseIdleConnections)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func TestClientFollowsNoRedirect(t *testing.T) {
	for _, target := range []string{"http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "/elsewhere"} {
		asked := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			http.Redirect(w, r, target, http.StatusFound)
		}))
		defer s.Close()
		status, _, err := get(t, egress.Client(egress.Config{AllowPrivate: true}), s.URL)
		require.NoError(t, err)
		require.Equal(t, http.StatusFound, status)
		require.Equal(t, 1, asked)
	}
}

func TestClientBoundsTheBody(t *testing.T) {
	for name, serve := range map[string]http.HandlerFunc{
		"declared": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 101)) },
		"chunked": func(w http.ResponseWriter, _ *http.Request) {
			for range 101 {
				_, _ = io.WriteString(w, "x")
				_ = http.NewResponseController(w).Flush()
			}
		},
	} {
		s := httptest.NewServer(serve)
		defer s.Close()
		_, _, err := get(t, egress.Client(egress.Config{AllowPrivate: true, MaxBytes: 100}), s.URL)
		require.ErrorIs(t, err, egress.ErrTooLarge, name)
		_, body, err := get(t, egress.Client(egress.Config{AllowPrivate: true, MaxBytes: 101}), s.URL)
		require.NoError(t, err, name)
		require.Len(t, body, 101, name)
	}
}

func TestClientEndsASlowDrip(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-r.Context().Done():
				tick.Stop()
				return
			case <-tick.C:
				_, _ = io.WriteString(w, "x")
				_ = http.NewResponseController(w).Flush()
			}
		}
	}))
	defer s.Close()
	_, _, err := get(t, egress.Client(egress.Config{AllowPrivate: true, Timeout: 50 * time.Millisecond}), s.URL)
	require.ErrorContains(t, err, "Client.Timeout")
}

func TestClientSpeaksHTTPS(t *testing.T) {
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer secure.Close()
	plain := httptest.NewServer(secure.Config.Handler)
	defer plain.Close()
	pool := x509.NewCertPool()
	pool.AddCert(secure.Certificate())

	_, body, err := get(t, egress.Client(egress.Config{AllowPrivate: true, RootCAs: pool}), secure.URL)
	require.NoError(t, err)
	require.Equal(t, "ok", body)
	_, _, err = get(t, egress.Client(egress.Config{RootCAs: pool}), secure.URL)
	require.ErrorIs(t, err, egress.ErrBlocked, "a private address")
	_, _, err = get(t, egress.Client(egress.Config{AllowPrivate: true}), secure.URL)
	require.ErrorContains(t, err, "certificate", "an unknown authority")
	_, _, err = get(t, egress.Client(egress.Config{}), plain.URL)
	require.ErrorIs(t, err, egress.ErrInsecure, "http without the permission")
	_, _, err = get(t, egress.Client(egress.Config{AllowPrivate: true}), "ftp://127.0.0.1/x")
	require.ErrorIs(t, err, egress.ErrInsecure, "another scheme")
	elsewhere := egress.Client(egress.Config{AllowPrivate: true, Resolver: fixed("127.0.0.1")})
	_, _, err = get(t, elsewhere, strings.Replace(plain.URL, "127.0.0.1", "localhost", 1))
	require.NoError(t, err, "a name of loopback")
}

// Plain http to a private address that is not this machine is refused even where private
// addresses are allowed, before a packet is sent.
func TestClientInClearIsForLoopbackOnly(t *testing.T) {
	for _, address := range []string{"10.255.255.1", "8.8.8.8", "[fd00::1]"} {
		_, _, err := get(t, egress.Client(egress.Config{AllowPrivate: true}), "http://"+address+"/")
		require.ErrorIs(t, err, egress.ErrInsecure, address)
	}
}

func fixed(address string) *names {
	return &names{answers: [][]string{{netip.MustParseAddr(address).String()}}}
}
