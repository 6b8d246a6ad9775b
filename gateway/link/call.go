package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/fleetcert"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// How long one call may take.
const (
	dialWithin   = 3 * time.Second
	callWithin   = 10 * time.Second
	auditWithin  = 5 * time.Second
	renewWithin  = time.Second // a lease is not waited for
	idleConnends = 60 * time.Second
	connections  = 64
)

// newClient speaks HTTP/1.1, one call at a time on a connection: a connection that hangs
// holds up one call, and not all of them.
func newClient(k *fleetcert.Keeper) *http.Client {
	dialer := &net.Dialer{Timeout: dialWithin, KeepAlive: 5 * time.Second}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: k.ClientTLS(), TLSHandshakeTimeout: dialWithin,
			MaxIdleConnsPerHost: connections, IdleConnTimeout: idleConnends, DisableCompression: true,
			MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// call makes one call of the internal API. in nil: a GET. out nil: the answer is not read.
func (l *Link) call(ctx context.Context, within time.Duration, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	req, err := l.request(ctx, path, in)
	if err != nil {
		return err
	}
	resp, err := l.http.Do(req)
	if err != nil {
		return l.unreachable(ctx, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, api.MaxResponse+1))
	if err != nil {
		return l.unreachable(ctx, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return l.refusal(resp.StatusCode, body)
	}
	if out == nil {
		return nil
	}
	if err := api.Decode(body, api.MaxResponse, out); err != nil {
		return agentid.Unavailable("broker_unreadable", err)
	}
	return nil
}

func (l *Link) request(ctx context.Context, path string, in any) (*http.Request, error) {
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if in != nil {
		data, err := api.Encode(in)
		if err != nil {
			return nil, fmt.Errorf("link: encode: %w", err)
		}
		if len(data) > api.MaxRequest {
			return nil, agentid.Errorf(agentid.KindTooLarge, "body_too_large", "the call is larger than the broker takes")
		}
		method, body = http.MethodPost, bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, l.cfg.Broker+path, body)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
		req.GetBody = nil // never sent twice behind our back
	}
	req.Header.Set(api.HeaderVersion, api.Version)
	req.Header.Set(api.HeaderCluster, l.cfg.Cluster)
	if i := l.Incarnation(); i != "" {
		req.Header.Set(api.HeaderIncarnation, i)
	}
	return req, nil
}

// refusal reads an answer of another status than 200.
func (l *Link) refusal(status int, body []byte) error {
	var p api.Problem
	if err := api.Decode(body, api.MaxRequest, &p); err != nil {
		return agentid.Unavailable("broker_unreadable", fmt.Errorf("status %d: %w", status, err))
	}
	return p.Err()
}

// unreachable is what a call means that got no answer. The caller's own end is told as
// that; a certificate that is not accepted, on either side, in words that say what to do.
func (l *Link) unreachable(ctx context.Context, path string, err error) error {
	if cause := ctx.Err(); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	if message := certificateFault(err); message != "" {
		return agentid.Errorf(agentid.KindUnavailable, reasonTLS, "%s", message).WithCause(err)
	}
	return agentid.Unavailable("broker_unreachable", fmt.Errorf("%s: %w", path, err))
}

const reasonTLS = "broker_certificate"

// certificateFault says what to do about a handshake that failed; "" for anything else.
func certificateFault(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return "the broker does not accept this gateway's certificate (" + op.Err.Error() + "): it is of another authority or ran out; make one with agentid fleet certificate in the broker's data folder"
	}
	_, verify := errors.AsType[*tls.CertificateVerificationError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	switch {
	case host:
		return "the broker's certificate is for other names: add this host with agentid fleet certificate --broker --host"
	case verify || unknown:
		return "the broker's certificate is not one of this cluster's authority: is broker.url right, and ca the ca.crt of agentid fleet init?"
	}
	return ""
}

// refuses tells a refusal that somebody has to mend from one that passes.
func refuses(err error) bool {
	switch agentid.ReasonOf(err) {
	case reasonTLS, "certificate_missing", "certificate_expired", "gateway_not_admitted", "protocol_version", "cluster_mismatch", "path_unknown":
		return true
	default:
		return false
	}
}
