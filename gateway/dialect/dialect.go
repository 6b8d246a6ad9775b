// Package dialect gives a refusal the shape of the upstream's own errors, so that the
// upstream's SDK throws what it would throw. It shapes bodies and a header or two;
// which status an error has is said by package httperr only.
package dialect

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
)

// Stripe is the name of Stripe's dialect in manifests.
const Stripe = "stripe"

// Render writes err in the named dialect; a name that is not known gets a problem
// document (RFC 9457).
func Render(name string, w http.ResponseWriter, r *http.Request, err error) {
	if name != Stripe {
		httperr.Problem(w, r, err)
		return
	}
	stripe(w, r, err)
}

type stripeError struct {
	Type      string `json:"type"`
	Code      string `json:"code"`
	Message   string `json:"message"`
	Param     string `json:"param,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

func stripe(w http.ResponseWriter, r *http.Request, err error) {
	a := httperr.Of(err)
	id := httpx.RequestID(r.Context())
	message := a.Detail
	if message == "" {
		message = a.Title
	}
	if a.Field != "" {
		message = a.Field + ": " + message
	}
	body, merr := json.Marshal(map[string]stripeError{"error": {
		Type: stripeType(a), Code: a.Reason, Message: message + " (" + a.Reason + ")", Param: a.Field, RequestID: id,
	}})
	if merr != nil {
		body = []byte(`{"error":{"type":"api_error","message":"internal error"}}`)
	}
	w.Header().Set("Request-Id", id)
	// Final refusals stay what they are; only what may pass later is tried again.
	if !again(a) {
		w.Header().Set("Stripe-Should-Retry", "false")
	}
	httperr.Write(w, a, a.Status, "application/json", body)
}

func stripeType(a httperr.Answer) string {
	switch {
	case a.Status >= http.StatusInternalServerError:
		return "api_error"
	case strings.HasPrefix(a.Reason, "idempotency_"):
		return "idempotency_error"
	default:
		return "invalid_request_error"
	}
}

func again(a httperr.Answer) bool {
	switch a.Reason {
	case "idempotency_in_progress", "hold_pending":
		return true
	}
	return a.Status == http.StatusTooManyRequests || a.Status >= http.StatusInternalServerError && a.Status != http.StatusHTTPVersionNotSupported
}
