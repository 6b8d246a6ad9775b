// Package match turns a request as it came into the one form that policy and upstream
// both see, or refuses it (phases 1 and 2).
//
// It owns which methods, targets and headers are unambiguous. It knows operations only
// as a manifest's Match; it authenticates nobody and reads no body.
package match

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/connectors"
)

// Bounds on a target.
const (
	MaxTarget   = 4 << 10 // bytes of path and query
	MaxSegments = 32
)

// Normal is a request whose target has one reading only. Only Normalise makes one.
type Normal struct {
	method   string
	path     string // as sent, and as it goes upstream
	query    string // as sent, without '?'
	segments []string
}

// Method is the request's method.
func (n Normal) Method() string { return n.method }

// Path is the path byte for byte as it was sent: "/v1/refunds".
func (n Normal) Path() string { return n.path }

// Query is the query as it was sent, without the question mark.
func (n Normal) Query() string { return n.query }

// Segments are the decoded segments of the path.
func (n Normal) Segments() []string { return slices.Clone(n.segments) }

var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// Normalise is phase 1. host is the connector's own, with its port if it has one: an
// absolute-form target must name it. Errors are KindInvalid with a reason of their own.
func Normalise(r *http.Request, host string) (Normal, error) {
	if err := protocol(r); err != nil {
		return Normal{}, err
	}
	if err := headers(r); err != nil {
		return Normal{}, err
	}
	if !slices.Contains(methods, r.Method) {
		return Normal{}, refuse("method_unknown", "", "the method is not one of "+strings.Join(methods, ", "))
	}
	path, query, err := target(r, host)
	if err != nil {
		return Normal{}, err
	}
	segments, err := split(path)
	if err != nil {
		return Normal{}, err
	}
	return Normal{method: r.Method, path: path, query: query, segments: segments}, nil
}

func protocol(r *http.Request) error {
	switch {
	case r.ProtoMajor == 2 || r.ProtoMajor == 1 && r.ProtoMinor == 1:
	default:
		return refuse("http_version", "", "only HTTP/1.1 and HTTP/2 are spoken")
	}
	if len(r.TransferEncoding) > 0 && r.Header.Get("Content-Length") != "" {
		return refuse("http_framing", "Content-Length", "Content-Length and Transfer-Encoding are both given")
	}
	for _, name := range []string{"Upgrade", "Expect", "Trailer"} {
		if _, sent := r.Header[name]; sent {
			return refuse("header_refused", name, "is not supported")
		}
	}
	if len(r.Trailer) > 0 {
		return refuse("header_refused", "Trailer", "is not supported")
	}
	if r.Method == http.MethodGet && (r.ContentLength != 0 || len(r.TransferEncoding) > 0) {
		return refuse("body_unexpected", "", "a GET has no body")
	}
	return nil
}

// once are the headers that may come one time only: two of them have two readings.
var once = []string{"Authorization", "Content-Type", "Content-Encoding", "Dpop", "Idempotency-Key", "Content-Length", "Host", "Accept"}

func headers(r *http.Request) error {
	for _, name := range once {
		if len(r.Header[name]) > 1 {
			return refuse("header_repeated", name, "is given more than once")
		}
	}
	for _, list := range r.Header["Connection"] {
		for token := range strings.SplitSeq(list, ",") {
			switch t := strings.ToLower(strings.Trim(token, " \t")); t {
			case "", "close", "keep-alive":
			default: // naming a header here asks a proxy to drop it on the way
				return refuse("header_refused", "Connection", "may only say close or keep-alive")
			}
		}
	}
	return nil
}

// target reads RequestURI and not the parsed URL, which has been decoded already.
func target(r *http.Request, host string) (path, query string, err error) {
	raw := r.RequestURI
	if len(raw) > MaxTarget {
		return "", "", refuse("path_invalid", "", "the target is too long")
	}
	if scheme, rest, absolute := strings.Cut(raw, "://"); absolute && !strings.HasPrefix(raw, "/") {
		authority, tail, _ := strings.Cut(rest, "/")
		if !strings.EqualFold(authority, host) || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
			return "", "", refuse("target_foreign", "", "the target names another host")
		}
		raw = "/" + tail
	}
	if !strings.HasPrefix(raw, "/") {
		return "", "", refuse("path_invalid", "", "the target is not a path")
	}
	path, query, hasQuery := strings.Cut(raw, "?")
	if hasQuery && query == "" {
		return "", "", refuse("query_malformed", "", "the query is empty")
	}
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c >= 0x7f || c == ';' || c == '#' || c == '\\' || c == '?' && strings.Contains(query[:i], "?") {
			return "", "", refuse("query_malformed", "", "the query holds a character that must be encoded, or a ';'")
		}
	}
	return path, query, nil
}

// split decodes each segment and demands that encoding it again gives the same bytes,
// so that there is exactly one spelling of every path.
func split(path string) ([]string, error) {
	parts := strings.Split(path[1:], "/")
	if len(parts) > MaxSegments {
		return nil, refuse("path_invalid", "", "the path has too many segments")
	}
	for i, part := range parts {
		decoded, err := url.PathUnescape(part)
		switch {
		case err != nil:
			return nil, refuse("path_invalid", "", "the path holds a bad escape")
		case decoded == "":
			return nil, refuse("path_invalid", "", "the path holds an empty segment")
		case decoded == "." || decoded == "..":
			return nil, refuse("path_invalid", "", "the path holds a dot segment")
		case !utf8.ValidString(decoded) || strings.ContainsFunc(decoded, unsafe):
			return nil, refuse("path_invalid", "", "the path holds a separator, a control character or invalid UTF-8")
		case escape(decoded) != part:
			return nil, refuse("path_invalid", "", "the path is not in its one canonical spelling")
		}
		parts[i] = decoded
	}
	return parts, nil
}

func unsafe(r rune) bool {
	return r < 0x20 || r == 0x7f || strings.ContainsRune(`/\%;#?`, r)
}

// control admits no byte into a header that ends or hides a line.
func control(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }

// escape leaves RFC 3986 unreserved characters and encodes all others, in upper case.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	reserved := func(r rune) bool { return r >= utf8.RuneSelf || !unreserved(byte(r)) }
	if !strings.ContainsFunc(s, reserved) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if unreserved(c) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// Matched is a request and the one operation that it is. Only Match makes one.
type Matched struct {
	Normal
	operation *connectors.Operation
	params    map[string]string
}

// Operation is nil for the zero Matched only.
func (m Matched) Operation() *connectors.Operation { return m.operation }

// Params are the path's inputs.
func (m Matched) Params() map[string]string { return m.params }

// Match is phase 2: no operation is KindForbidden "operation_unmatched"; a header that
// the connector refuses is KindInvalid "header_refused"; a body where the operation has
// none is "body_unexpected".
func Match(k *connectors.Kind, n Normal, r *http.Request) (Matched, error) {
	if n.method == "" {
		return Matched{}, agentid.Errorf(agentid.KindInternal, "internal", "an unread request")
	}
	for name, values := range r.Header {
		if k.RefusesHeader(name) {
			return Matched{}, refuse("header_refused", name, "is not allowed here")
		}
		if k.ForwardsHeader(name) && (len(values) != 1 || strings.ContainsFunc(values[0], control)) {
			return Matched{}, refuse("header_repeated", name, "must be given once")
		}
	}
	o, params, err := k.Match(n.method, n.segments)
	if err != nil {
		return Matched{}, err
	}
	if o.ContentType == "" && (r.ContentLength != 0 || len(r.TransferEncoding) > 0) {
		return Matched{}, refuse("body_unexpected", "", "the operation has no body")
	}
	return Matched{Normal: n, operation: o, params: params}, nil
}

func refuse(reason, field, message string) error {
	return &agentid.Error{Kind: agentid.KindInvalid, Reason: reason, Field: field, Message: message}
}
