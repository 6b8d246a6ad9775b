package egress

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"time"
)

// The bounds of a Client that leaves them zero.
const (
	DefaultTimeout  = 3 * time.Second
	DefaultMaxBytes = 256 << 10
)

// ErrTooLarge marks a body that is longer than allowed; reading it ends with it.
var ErrTooLarge = errors.New("the answer is too large")

// ErrInsecure marks a URL that is not https, or http to something else than loopback.
var ErrInsecure = errors.New("want an https URL")

// Config makes a Client. The zero Config is the strict one.
type Config struct {
	AllowPrivate bool           // private and loopback addresses too; http, to loopback only
	Timeout      time.Duration  // of a whole exchange with its body; DefaultTimeout when zero
	MaxBytes     int64          // of a body; DefaultMaxBytes when zero
	RootCAs      *x509.CertPool // the system's when nil
	Resolver     Resolver       // net.DefaultResolver when nil
}

// Client returns an HTTP client for documents from strangers. It follows no redirect:
// the caller sees the 3xx. It asks for no compression, uses no proxy of the environment,
// keeps no cookies. A body that is too large fails with ErrTooLarge, another scheme with
// ErrInsecure, an address that is not allowed with ErrBlocked.
func Client(cfg Config) *http.Client {
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	secure := &Dialer{Resolver: cfg.Resolver, Timeout: cfg.Timeout, AllowPrivate: cfg.AllowPrivate}
	plain := &Dialer{Resolver: cfg.Resolver, Timeout: cfg.Timeout, AllowPrivate: cfg.AllowPrivate, loopbackOnly: true}
	return &http.Client{
		Timeout:       cfg.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &guarded{
			max:    cfg.MaxBytes,
			secure: documents(cfg, secure),
			plain:  documents(cfg, plain),
			allow:  cfg.AllowPrivate,
		},
	}
}

func documents(cfg Config, dialer *Dialer) *http.Transport {
	return &http.Transport{
		Proxy:                  nil, // an environment's proxy would dial for us
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs},
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // a bound on what is read is a bound on what it becomes
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        30 * time.Second,
		TLSHandshakeTimeout:    cfg.Timeout,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

type guarded struct {
	max           int64
	allow         bool // http to loopback
	secure, plain *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	t := g.secure
	if r.URL.Scheme != "https" {
		if r.URL.Scheme != "http" || !g.allow {
			return nil, ErrInsecure
		}
		t = g.plain
	}
	resp, err := t.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.ContentLength > g.max {
		_ = resp.Body.Close()
		return nil, ErrTooLarge
	}
	resp.Body = &bounded{ReadCloser: resp.Body, left: g.max}
	return resp, nil
}

// CloseIdleConnections is what http.Client.CloseIdleConnections calls.
func (g *guarded) CloseIdleConnections() {
	g.secure.CloseIdleConnections()
	g.plain.CloseIdleConnections()
}

// bounded fails once more than left bytes came.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if int64(n) > b.left {
		return 0, ErrTooLarge
	}
	b.left -= int64(n)
	return n, err
}
