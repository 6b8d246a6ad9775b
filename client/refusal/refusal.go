package refusal

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/agentid-dev/agentid"
)

// Refusal is an answer of status 400 or above: an OAuth error document, or a problem
// document (RFC 9457).
type Refusal struct { //nolint:errname // what it is
	Status    int    `json:"-"`
	Code      string `json:"error"` // OAuth error code, or ""
	Reason    string `json:"reason"`
	Field     string `json:"field"`
	Detail    string `json:"-"`
	RequestID string `json:"request_id"`

	Body json.RawMessage `json:"-"` // the document as sent
}

// Error implements error: "403 policy_denied (field): detail [request id]".
func (r *Refusal) Error() string {
	var b strings.Builder
	b.WriteString(http.StatusText(r.Status))
	for _, part := range []string{r.Reason, r.Field, r.Detail} {
		if part != "" {
			b.WriteString(": " + part)
		}
	}
	if r.RequestID != "" {
		b.WriteString(" [request " + r.RequestID + "]")
	}
	return b.String()
}

// AsError is the refusal as an error value of the kind that its status stands for.
func (r *Refusal) AsError() *agentid.Error {
	kind, known := kinds[r.Status]
	if !known {
		kind = agentid.KindUpstream
	}
	reason := r.Reason
	if reason == "" {
		reason = "broker_refused"
	}
	return &agentid.Error{Kind: kind, Reason: reason, Field: r.Field, Message: r.Detail, Cause: r}
}

var kinds = map[int]agentid.Kind{
	http.StatusBadRequest:            agentid.KindInvalid,
	http.StatusUnauthorized:          agentid.KindUnauthenticated,
	http.StatusForbidden:             agentid.KindForbidden,
	http.StatusNotFound:              agentid.KindNotFound,
	http.StatusConflict:              agentid.KindConflict,
	http.StatusRequestEntityTooLarge: agentid.KindTooLarge,
	http.StatusTooManyRequests:       agentid.KindRateLimited,
	http.StatusServiceUnavailable:    agentid.KindUnavailable,
}

// Read makes a Refusal of an answer of status 400 or above.
func Read(status int, body []byte) *Refusal {
	r := &Refusal{Status: status, Body: body}
	var text struct {
		Description string `json:"error_description"`
		Detail      string `json:"detail"`
		Title       string `json:"title"`
	}
	if json.Unmarshal(body, r) != nil || json.Unmarshal(body, &text) != nil {
		r.Detail = "the answer is not a JSON document"
		return r
	}
	switch {
	case text.Description != "":
		r.Detail = text.Description
	case text.Detail != "":
		r.Detail = text.Detail
	default:
		r.Detail = text.Title
	}
	return r
}

// MaxAnswer is how much of an answer is read, in bytes.
const MaxAnswer = 1 << 20

// Answer is a response that was read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends a request and reads the bounded answer, of whatever status. An error means
// that the broker was not reached, or broke off: KindUnavailable broker_unreachable.
func Do(c *http.Client, req *http.Request) (Answer, error) {
	resp, err := c.Do(req)
	if err != nil {
		return Answer{}, agentid.Unavailable("broker_unreachable", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer))
	if err != nil {
		return Answer{}, agentid.Unavailable("broker_unreachable", err)
	}
	return Answer{resp.StatusCode, resp.Header, body}, nil
}
