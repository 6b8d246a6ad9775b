package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/wire/api"
)

// weather is what the proxy does to the stream of events. The zero weather is fair.
type weather struct {
	delay     time.Duration // up to so much, before each event
	drop      float64       // of the events
	duplicate float64
	reorder   float64 // an event is sent again after the one that follows it
	swap      float64 // an event is kept back until the next line, which goes first
	cut       float64 // the stream is cut after an event
	mute      bool    // no line passes; renewals do
	dead      bool    // nothing passes, in either direction, and nothing is answered
}

// meddler stands between one gateway and the broker, in the middle of their TLS: it holds
// the keys of both. It passes every call on and mistreats the event stream.
type meddler struct {
	t        *testing.T
	addr     string
	upstream string
	client   *http.Client
	server   *http.Server

	mu      sync.Mutex
	now     weather
	changed chan struct{}
	seen    int // events that were mistreated
}

// newMeddler listens in the broker's name; use connects it once the gateway has a
// certificate.
func newMeddler(t *testing.T, upstream string) *meddler {
	t.Helper()
	return &meddler{t: t, addr: freePort(t), upstream: upstream, changed: make(chan struct{})}
}

// use starts the proxy with the broker's and the gateway's certificates.
func (m *meddler) use(dataDir, gatewayDir string) {
	m.t.Helper()
	brokerDir := filepath.Join(dataDir, "fleet", "broker")
	broker, err := tls.LoadX509KeyPair(filepath.Join(brokerDir, "tls.crt"), filepath.Join(brokerDir, "tls.key"))
	require.NoError(m.t, err)
	gateway, err := tls.LoadX509KeyPair(filepath.Join(gatewayDir, "tls.crt"), filepath.Join(gatewayDir, "tls.key"))
	require.NoError(m.t, err)
	authority, err := os.ReadFile(filepath.Join(gatewayDir, "ca.crt"))
	require.NoError(m.t, err)
	roots := x509.NewCertPool()
	require.True(m.t, roots.AppendCertsFromPEM(authority))
	m.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{gateway}},
		MaxIdleConnsPerHost: 16,
	}}
	m.server = &http.Server{Handler: m, TLSConfig: &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{broker}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots,
		NextProtos: []string{"http/1.1"},
	}}
	l, err := net.Listen("tcp", m.addr)
	require.NoError(m.t, err)
	go func() { _ = m.server.ServeTLS(l, "", "") }()
	m.t.Cleanup(func() { _ = m.server.Close(); m.client.CloseIdleConnections() })
}

func (m *meddler) set(w weather) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = w
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *meddler) weather() (weather, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now, m.changed
}

func (m *meddler) mistreated(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen += n
}

// ServeHTTP passes a call on.
func (m *meddler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !m.alive(r.Context()) {
		panic(http.ErrAbortHandler)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	req, err := http.NewRequestWithContext(r.Context(), r.Method, "https://"+m.upstream+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	req.Header = r.Header.Clone()
	resp, err := m.client.Do(req)
	if err != nil || !m.alive(r.Context()) {
		panic(http.ErrAbortHandler)
	}
	defer func() { _ = resp.Body.Close() }()
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	if r.URL.Path != api.PathEvents || resp.StatusCode != http.StatusOK {
		_, _ = io.Copy(w, resp.Body)
		return
	}
	m.stream(r.Context(), w, resp.Body)
	panic(http.ErrAbortHandler)
}

// alive waits while the proxy is dead; false when the call ended meanwhile.
func (m *meddler) alive(ctx context.Context) bool {
	for {
		now, changed := m.weather()
		if !now.dead {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
}

// stream passes lines on, or not.
func (m *meddler) stream(ctx context.Context, w http.ResponseWriter, body io.Reader) {
	var kept [][]byte // to be sent after the next line
	send := func(line []byte) {
		_, _ = w.Write(append(line, '\n'))
		_ = http.NewResponseController(w).Flush()
	}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, api.MaxResponse)
	for lines.Scan() {
		line := bytes.Clone(lines.Bytes())
		now, _ := m.weather()
		switch {
		case now.dead && !m.alive(ctx):
			return
		case now.mute:
			continue
		case !bytes.HasPrefix(line, []byte(`{"event"`)):
			send(line)
			for _, late := range kept {
				send(late)
			}
			kept = nil
			continue
		}
		if now.delay > 0 {
			timer := time.NewTimer(rand.N(now.delay))
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		}
		dice := rand.Float64
		late := kept
		kept = nil
		switch {
		case dice() < now.drop:
			m.mistreated(1)
		case dice() < now.swap:
			m.mistreated(1)
			kept = append(kept, line)
		default:
			send(line)
			if dice() < now.duplicate {
				m.mistreated(1)
				send(line)
			}
			if dice() < now.reorder {
				m.mistreated(1)
				kept = append(kept, line)
			}
		}
		for _, l := range late {
			send(l)
		}
		if dice() < now.cut {
			m.mistreated(1)
			return
		}
	}
}
