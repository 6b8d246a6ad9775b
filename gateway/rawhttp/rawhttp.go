// Package rawhttp looks at HTTP/1.1 as it comes over the wire, before net/http reads
// it: net/http repairs what other readers take differently (both lengths, bare line
// feeds, folded lines), and what it repaired a handler cannot see.
//
// It owns the strict grammar of a request's head and of its framing, and nothing of
// what a request means. A connection whose next request breaks the grammar delivers a
// marked request instead, which Violation recognises, and then ends.
package rawhttp

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
)

// The reasons of a violation, all KindInvalid.
const (
	ReasonMalformed = "http_malformed" // not the grammar of RFC 9112
	ReasonFraming   = "http_framing"   // lengths that two readers take differently
	ReasonBareLF    = "http_bare_lf"   // a line that does not end in CR LF
	ReasonObsFold   = "http_obs_fold"  // a header line that goes on in the next
	ReasonHost      = "http_host"      // no Host, more than one, or a bad one
	ReasonVersion   = "http_version"   // not HTTP/1.1
	ReasonTarget    = "target_foreign" // an absolute or authority form for another host
)

const markHeader = "X-Agentid-Raw"

// headSlack is what net/http allows above MaxHeaderBytes; beyond it it answers 431.
const headSlack = 4096

// Guard makes guarded listeners and recognises their marks.
type Guard struct {
	maxHead int
	mark    string // random per process: no peer can set it
}

// New makes a Guard for heads of at most maxHead bytes.
func New(maxHead int) *Guard { return &Guard{maxHead: maxHead + headSlack, mark: rand.Text()} }

// Listener wraps the connections of a listener that speaks HTTP/1.1, TLS or not. A
// *tls.Conn below it negotiates no HTTP/2.
func (g *Guard) Listener(l net.Listener) net.Listener { return &listener{Listener: l, guard: g} }

type listener struct {
	net.Listener
	guard *Guard
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, guard: l.guard}, nil
}

// Violation is the refusal that r stands for, or nil for a request that kept the grammar.
func (g *Guard) Violation(r *http.Request) error {
	mark, reason, _ := strings.Cut(r.Header.Get(markHeader), " ")
	if subtle.ConstantTimeCompare([]byte(mark), []byte(g.mark)) != 1 {
		return nil
	}
	return agentid.Errorf(agentid.KindInvalid, reason, "the request is not strict HTTP/1.1")
}

// NetConn is the connection below, as of *tls.Conn.
func (c *conn) NetConn() net.Conn { return c.Conn }

// phase is where in a connection's stream of requests the next byte belongs.
type phase int

const (
	inHead phase = iota
	inBody
	inChunkSize
	inChunkData
	inChunkEnd
	inTrailer
	ended
)

// conn hands on whole heads that keep the grammar and the bodies that they announce.
type conn struct {
	net.Conn
	guard *Guard
	phase phase
	in    []byte // read from the peer, not looked at
	out   []byte // looked at, to be handed on
	left  int64  // of the body or the chunk

	buffer []byte // what in and out are parts of
}

var errChunk = errors.New("rawhttp: malformed chunked body")

// Read implements net.Conn. It hands on bytes of one request at a time: what follows is
// looked at when net/http asks for it. Errors of the peer's connection pass unchanged
// and lose nothing, because net/http interrupts reads with deadlines.
func (c *conn) Read(p []byte) (int, error) {
	for len(c.out) == 0 {
		if len(p) == 0 {
			return 0, nil
		}
		if c.phase == inBody || c.phase == inChunkData {
			return c.pass(p)
		}
		if err := c.step(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// pass hands on body bytes as they come.
func (c *conn) pass(p []byte) (int, error) {
	if len(c.in) == 0 {
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p[:min(int64(len(p)), c.left)], c.in)
	c.in, c.left = c.in[n:], c.left-int64(n)
	if c.left == 0 {
		if c.phase == inBody {
			c.phase = inHead
		} else {
			c.phase = inChunkEnd
		}
	}
	return n, nil
}

func (c *conn) step() error {
	switch c.phase {
	case inHead:
		return c.head()
	case inChunkSize:
		return c.chunkSize()
	case inChunkEnd:
		return c.emptyLine(inChunkSize)
	case inTrailer:
		return c.emptyLine(inHead)
	default:
		return io.EOF
	}
}

// readAhead is the least room that a read from the peer is given.
const readAhead = 2 << 10

// fill reads from the peer. What was handed on before is consumed by now, so that the
// buffer starts anew where nothing is left to look at.
func (c *conn) fill() error {
	if len(c.in) == 0 {
		c.in = c.buffer[:0]
	}
	if cap(c.in)-len(c.in) < readAhead {
		c.in = slices.Grow(c.in, 2*readAhead)
		c.buffer = c.in[:0]
	}
	n, err := c.Conn.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	if n > 0 {
		return nil
	}
	return err
}

func (c *conn) head() error {
	end, reason := headEnd(c.in)
	for end < 0 && reason == "" {
		if len(c.in) > c.guard.maxHead {
			c.out, c.in, c.phase = c.in, nil, ended // net/http answers 431
			return nil
		}
		if err := c.fill(); err != nil {
			return err
		}
		end, reason = headEnd(c.in)
	}
	if reason == "" {
		var f framing
		if f, reason = check(c.in[:end]); reason == "" {
			c.out, c.in = c.in[:end:end], c.in[end:]
			c.begin(f)
			return nil
		}
	}
	c.out, c.in, c.phase = []byte(c.guard.marked(hostOf(c.in), reason)), nil, ended
	return nil
}

func (c *conn) begin(f framing) {
	switch {
	case f.chunked:
		c.phase = inChunkSize
	case f.length > 0:
		c.phase, c.left = inBody, f.length
	}
}

func (g *Guard) marked(host, reason string) string {
	return "GET / HTTP/1.1\r\nHost: " + host + "\r\n" + markHeader + ": " + g.mark + " " + reason + "\r\nConnection: close\r\n\r\n"
}

// line takes one line that ends in CR LF off the input, without its end.
func (c *conn) line() (string, error) {
	const longest = 256
	for {
		for i, b := range c.in {
			if b == '\n' {
				if i == 0 || c.in[i-1] != '\r' {
					return "", errChunk
				}
				text := string(c.in[:i-1])
				c.in = c.in[i+1:]
				return text, nil
			}
			if i > longest {
				return "", errChunk
			}
		}
		if err := c.fill(); err != nil {
			return "", err
		}
	}
}

// chunkSize reads "1a" and no chunk extension, which nobody uses and readers differ on.
func (c *conn) chunkSize() error {
	text, err := c.line()
	if err != nil {
		return c.broken(err)
	}
	size, ok := hexSize(text)
	if !ok {
		return c.broken(errChunk)
	}
	c.out = []byte(text + "\r\n")
	c.left, c.phase = size, inChunkData
	if size == 0 {
		c.phase = inTrailer
	}
	return nil
}

// emptyLine reads the end of a chunk, or of the body: a trailer is refused.
func (c *conn) emptyLine(next phase) error {
	text, err := c.line()
	if err != nil {
		return c.broken(err)
	}
	if text != "" {
		return c.broken(errChunk)
	}
	c.out, c.phase = []byte("\r\n"), next
	return nil
}

// broken ends the connection for a grammar error; the body's reader sees the error.
func (c *conn) broken(err error) error {
	if errors.Is(err, errChunk) {
		c.phase, c.in = ended, nil
	}
	return err
}

// CloseWrite lets net/http end a connection so that the last response arrives.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.SetWriteDeadline(time.Now())
}
