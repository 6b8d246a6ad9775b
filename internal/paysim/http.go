package paysim

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
)

const (
	maxBody   = 1 << 20
	keyHeader = "Idempotency-Key"
)

// call is one authenticated request: its parameters, and the ids in its path.
type call struct {
	method, path string
	key          string
	params       url.Values
	id           string
}

// answer is a status and the object to encode.
type answer struct {
	status int
	body   any
}

// fault is Stripe's error object.
type fault struct {
	Type    string `json:"type"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
	Param   string `json:"param,omitempty"`
	Charge  string `json:"charge,omitempty"`
	DocURL  string `json:"doc_url,omitempty"`
}

const invalidRequest = "invalid_request_error"

func refuse(status int, f fault) answer {
	if f.Type == "" {
		f.Type = invalidRequest
	}
	if f.Code != "" {
		f.DocURL = "https://stripe.com/docs/error-codes/" + strings.ReplaceAll(f.Code, "_", "-")
	}
	return answer{status: status, body: map[string]any{"error": f}}
}

func missing(object, id string) answer {
	return refuse(http.StatusNotFound, fault{
		Code: "resource_missing", Param: "id", Message: "No such " + object + ": '" + id + "'",
	})
}

// ServeHTTP implements http.Handler.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Simulator) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, run := range map[string]func(call) answer{
		"POST /v1/refunds":                 s.createRefund,
		"GET /v1/refunds":                  s.listRefunds,
		"GET /v1/refunds/{id}":             s.getRefund,
		"GET /v1/charges":                  s.listCharges,
		"GET /v1/charges/{id}":             s.getCharge,
		"GET /v1/charges/{id}/refunds":     s.listRefunds,
		"POST /v1/payment_intents":         s.createIntent,
		"GET /v1/payment_intents/{id}":     s.getIntent,
		"POST /v1/invoices/create_preview": s.previewInvoice,
		"POST /v1/customers":               s.createCustomer,
		"GET /v1/customers/{id}":           s.getCustomer,
		"POST /v1/customers/{id}":          s.updateCustomer,
		"GET /v1/subscriptions/{id}":       s.getSubscription,
		"POST /v1/subscriptions/{id}":      s.updateSubscription,
		"DELETE /v1/subscriptions/{id}":    s.cancelSubscription,
	} {
		mux.Handle(pattern, s.handle(run))
	}
	mux.Handle("/", s.handle(func(c call) answer {
		return refuse(http.StatusNotFound, fault{Message: "Unrecognized request URL (" + c.method + ": " + c.path + ")."})
	}))
	return mux
}

// handle authenticates, reads the parameters, replays by key and sends.
func (s *Simulator) handle(run func(call) answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.authentic(r) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="Stripe"`)
			send(w, refuse(http.StatusUnauthorized, fault{Message: "Invalid API Key provided."}))
			return
		}
		s.mu.Lock()
		s.requests++
		s.mu.Unlock()
		if s.before != nil {
			s.before(r)
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			send(w, refuse(http.StatusBadRequest, fault{Message: "The request body could not be read."}))
			return
		}
		params := r.URL.Query()
		form, err := url.ParseQuery(string(body))
		if err != nil {
			send(w, refuse(http.StatusBadRequest, fault{Message: "The request body is not form encoded."}))
			return
		}
		for name, values := range form {
			params[name] = append(params[name], values...)
		}
		c := call{method: r.Method, path: r.URL.Path, key: r.Header.Get(keyHeader), params: params, id: r.PathValue("id")}
		result, replayed := s.once(c, sha256.Sum256(bytes.Join([][]byte{[]byte(r.Method + " " + r.URL.String()), body}, []byte{0})), run)
		if replayed {
			w.Header().Set("Idempotent-Replayed", "true")
		}
		if c.key != "" {
			w.Header().Set(keyHeader, c.key)
		}
		if s.after != nil {
			s.after(r)
		}
		send(w, result)
	})
}

// authentic compares the presented key, as Bearer or as the Basic user, in constant time.
func (s *Simulator) authentic(r *http.Request) bool {
	presented, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		presented, _, ok = r.BasicAuth()
	}
	return ok && subtle.ConstantTimeCompare([]byte(presented), []byte(s.key.Reveal())) == 1
}

func send(w http.ResponseWriter, a answer) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_ = json.NewEncoder(w).Encode(a.body) // a client that left is no fault of ours
}
