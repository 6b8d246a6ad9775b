package agentproxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/internal/httperr"
)

// hopByHop are the headers that belong to one connection (RFC 9110 section 7.6.1),
// and those that carry a credential or a claim about the path to us.
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade",
}

var credentials = []string{
	"Authorization", "Dpop", "Cookie", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip",
}

// ServeHTTP forwards one request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := p.admit(r); err != nil {
		p.refuse(w, r, err)
		return
	}
	path, query, err := target(r)
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	body, err := p.hold(r)
	if err != nil {
		p.refuse(w, r, agentid.Errorf(agentid.KindInvalid, "body_unreadable", "the request's body ended early").WithCause(err))
		return
	}
	resp, err := p.transport.RoundTrip(p.outgoing(r, path, query, body))
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	p.answer(w, r, resp)
}

// target is the path and query exactly as the SDK wrote them.
func target(r *http.Request) (path, query string, err error) {
	path, query, _ = strings.Cut(r.RequestURI, "?")
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		return "", "", agentid.Errorf(agentid.KindInvalid, "proxy_target", "the request's target must be a path")
	}
	return path, query, nil
}

// held is a request's body: in full where it fits, so that it can be sent again.
type held struct {
	whole  []byte
	rest   io.Reader // what follows whole; nil when whole is all
	length int64
}

func (p *Proxy) hold(r *http.Request) (*held, error) {
	first, err := io.ReadAll(io.LimitReader(r.Body, p.maxReplay+1))
	if err != nil {
		return nil, err //nolint:wrapcheck // wrapped by the caller
	}
	if int64(len(first)) > p.maxReplay {
		return &held{whole: first, rest: r.Body, length: r.ContentLength}, nil
	}
	return &held{whole: first, length: int64(len(first))}, nil
}

func (h *held) reader() io.Reader {
	if h.rest != nil {
		return io.MultiReader(bytes.NewReader(h.whole), h.rest)
	}
	return bytes.NewReader(h.whole)
}

// outgoing is a fresh request: the SDK's without its credentials.
func (p *Proxy) outgoing(r *http.Request, path, query string, body *held) *http.Request {
	req := (&http.Request{
		Method: r.Method, Host: p.resource.Host, Header: copied(r.Header),
		URL:        &url.URL{Scheme: p.resource.Scheme, Host: p.resource.Host, Opaque: path, RawQuery: query, ForceQuery: strings.Contains(r.RequestURI, "?")},
		ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(r.Context())
	if body.length != 0 {
		req.Body, req.ContentLength = io.NopCloser(body.reader()), body.length
		if body.rest == nil {
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(body.reader()), nil }
		}
	}
	if _, sent := r.Header["User-Agent"]; !sent {
		req.Header["User-Agent"] = nil // keeps net/http from adding its own
	}
	for _, name := range credentials {
		req.Header.Del(name)
	}
	return req
}

// copied is h without hop-by-hop headers and what Connection names.
func copied(h http.Header) http.Header {
	out := h.Clone()
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			out.Del(textproto.TrimString(name))
		}
	}
	for _, name := range hopByHop {
		out.Del(name)
	}
	return out
}

// answer passes the gateway's response on as it comes, without its nonce.
func (p *Proxy) answer(w http.ResponseWriter, r *http.Request, resp *http.Response) {
	h := w.Header()
	for name, values := range copied(resp.Header) {
		if name != "Dpop-Nonce" {
			h[name] = values
		}
	}
	w.WriteHeader(resp.StatusCode)
	flush := http.NewResponseController(w)
	buf := make([]byte, 32<<10)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return // the agent left
			}
			_ = flush.Flush() // a server that cannot flush sends at the end
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			p.logger.WarnContext(r.Context(), "the gateway's answer broke off", "error", err.Error())
			panic(http.ErrAbortHandler) // a half answer must not look whole
		}
	}
}

// refuse answers for the proxy itself, or passes on the broker's refusal: a document
// with an "error" object, which payment and model SDKs read, and our reason code.
func (p *Proxy) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return
	}
	if refusal, ok := errors.AsType[*client.Refusal](err); ok {
		err = refusal.AsError()
	}
	httperr.Log(p.logger, r, err)
	a := httperr.Of(err)
	detail := a.Detail
	if detail == "" {
		detail = a.Title
	}
	body, merr := json.Marshal(map[string]any{
		"error":  map[string]string{"type": "agentid_error", "code": a.Reason, "message": detail, "param": a.Field},
		"reason": a.Reason,
	})
	if merr != nil {
		body = []byte(`{"error":{"type":"agentid_error"}}`)
	}
	httperr.Write(w, a, a.Status, "application/json", body)
}
