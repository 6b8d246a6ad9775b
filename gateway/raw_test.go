package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/wire"
)

// bearerWorld takes plain tokens, so that a raw request can be spelled out.
func bearerWorld(tb testing.TB, server ...func(*http.Server)) (*world, string) {
	o := options{connector: func(c *wire.Connector) { c.AllowBearer, c.BearerLifetime = true, time.Hour }}
	if len(server) > 0 {
		o.server = server[0]
	}
	w := newWorld(tb, o)
	return w, w.token(func(c *capability.Claims) { c.Confirmation = capability.Confirmation{} }, w.grant("", allOperations...))
}

// wireSend writes bytes to the gateway and reads every response until it closes, or one
// when it keeps the connection.
func wireSend(t *testing.T, w *world, text string) []answer {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.base, "http://"))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = io.WriteString(conn, text)
	require.NoError(t, err)
	if half, ok := conn.(*net.TCPConn); ok && !strings.Contains(text, "Connection: close") {
		require.NoError(t, half.CloseWrite())
	}
	var out []answer
	r := bufio.NewReader(conn)
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return out
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return out
		}
		out = append(out, answer{resp.StatusCode, resp.Header, string(body)})
	}
}

// TestRawHTTP sends each row of the table of raw inputs over a socket. {T} stands for
// the authorization line, {H} for the Host line.
func TestRawHTTP(t *testing.T) {
	w, token := bearerWorld(t)
	post := "POST /v1/refunds HTTP/1.1\r\n{H}{T}Idempotency-Key: k\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	read := "GET /v1/customers/cus_1 HTTP/1.1\r\n{H}{T}"
	at := func(target string) string { return "GET " + target + " HTTP/1.1\r\n{H}{T}\r\n" }
	body := "charge=ch_1&amount=1"
	for _, c := range []struct {
		row, raw, reason string
		status           int
	}{
		{"CL and TE both", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX", "http_framing", 400},
		{"two equal CL", post + "Content-Length: 20\r\nContent-Length: 20\r\n\r\n" + body, "http_framing", 400},
		{"two CL in one line", post + "Content-Length: 20, 20\r\n\r\n" + body, "http_framing", 400},
		{"TE xchunked", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "http_framing", 400},
		{"double TE", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "http_framing", 400},
		{"TE with a space before the colon", post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "http_malformed", 400},
		{"two differing CL", post + "Content-Length: 20\r\nContent-Length: 21\r\n\r\n" + body, "http_framing", 400},
		{"CL with a plus", post + "Content-Length: +3\r\n\r\nabc", "http_framing", 400},
		{"CL negative", post + "Content-Length: -1\r\n\r\n", "http_framing", 400},
		{"chunk extension", post + "Transfer-Encoding: chunked\r\n\r\n14;x=y\r\n" + body + "\r\n0\r\n\r\n", "body_unreadable", 400},
		{"chunk with bare LF", post + "Transfer-Encoding: chunked\r\n\r\n14\n" + body + "\r\n0\r\n\r\n", "body_unreadable", 400},
		{"chunked trailer", post + "Transfer-Encoding: chunked\r\n\r\n14\r\n" + body + "\r\n0\r\nX-Agent-Id: x\r\n\r\n", "body_unreadable", 400},
		{"announced trailer", post + "Trailer: X-Agent-Id\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "header_refused", 400},
		{"bare LF header line", strings.Replace(read, "\r\n{T}", "\n{T}", 1) + "X-A: b\n\r\n", "http_bare_lf", 400},
		{"only bare LF", strings.ReplaceAll(read+"\r\n", "\r\n", "\n"), "http_bare_lf", 400},
		{"obs-fold", read + "X-A: b\r\n c\r\n\r\n", "http_obs_fold", 400},
		{"bare CR in a header", read + "X-A: b\rc\r\n\r\n", "http_malformed", 400},
		{"NUL in a header", read + "X-A: b\x00c\r\n\r\n", "http_malformed", 400},
		{"two Host", read + "{H}\r\n", "http_host", 400},
		{"no Host", "GET /v1/customers/cus_1 HTTP/1.1\r\n{T}\r\n", "http_host", 400},
		{"user in Host", "GET /v1/customers/cus_1 HTTP/1.1\r\nHost: user@host\r\n\r\n", "http_host", 400},
		{"non-ASCII Host", "GET /v1/customers/cus_1 HTTP/1.1\r\nHost: \xc3\xa9.example\r\n\r\n", "http_host", 400},
		{"bad percent escape", at("/v1/customers/%zz"), "http_malformed", 400},
		{"absolute form to another host", at("http://evil.example/v1/customers/cus_1"), "target_foreign", 400},
		{"dot segment", at("/v1/customers/../customers/cus_1"), "path_invalid", 400},
		{"single dot segment", at("/v1/./customers/cus_1"), "path_invalid", 400},
		{"double slash", at("//v1/customers/cus_1"), "path_invalid", 400},
		{"empty segment", at("/v1//customers/cus_1"), "path_invalid", 400},
		{"trailing slash", at("/v1/customers/cus_1/"), "path_invalid", 400},
		{"semicolon in path", at("/v1/customers;x=1/cus_1"), "path_invalid", 400},
		{"overlong UTF-8 dots", at("/v1/customers/%c0%ae%c0%ae/cus_1"), "path_invalid", 400},
		{"encoded NUL", at("/v1/customers/cus_1%00.json"), "path_invalid", 400},
		{"encoded dot segment", at("/v1/customers/%2e%2e/cus_1"), "path_invalid", 400},
		{"encoded slash", at("/v1/customers%2fcus_1"), "path_invalid", 400},
		{"encoded percent", at("/v1/customers/cus_1%252f"), "path_invalid", 400},
		{"encoded letter", at("/v1/customers/cus%5F1"), "path_invalid", 400},
		{"backslash", at("/v1/customers\\..\\cus_1"), "path_invalid", 400},
		{"fragment", at("/v1/customers/cus_1#/public"), "path_invalid", 400},
		{"semicolon in query", at("/v1/customers/cus_1?x=1;y=2"), "query_malformed", 400},
		{"empty query", at("/v1/customers/cus_1?"), "query_malformed", 400},
		{"10001 parameters", at("/v1/customers/cus_1?" + strings.Repeat("a=1&", 1000)), "form_too_many", 400},
		{"target too long", at("/v1/customers/" + strings.Repeat("a", 5000)), "path_invalid", 400},
		{"two Authorization", read + "{T}\r\n", "header_repeated", 400},
		{"GET with a body", read + "Content-Length: 1\r\n\r\nx", "body_unexpected", 400},
		{"GET with a chunked body", read + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "body_unexpected", 400},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\n{H}{T}\r\n", "method_unknown", 400},
		{"TRACE", "TRACE /v1/customers/cus_1 HTTP/1.1\r\n{H}{T}\r\n", "method_unknown", 400},
		{"CONNECT", "CONNECT evil.example:443 HTTP/1.1\r\n{H}{T}\r\n", "target_foreign", 400},
		{"lower-case method", "get /v1/customers/cus_1 HTTP/1.1\r\n{H}{T}\r\n", "method_unknown", 400},
		{"HEAD", "HEAD /v1/customers/cus_1 HTTP/1.1\r\n{H}{T}Connection: close\r\n\r\n", "", 400},
		{"HTTP/1.0", "GET /v1/customers/cus_1 HTTP/1.0\r\n{H}{T}\r\n", "http_version", 505},
		{"HTTP/1.0 with TE", "POST /v1/refunds HTTP/1.0\r\n{H}{T}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "http_version", 505},
		{"HTTP/2 preface in clear", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http_version", 505},
		{"Upgrade websocket", read + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "header_refused", 400},
		{"Upgrade h2c", read + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", "header_refused", 400},
		{"Connection names a header", read + "Connection: Authorization\r\n\r\n", "header_refused", 400},
		{"Expect", post + "Expect: 100-continue\r\nContent-Length: 20\r\n\r\n" + body, "header_refused", 400},
		{"2 MB header", read + "X-A: " + strings.Repeat("a", 2<<20) + "\r\n\r\n", "", 431},
		{"no request line", "\r\n\r\n", "http_malformed", 400},
		{"two spaces in the request line", "GET  /v1/customers/cus_1 HTTP/1.1\r\n{H}{T}\r\n", "http_malformed", 400},
		{"forged mark of the raw guard", read + "X-Agentid-Raw: x http_framing\r\nConnection: close\r\n\r\n", "", 200},
	} {
		t.Run(c.row, func(t *testing.T) {
			before := len(w.sent.of("GET")) + len(w.sent.of("POST"))
			raw := strings.NewReplacer("{T}", "Authorization: Bearer "+token+"\r\n", "{H}", "Host: "+strings.TrimPrefix(w.base, "http://")+"\r\n").Replace(c.raw)
			got := wireSend(t, w, raw)
			if c.row == "2 MB header" && len(got) == 0 {
				return // cut off before the answer could be read
			}
			if c.row == "HEAD" {
				require.Equal(t, before, len(w.sent.of("GET"))+len(w.sent.of("POST")))
				return // no body to read: the refusal is in the audit log
			}
			require.Len(t, got, 1, "one answer, and the connection closed: %v", got)
			require.Equal(t, c.status, got[0].status, got[0].body)
			sent := len(w.sent.of("GET")) + len(w.sent.of("POST"))
			if c.status == 200 {
				require.NotContains(t, w.sent.of("GET")[0].header, "X-Agentid-Raw")
				return
			}
			require.Equal(t, before, sent, "nothing reaches the upstream")
			if c.reason == "" {
				return
			}
			require.Contains(t, got[0].body, c.reason)
			require.Equal(t, c.reason, w.last().Reason, "audited")
		})
	}
}

// A smuggled second request is never read as one.
func TestNothingFollowsARefusedRequest(t *testing.T) {
	w, token := bearerWorld(t)
	head := "Host: " + strings.TrimPrefix(w.base, "http://") + "\r\nAuthorization: Bearer " + token + "\r\n"
	smuggled := "GET /v1/customers/cus_1 HTTP/1.1\r\n" + head + "\r\n"
	got := wireSend(t, w, "POST /v1/refunds HTTP/1.1\r\n"+head+fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", len(smuggled)+5)+smuggled)
	require.Len(t, got, 1)
	require.Contains(t, got[0].body, "http_framing")
	require.Empty(t, w.sent.of("GET"))
}

// Pipelined and chunked requests that keep the grammar work.
func TestStrictRequestsGoThrough(t *testing.T) {
	w, token := bearerWorld(t)
	head := "Host: " + strings.TrimPrefix(w.base, "http://") + "\r\nAuthorization: Bearer " + token + "\r\n"
	read := "GET /v1/customers/cus_1 HTTP/1.1\r\n" + head + "\r\n"
	post := "POST /v1/refunds HTTP/1.1\r\n" + head + "Idempotency-Key: k\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"0b\r\ncharge=ch_1\r\na\r\n&amount=10\r\n0\r\n\r\n"
	absolute := "GET " + w.base + "/v1/customers/cus_1 HTTP/1.1\r\n" + head + "Connection: close\r\n\r\n"
	got := wireSend(t, w, read+post+read+absolute)
	require.Len(t, got, 4)
	for i, a := range got {
		require.Equal(t, 200, a.status, "%d: %s", i, a.body)
	}
	posts := w.sent.of("POST")
	require.Len(t, posts, 1)
	require.Equal(t, "charge=ch_1&amount=10", posts[0].body)
	require.Empty(t, posts[0].header.Get("Transfer-Encoding"))
}

// TestPathIsTheSameUpstream: for every path that is let through, what policy saw is byte
// for byte what came to the upstream. gateway/forward fuzzes the same without the graph.
func TestPathIsTheSameUpstream(t *testing.T) {
	w, token := bearerWorld(t)
	good := []string{"/v1/customers/cus_1", "/v1/charges/ch_1", "/v1/payment_intents/pi_1"}
	odd := []string{"%2f", "%5f", "/", "//", "/.", "/..", ";", "?", "#", "\\", "%00", "%", "%c0%ae", "\u00e9", "%C3%A9", "+", "=", ":", "@", "*", " ", "\t", "~", "x"}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 400 {
		target := good[i%len(good)]
		if i >= len(good) {
			at := random.IntN(len(target) + 1)
			target = target[:at] + odd[random.IntN(len(odd))] + target[at:]
		}
		w.sent.mu <- struct{}{}
		w.sent.all = nil
		<-w.sent.mu
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.base, "http://"))
		require.NoError(t, err)
		_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", target, strings.TrimPrefix(w.base, "http://"), token)
		first, _ := bufio.NewReader(conn).ReadString('\n')
		_ = conn.Close()
		gets := w.sent.of("GET")
		for _, g := range gets {
			require.Regexp(t, upstreamPath, g.uri, target)
		}
		if strings.HasPrefix(first, "HTTP/1.1 200") {
			require.Equal(t, target, gets[len(gets)-1].uri)
		}
	}
}

var upstreamPath = regexp.MustCompile(`\A/v1/(charges|customers|payment_intents|refunds)/[A-Za-z0-9_]+\z`)
