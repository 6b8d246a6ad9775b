package client

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/agentid-dev/agentid"
)

// Transport is an http.RoundTripper that adds a Source's token, and a proof of the
// agent's key, to each request. It sends them to the token's own connector only: a
// request to anywhere else, by a redirect too, is refused before anything is sent.
//
// It retries once when the gateway asks for a DPoP nonce, and a body only if the
// request's GetBody gives it again. A 401 drops the token: the next request mints one.
type Transport struct {
	Source *Source
	Base   http.RoundTripper // nil: http.DefaultTransport
	// PerEffect takes a fresh token for each request other than GET and HEAD, for
	// templates with "uses: 1".
	PerEffect bool

	mu    sync.Mutex
	nonce string // the gateway's latest
}

// Transport is a Transport with a Source of the request.
func (c *Client) Transport(req TokenRequest) *Transport { return &Transport{Source: c.Source(req)} }

// RoundTrip implements http.RoundTripper. Errors: those of Mint; KindForbidden
// resource_foreign for a request to somewhere else; KindUnavailable gateway_unreachable.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := t.token(req)
	if err != nil {
		return nil, errors.Join(err, closed(req.Body))
	}
	body := req.Body
	for attempt := 0; ; attempt++ {
		out, err := t.signed(req, body, token)
		if err != nil {
			return nil, errors.Join(err, closed(body))
		}
		resp, err := t.base().RoundTrip(out)
		if err != nil {
			return nil, agentid.Unavailable("gateway_unreachable", err)
		}
		if resp.StatusCode != http.StatusUnauthorized {
			t.keep(resp.Header)
			return resp, nil
		}
		t.keep(resp.Header)
		if !strings.Contains(resp.Header.Get("WWW-Authenticate"), `error="use_dpop_nonce"`) {
			t.Source.Drop(token)
			return resp, nil
		}
		if attempt > 0 {
			return resp, nil
		}
		again, ok, err := replay(req)
		if err != nil || !ok {
			return resp, nil //nolint:nilerr // the demand itself is the answer
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
		_ = resp.Body.Close()
		body = again
	}
}

// token is the token for a request, which must go to the token's own connector.
func (t *Transport) token(req *http.Request) (Token, error) {
	if t.Source == nil {
		return Token{}, agentid.Invalidf("source", "a transport needs a source of tokens")
	}
	if t.Source.resource != "" { // before a token is minted for nothing
		if err := meant(t.Source.resource, req.URL); err != nil {
			return Token{}, err
		}
	}
	get := t.Source.Token
	if t.PerEffect && req.Method != "" && req.Method != http.MethodGet && req.Method != http.MethodHead {
		get = t.Source.Fresh
	}
	token, err := get(req.Context())
	if err != nil || t.Source.resource != "" {
		return token, err
	}
	return token, meant(token.Audience, req.URL)
}

// meant refuses a URL that is not below a resource URI.
func meant(resource string, u *url.URL) error {
	r, err := url.Parse(resource)
	if err != nil || r.Host == "" || !strings.EqualFold(r.Scheme, u.Scheme) || !strings.EqualFold(authority(r), authority(u)) {
		return agentid.Errorf(agentid.KindForbidden, "resource_foreign", "the token is for %q: it is not sent to %s://%s", resource, u.Scheme, u.Host)
	}
	if !strings.EqualFold(u.Scheme, "https") && !stays(u.Hostname()) {
		return agentid.Errorf(agentid.KindForbidden, "resource_foreign", "a token travels by https; http is for loopback only")
	}
	return nil
}

func authority(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), map[string]string{"https": "443", "http": "80"}[strings.ToLower(u.Scheme)])
}

// signed is a copy of the request with token and proof.
func (t *Transport) signed(req *http.Request, body io.ReadCloser, token Token) (*http.Request, error) {
	out := req.Clone(req.Context())
	out.Body = body
	out.Header.Set("Authorization", token.Type+" "+token.Access.Reveal())
	out.Header.Del("DPoP")
	if token.Type != "DPoP" {
		return out, nil
	}
	path := req.URL.EscapedPath()
	if req.URL.Opaque != "" { // the path as it travels
		path = req.URL.Opaque
	}
	t.mu.Lock()
	nonce := t.nonce
	t.mu.Unlock()
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	proof, err := t.Source.client.Proof(method, req.URL.Scheme+"://"+req.URL.Host+path, token.Access, nonce)
	if err != nil {
		return nil, err
	}
	out.Header.Set("DPoP", proof)
	return out, nil
}

// replay gives the request's body once more; false when it cannot be had.
func replay(req *http.Request) (io.ReadCloser, bool, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return req.Body, true, nil
	}
	if req.GetBody == nil {
		return nil, false, nil
	}
	body, err := req.GetBody()
	return body, err == nil, err //nolint:wrapcheck // the caller's own
}

func (t *Transport) base() http.RoundTripper {
	if t.Base == nil {
		return http.DefaultTransport
	}
	return t.Base
}

func (t *Transport) keep(h http.Header) {
	if nonce := h.Get("DPoP-Nonce"); nonce != "" {
		t.mu.Lock()
		t.nonce = nonce
		t.mu.Unlock()
	}
}

func closed(body io.Closer) error {
	if body == nil {
		return nil
	}
	return body.Close() //nolint:wrapcheck // the caller's own
}
