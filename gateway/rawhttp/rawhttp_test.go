package rawhttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// script is a connection whose peer sends these pieces and then nothing more.
type script struct {
	net.Conn
	pieces []string
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; s.pieces[0] == "" {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

func split(text string, size int) []string {
	var out []string
	for len(text) > size {
		out, text = append(out, text[:size]), text[size:]
	}
	return append(out, text)
}

func TestGoodRequestsPassUnchanged(t *testing.T) {
	text := "GET /a HTTP/1.1\r\nHost: h\r\n\r\n" +
		"POST /b HTTP/1.1\r\nhost: h:1\r\ncontent-length: 3\r\n\r\nx\ny" +
		"POST /c HTTP/1.1\r\nHost: [::1]:1\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\n\n\n\r\n0a\r\n0123456789\r\n0\r\n\r\n" +
		"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"
	for _, size := range []int{1, 2, 3, 7, 64, 4096} {
		c := &conn{Conn: &script{pieces: split(text, size)}, guard: New(1 << 10)}
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
}

func TestOneRequestAtATime(t *testing.T) {
	c := &conn{Conn: &script{pieces: []string{"GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n"}}, guard: New(1 << 10)}
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", string(buf[:n]))
}

func TestAnInterruptedReadLosesNothing(t *testing.T) {
	client, server := net.Pipe()
	defer func() { _ = client.Close() }()
	c := &conn{Conn: server, guard: New(1 << 10)}
	go func() { _, _ = io.WriteString(client, "GET / HT") }()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err := c.Read(make([]byte, 1))
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout())
	require.NoError(t, c.SetReadDeadline(time.Time{}))
	go func() { _, _ = io.WriteString(client, "TP/1.1\r\nHost: h\r\n\r\n") }()
	req, err := http.ReadRequest(bufio.NewReader(c))
	require.NoError(t, err)
	require.Equal(t, "/", req.URL.Path)
}

func TestTheMarkCannotBeGuessed(t *testing.T) {
	g := New(1 << 10)
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(g.marked("h", ReasonFraming))))
	require.NoError(t, err)
	require.Error(t, g.Violation(r))
	require.NoError(t, New(1<<10).Violation(r), "another process's mark")
	for _, v := range []string{"", " ", "x http_framing", " http_framing"} {
		r.Header.Set(markHeader, v)
		require.NoError(t, g.Violation(r))
	}
}

// FuzzConn: whatever a peer sends, what is handed on keeps the grammar: net/http reads
// from it requests whose lengths are stated once, or the mark, and nothing after it.
func FuzzConn(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 3)
	f.Add("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 5)
	f.Add("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\nHost: h\r\n\r\n", 4096)
	f.Fuzz(func(t *testing.T, text string, size int) {
		g := New(1 << 10)
		out, _ := io.ReadAll(&conn{Conn: &script{pieces: split(text, max(1, size%5000))}, guard: g})
		r := bufio.NewReader(strings.NewReader(string(out)))
		marked := false
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if marked {
				t.Fatalf("a request follows the mark: %q", out)
			}
			marked = g.Violation(req) != nil
			if len(req.TransferEncoding) > 0 && req.Header.Get("Content-Length") != "" || req.Host == "" {
				t.Fatalf("two framings, or no host: %q", out)
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
		}
	})
}
