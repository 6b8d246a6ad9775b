package httperr

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/agentid-dev/agentid/internal/httpx"
)

// problemBase precedes the reason in a problem document's type (RFC 9457 section 3.1.1).
const problemBase = "https://agentid.dev/problems/"

// problem is an RFC 9457 document with our extension members.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Reason    string `json:"reason"`
	Field     string `json:"field,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// oauthError is an RFC 6749 section 5.2 document with our extension members.
type oauthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
	Reason      string `json:"reason"`
	Field       string `json:"field,omitempty"`
	RequestID   string `json:"request_id,omitempty"`
}

// Problem renders err as application/problem+json. Set WWW-Authenticate before, with
// Challenges, where the surface is a protected resource.
func Problem(w http.ResponseWriter, r *http.Request, err error) {
	a := Of(err)
	body, merr := json.Marshal(problem{
		Type: problemBase + a.Reason, Title: a.Title, Status: a.Status, Detail: a.Detail,
		Reason: a.Reason, Field: a.Field, RequestID: httpx.RequestID(r.Context()),
	})
	if merr != nil {
		body = []byte(`{"title":"Internal error"}`)
	}
	Write(w, a, a.Status, "application/problem+json", body)
}

// OAuth renders err as an OAuth error response (RFC 6749 section 5.2). A 401 carries
// a Basic challenge, as RFC 9110 section 15.5.2 asks of every 401.
func OAuth(w http.ResponseWriter, r *http.Request, err error) {
	a := Of(err)
	status := a.OAuthStatus()
	body, merr := json.Marshal(oauthError{
		Error: a.OAuth, Description: Description(a.describe()), Reason: a.Reason, Field: Description(a.Field),
		RequestID: httpx.RequestID(r.Context()),
	})
	if merr != nil {
		body = []byte(`{"error":"server_error"}`)
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="agentid", error="`+a.OAuth+`"`)
	}
	Write(w, a, status, "application/json", body)
}

// Write sends an answer in a dialect of the caller's own, such as an upstream's error
// shape. status is a.Status or a.OAuthStatus(); anything below 400 becomes 500.
func Write(w http.ResponseWriter, a Answer, status int, contentType string, body []byte) {
	if status < http.StatusBadRequest {
		status = http.StatusInternalServerError
	}
	httpx.NoStore(w.Header())
	if a.RetryAfter > 0 {
		seconds := int64((a.RetryAfter + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	_ = httpx.WriteBytes(w, status, contentType, append(body, '\n')) // the peer is gone: nobody to tell
}

func (a Answer) describe() string {
	switch {
	case a.Field == "":
		return a.Detail
	case a.Detail == "":
		return a.Field
	default:
		return a.Field + ": " + a.Detail
	}
}

// Description fits a text into the charset of error_description: %x20-21, %x23-5B,
// %x5D-7E (RFC 6749 section 5.2), at most 400 bytes. A quote becomes an apostrophe,
// a backslash a slash, anything else outside a question mark.
func Description(s string) string {
	const limit = 400
	out := make([]byte, 0, min(len(s), limit))
	for _, c := range s {
		if len(out) == limit {
			break
		}
		switch {
		case c == '"':
			out = append(out, '\'')
		case c == '\\':
			out = append(out, '/')
		case c < 0x20 || c > 0x7e:
			out = append(out, '?')
		default:
			out = append(out, byte(c))
		}
	}
	return string(out)
}

// Renderer writes an error as a response: Problem and OAuth are such.
type Renderer func(http.ResponseWriter, *http.Request, error)

// Handler adapts a handler that returns its error: the error is rendered for the
// peer and logged with its cause, refusals at Info and our own failures at Error.
// The handler must not have begun the response when it returns an error.
func Handler(logger *slog.Logger, render Renderer, h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		Log(logger, r, err)
		render(w, r, err)
	}
}

// Log writes one line for a refused or failed request, with the error's cause.
func Log(logger *slog.Logger, r *http.Request, err error) {
	a := Of(err)
	level := slog.LevelInfo
	if a.Status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	logger.LogAttrs(r.Context(), level, "request refused",
		slog.String("request_id", httpx.RequestID(r.Context())), slog.String("reason", a.Reason),
		slog.Int("status", a.Status), slog.String("method", r.Method), slog.String("path", r.URL.Path),
		slog.String("error", err.Error()))
}
