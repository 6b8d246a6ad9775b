// Package forward speaks to the upstream (phase 9): a fresh request, the connector's
// credential, an address that was looked at, and an answer without our secrets.
//
// It owns egress. It takes a policy.Allowed and looks at it again before the first
// byte; it decides nothing else, and settles and audits nothing.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/internal/egress"
	"github.com/agentid-dev/agentid/internal/policy"
)

// MaxLookup bounds the body of a lookup's answer, in bytes.
const MaxLookup = 256 << 10

// Config makes a Forwarder.
type Config struct {
	Timeout  time.Duration   // of one request with its body, and of a stream's header; 30 s when zero
	Idle     time.Duration   // between two reads of a stream; 60 s when zero
	Lookup   time.Duration   // of one lookup; 10 s when zero
	Resolver egress.Resolver // net.DefaultResolver when nil
	Now      func() time.Time
}

// Forwarder keeps the connections to all upstreams. It is safe for concurrent use.
type Forwarder struct {
	cfg             Config
	public, private *http.Transport
}

// New makes a Forwarder.
func New(cfg Config) *Forwarder {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Lookup <= 0 {
		cfg.Lookup = 10 * time.Second
	}
	if cfg.Idle <= 0 {
		cfg.Idle = 60 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Forwarder{cfg: cfg, public: transport(cfg, false), private: transport(cfg, true)}
}

func transport(cfg Config, allowPrivate bool) *http.Transport {
	d := &egress.Dialer{Resolver: cfg.Resolver, AllowPrivate: allowPrivate}
	return &http.Transport{
		Proxy:                  nil, // an environment's proxy would dial for us
		DialContext:            d.DialContext,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // what is compressed cannot be scrubbed
		MaxIdleConns:           1024,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        60 * time.Second,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  cfg.Timeout,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// Timeout is the longest that one forwarded request takes.
func (f *Forwarder) Timeout() time.Duration { return f.cfg.Timeout }

// Close drops idle connections.
func (f *Forwarder) Close() {
	f.public.CloseIdleConnections()
	f.private.CloseIdleConnections()
}

// Upstream is where and as whom a connector speaks.
type Upstream struct {
	Base         *url.URL // scheme, host and an optional path prefix
	AllowPrivate bool
	Kind         *connectors.Kind
	Secret       agentid.Secret
}

// Request is what goes upstream, besides the credential.
type Request struct {
	Call           *connectors.Call
	Header         http.Header // the agent's; only what the kind forwards is taken
	IdempotencyKey string      // empty: none
	// Cancel ends the context that Send is given, which is then this request's alone. nil:
	// Send makes a context of its own.
	Cancel context.CancelCauseFunc
}

// Response is an answer whose body is still to be read, scrubbed. Close it.
type Response struct {
	Status int
	Header http.Header // only what the kind responds with
	Length int64       // -1 when not known
	Stream bool        // text/event-stream: to be handed on as it comes, for as long as it lasts
	Body   io.ReadCloser
}

// FailureError is an upstream request that gave no usable answer. It unwraps to an
// *agentid.Error: KindUpstream or KindUpstreamTimeout.
type FailureError struct {
	Err    error
	Status int  // of the upstream's answer, 0 when there was none
	NoByte bool // certainly nothing was sent, or certainly nothing was done
}

// Error implements error.
func (f *FailureError) Error() string { return f.Err.Error() }

// Unwrap gives the agentid.Error.
func (f *FailureError) Unwrap() error { return f.Err }

// Send forwards a call that was allowed. allowed must cover the operation and the
// resource and must still be good; else nothing is sent. Errors without a FailureError mean
// the same.
func (f *Forwarder) Send(ctx context.Context, allowed policy.Allowed, resource agentid.Ref, u Upstream, req Request) (*Response, error) {
	o := req.Call.Operation
	if !allowed.Valid() || !allowed.Covers(o.Name, resource) {
		return nil, agentid.Errorf(agentid.KindForbidden, policy.ReasonPolicyDenied, "the decision is on another operation")
	}
	if err := allowed.StillGood(f.cfg.Now()); err != nil {
		return nil, err
	}
	out, err := f.request(u, o.Method, req.Call.Path(), req.Call.RawQuery())
	if err != nil {
		return nil, err
	}
	for name, values := range req.Header {
		if u.Kind.ForwardsHeader(name) && len(values) == 1 {
			out.Header[name] = values
		}
	}
	if o.ContentType != "" {
		body := req.Call.Body()
		out.Header.Set("Content-Type", o.ContentType)
		out.Body, out.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
	}
	if req.IdempotencyKey != "" {
		out.Header.Set(u.Kind.IdempotencyHeader, req.IdempotencyKey)
	}
	cancel := req.Cancel
	if cancel == nil {
		ctx, cancel = context.WithCancelCause(ctx)
	}
	limit := time.AfterFunc(f.cfg.Timeout, func() { cancel(context.DeadlineExceeded) })
	resp, err := f.exchange(ctx, u, out)
	if err != nil {
		limit.Stop()
		cancel(nil)
		return nil, err
	}
	b := &body{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, limit: limit}
	if resp.Stream {
		b.idle = f.cfg.Idle
	}
	resp.Body = b
	return resp, nil
}

// Idle is how long a stream may be silent.
func (f *Forwarder) Idle() time.Duration { return f.cfg.Idle }

// body ends with its time: that of the whole request, or, of a stream, that of silence.
type body struct {
	io.ReadCloser
	ctx    context.Context // of this one request: it says why the body ended
	cancel context.CancelCauseFunc
	limit  *time.Timer
	idle   time.Duration // 0: not a stream
}

// Read implements io.Reader. An error but io.EOF is a FailureError.
func (b *body) Read(p []byte) (int, error) {
	if b.idle > 0 {
		b.limit.Reset(b.idle)
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = failure(b.ctx, err, false)
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.limit.Stop()
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}

// Ask sends one lookup. found is false when the upstream does not know the id.
func (f *Forwarder) Ask(ctx context.Context, u Upstream, path string) (answer []byte, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Lookup)
	defer cancel()
	out, err := f.request(u, http.MethodGet, path, "")
	if err != nil {
		return nil, false, err
	}
	out.Header.Set("Accept", "application/json")
	resp, err := f.exchange(ctx, u, out)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, MaxLookup+1))
	switch {
	case err != nil:
		return nil, false, failure(ctx, err, false)
	case resp.Status == http.StatusNotFound:
		return nil, false, nil
	case resp.Status != http.StatusOK:
		return nil, false, &FailureError{Status: resp.Status, Err: agentid.Errorf(agentid.KindUpstream, "upstream_refused", "the upstream did not answer a lookup")}
	case len(answer) > MaxLookup:
		return nil, false, &FailureError{Status: resp.Status, Err: agentid.Errorf(agentid.KindUpstream, "upstream_too_large", "the upstream's answer is too large")}
	}
	return answer, true, nil
}

// request is a new request with the connector's credential and nothing of the agent's.
// The path goes out byte for byte.
func (f *Forwarder) request(u Upstream, method, path, query string) (*http.Request, error) {
	if u.Base == nil || u.Base.Host == "" || u.Secret.IsZero() {
		return nil, agentid.Unavailable("connector_unconfigured", errors.New("no upstream or no credential"))
	}
	credential := u.Secret.Reveal()
	if u.Kind.Credential.Scheme != "" {
		credential = u.Kind.Credential.Scheme + " " + credential
	}
	full := strings.TrimSuffix(u.Base.EscapedPath(), "/") + path
	return &http.Request{
		Method: method, Host: u.Base.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		URL: &url.URL{Scheme: u.Base.Scheme, Host: u.Base.Host, Opaque: full, RawQuery: query},
		Header: http.Header{
			http.CanonicalHeaderKey(u.Kind.Credential.Header): {credential},
			"User-Agent": nil, // no name of ours unless the agent's is forwarded
		},
	}, nil
}

func (f *Forwarder) exchange(ctx context.Context, u Upstream, out *http.Request) (*Response, error) {
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	t := f.public
	if u.AllowPrivate {
		t = f.private
	}
	resp, err := t.RoundTrip(out.WithContext(ctx))
	if err != nil {
		return nil, failure(ctx, err, !connected.Load())
	}
	if err := usable(u, resp); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	secret := u.Secret.Reveal()
	header := make(http.Header)
	for name, values := range resp.Header {
		if u.Kind.RespondsHeader(name) && !strings.Contains(strings.Join(values, "\n"), secret) {
			header[name] = values
		}
	}
	media, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return &Response{
		Status: resp.StatusCode, Header: header, Length: resp.ContentLength, Body: scrub(resp.Body, secret),
		Stream: strings.EqualFold(strings.TrimSpace(media), "text/event-stream"),
	}, nil
}

// usable refuses answers that would carry the agent elsewhere, speak of our credential
// or cannot be scrubbed.
func usable(u Upstream, resp *http.Response) error {
	refuse := func(reason, message string, nothingDone bool) error {
		return &FailureError{Status: resp.StatusCode, NoByte: nothingDone, Err: agentid.Errorf(agentid.KindUpstream, reason, "%s", message)}
	}
	encoding := resp.Header.Get("Content-Encoding")
	switch {
	case u.Kind.Credential.RejectedBy(resp.StatusCode):
		return refuse("upstream_rejected_credential", "the upstream does not accept the connector's credential", true)
	case resp.StatusCode < 200 || resp.StatusCode >= 300 && resp.StatusCode < 400 && resp.StatusCode != http.StatusNotModified:
		return refuse("upstream_redirected", "the upstream answered with a redirect, which is not followed", false)
	case encoding != "" && !strings.EqualFold(encoding, "identity"):
		return refuse("upstream_encoding", "the upstream answered in an encoding that was not asked for", false)
	}
	return nil
}

func failure(ctx context.Context, err error, noByte bool) error {
	e := agentid.Errorf(agentid.KindUpstream, "upstream_unreachable", "the upstream could not be reached")
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, egress.ErrBlocked):
		e = agentid.Errorf(agentid.KindUpstream, "upstream_blocked", "the upstream's address is not one that the gateway speaks to")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(context.Cause(ctx), context.DeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		e = agentid.Errorf(agentid.KindUpstreamTimeout, "upstream_timeout", "the upstream did not answer in time")
	case errors.Is(err, context.Canceled):
		e = agentid.Errorf(agentid.KindUpstream, "upstream_cancelled", "the request was given up")
	case !noByte:
		e = agentid.Errorf(agentid.KindUpstream, "upstream_failed", "the upstream broke off")
	}
	return &FailureError{Err: e.WithCause(fmt.Errorf("forward: %w", err)), NoByte: noByte}
}
