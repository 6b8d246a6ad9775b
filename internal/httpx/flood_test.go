package httpx_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/agentid-dev/agentid/internal/httpx"
)

// flooded is a server with the bounds of NewServer over TLS, whose handler works for as
// long as its request lasts where the path is "/work".
type flooded struct {
	addr          string
	roots         *x509.CertPool
	running, most atomic.Int64
	begun         atomic.Int64
}

func newFlooded(t *testing.T) *flooded {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	f := &flooded{roots: x509.NewCertPool()}
	f.roots.AddCert(leaf)
	s := httpx.NewServer("", http.HandlerFunc(f.serve), slog.New(slog.DiscardHandler))
	s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f.addr = l.Addr().String()
	done := make(chan struct{})
	go func() { defer close(done); _ = s.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return f
}

func (f *flooded) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/work" {
		return
	}
	f.begun.Add(1)
	now := f.running.Add(1)
	defer f.running.Add(-1)
	for most := f.most.Load(); now > most && !f.most.CompareAndSwap(most, now); most = f.most.Load() {
	}
	<-r.Context().Done()
	w.WriteHeader(http.StatusOK)
}

// attacker is one connection that sends frames as it likes, and reads no answer but how the
// connection ends.
type attacker struct {
	conn  *tls.Conn
	frame *http2.Framer
}

// patience is how long an attack may go on before the test gives up on the server.
const patience = time.Minute

func (f *flooded) attack(t *testing.T) *attacker {
	t.Helper()
	conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.roots, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.Equal(t, "h2", conn.ConnectionState().NegotiatedProtocol)
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = conn.Write([]byte(http2.ClientPreface))
	require.NoError(t, err)
	a := &attacker{conn: conn, frame: http2.NewFramer(conn, conn)}
	require.NoError(t, a.frame.WriteSettings())
	return a
}

// request is the header block of a POST to /work, and more fields.
func request(more ...hpack.HeaderField) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, h := range append([]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "a"}, {Name: ":path", Value: "/work"},
	}, more...) {
		_ = e.WriteField(h)
	}
	return b.Bytes()
}

// ended reads until the server ends the connection, and gives the code that it named.
func (a *attacker) ended(t *testing.T) http2.ErrCode {
	t.Helper()
	code := http2.ErrCodeNo
	for {
		frame, err := a.frame.ReadFrame()
		if err != nil {
			var timeout net.Error
			require.NotErrorAs(t, err, &timeout, "the server did not end the connection")
			return code
		}
		if away, ok := frame.(*http2.GoAwayFrame); ok {
			code = away.ErrCode
		}
	}
}

// stillServes: somebody else is answered as ever.
func (f *flooded) stillServes(t *testing.T) {
	t.Helper()
	c := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: f.roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}}
	defer c.CloseIdleConnections()
	resp, err := c.Get("https://" + f.addr + "/") //nolint:noctx // has a timeout
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, 2, resp.ProtoMajor)
}

func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestHTTP2Floods sends what took other servers down. In each the work of the server stays
// within its streams, it keeps little for the attacker, and others are served.
func TestHTTP2Floods(t *testing.T) {
	const frames = 50_000
	for name, flood := range map[string]struct {
		send  func(a *attacker, i uint32) error
		ends  bool // the server ends the connection
		works bool // requests come as far as the handler
	}{
		"rapid reset": {works: true, send: func(a *attacker, i uint32) error {
			if err := a.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: request(), EndHeaders: true}); err != nil {
				return err
			}
			return a.frame.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
		}},
		"streams without an end": {works: true, send: func(a *attacker, i uint32) error {
			return a.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: request(), EndHeaders: true})
		}},
		"CONTINUATION without an end": {ends: true, send: func(a *attacker, i uint32) error {
			block := request(hpack.HeaderField{Name: "x-a", Value: string(bytes.Repeat([]byte("a"), 8<<10))})
			if i == 0 {
				return a.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: request()})
			}
			return a.frame.WriteContinuation(1, false, block)
		}},
		"empty CONTINUATION without an end": {send: func(a *attacker, i uint32) error {
			if i == 0 {
				return a.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: request()})
			}
			return a.frame.WriteContinuation(1, false, nil)
		}},
		"settings": {send: func(a *attacker, _ uint32) error { return a.frame.WriteSettings() }},
		"pings":    {send: func(a *attacker, _ uint32) error { return a.frame.WritePing(false, [8]byte{}) }},
		"empty header names": {send: func(a *attacker, i uint32) error {
			return a.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: request(hpack.HeaderField{}), EndHeaders: true, EndStream: true})
		}},
		"connection-specific headers": {send: func(a *attacker, i uint32) error {
			block := request(hpack.HeaderField{Name: "connection", Value: "close"})
			return a.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: block, EndHeaders: true, EndStream: true})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlooded(t)
			f.stillServes(t)
			routines, before := runtime.NumGoroutine(), live()
			a := f.attack(t)
			sent := uint32(0)
			for ; sent < frames; sent++ {
				if flood.send(a, sent) != nil { // the server has had enough
					break
				}
			}
			f.stillServes(t)
			require.LessOrEqual(t, f.most.Load(), int64(httpx.MaxStreams), "handlers at one time")
			require.LessOrEqual(t, runtime.NumGoroutine(), routines+httpx.MaxStreams+32)
			const little = 32 << 20
			require.Less(t, int64(live())-int64(before), int64(little), "bytes kept")
			if flood.works {
				require.Positive(t, f.begun.Load())
			} else {
				require.Zero(t, f.begun.Load(), "no such request comes to the handler")
			}
			if flood.ends {
				t.Logf("ended after %d frames: %s", sent, a.ended(t))
			}
			t.Logf("%d of %d frames sent, at most %d handlers at one time", sent, frames, f.most.Load())
			require.NoError(t, a.conn.NetConn().Close())
			f.stillServes(t)
		})
	}
}
