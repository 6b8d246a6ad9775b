package gateway_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// impatient scales the server's bounds on a peer down.
func impatient(s *http.Server) {
	s.ReadHeaderTimeout = 150 * time.Millisecond
	s.ReadTimeout = 300 * time.Millisecond
	s.IdleTimeout = 150 * time.Millisecond
}

func TestServerHasItsBounds(t *testing.T) {
	w := newWorld(t, options{})
	s := w.gateway.Server("")
	require.NotZero(t, s.ReadHeaderTimeout)
	require.NotZero(t, s.ReadTimeout)
	require.NotZero(t, s.WriteTimeout)
	require.NotZero(t, s.IdleTimeout)
	require.Equal(t, 32<<10, s.MaxHeaderBytes)
	require.True(t, s.DisableGeneralOptionsHandler)
}

// Slow heads, slow bodies, endless chunks: each is cut off, and nothing is left behind.
func TestSlowPeersAreCutOff(t *testing.T) {
	w, token := bearerWorld(t, impatient)
	host := strings.TrimPrefix(w.base, "http://")
	head := "POST /v1/refunds HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + token +
		"\r\nIdempotency-Key: k\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	for name, c := range map[string]struct {
		first, drip string
		answer      string
	}{
		"silent":         {first: "", drip: ""},
		"slow headers":   {first: "GET / HTTP/1.1\r\nHost: " + host + "\r\n", drip: "X: y\r\n"},
		"slow body":      {first: head + "Content-Length: 100000\r\n\r\n", drip: "a", answer: "body_too_large"},
		"stalled body":   {first: head + "Content-Length: 100\r\n\r\namount=1", drip: "", answer: "body_timeout"},
		"endless chunks": {first: head + "Transfer-Encoding: chunked\r\n\r\n", drip: "1\r\na\r\n", answer: "body_timeout"},
		"half a chunk":   {first: head + "Transfer-Encoding: chunked\r\n\r\n5\r\nam", drip: "", answer: "body_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", host)
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			_, err = io.WriteString(conn, c.first)
			require.NoError(t, err)
			stop := make(chan struct{})
			go func() {
				for c.drip != "" {
					select {
					case <-stop:
						return
					case <-time.After(10 * time.Millisecond):
						if _, err := io.WriteString(conn, c.drip); err != nil {
							return
						}
					}
				}
			}()
			defer close(stop)
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
			text, err := io.ReadAll(conn)
			var timeout net.Error
			require.False(t, asTimeout(err, &timeout), "the gateway ends the connection")
			require.Contains(t, string(text), c.answer)
		})
	}
	require.Empty(t, w.sent.of("POST"))
}

func asTimeout(err error, e *net.Error) bool {
	n, ok := err.(net.Error) //nolint:errorlint // straight from net
	*e = n
	return ok && n.Timeout()
}

func TestGoroutinesReturnToBaseline(t *testing.T) {
	w, token := bearerWorld(t, impatient)
	one := func(i int) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.base, "http://"))
		require.NoError(t, err)
		_, _ = fmt.Fprintf(conn, "GET /v1/customers/cus_1 HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n", strings.TrimPrefix(w.base, "http://"), token)
		if i%2 == 0 {
			_, _ = io.WriteString(conn, "\r\n")
		}
		_ = conn.Close()
	}
	one(0)
	runtime.GC()
	before := runtime.NumGoroutine()
	for i := range 100 {
		one(i)
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+10 }, 10*time.Second, 20*time.Millisecond)
}
