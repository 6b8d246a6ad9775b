package gateway_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A token anywhere but in the Authorization header is not one, and is not written down.
func TestTokenInCookieQueryOrBodyIsIgnored(t *testing.T) {
	w, token := bearerWorld(t)
	for name, s := range map[string]sending{
		"cookie":        {method: "GET", path: "/v1/customers/cus_1", header: http.Header{"Cookie": {"access_token=" + token}}},
		"query":         {method: "GET", path: "/v1/customers/cus_1?access_token=" + token},
		"body":          {method: "POST", path: "/v1/refunds", body: "charge=ch_1&amount=1&access_token=" + token, key: "k"},
		"other headers": {method: "GET", path: "/v1/customers/cus_1", header: http.Header{"X-Access-Token": {token}, "Proxy-Authorization": {"Bearer " + token}}},
	} {
		header := s.header
		if header == nil {
			header = http.Header{}
		}
		a := w.raw(s, header)
		require.Equal(t, 401, a.status, name)
		require.Equal(t, "credential_missing", a.reason(), name)
		require.NotContains(t, a.body, token)
	}
	for _, r := range w.records() {
		text, err := json.Marshal(r)
		require.NoError(t, err)
		require.NotContains(t, string(text), token)
	}
	require.Empty(t, w.sent.of("GET"))
}

// Neither a health checker's name nor its path opens anything.
func TestHealthCheckersAreStrangersToo(t *testing.T) {
	w := newWorld(t, options{})
	for _, agent := range []string{"kube-probe/1.31", "GoogleHC/1.0", "ELB-HealthChecker/2.0"} {
		for _, path := range []string{"/healthz", "/readyz", "/ping", "/v1/customers/cus_1"} {
			a := w.raw(get(path), http.Header{"User-Agent": {agent}, "X-Forwarded-Uri": {"/healthz"}, "X-Forwarded-For": {"127.0.0.1"}})
			require.Equal(t, 401, a.status, path)
			require.Equal(t, "credential_missing", a.reason())
		}
	}
	require.Empty(t, w.sent.of("GET"))
}

// upstreamOf answers these paths, and every POST with a refund.
func upstreamOf(objects map[string]string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		text, ok := objects[r.URL.Path]
		switch {
		case r.Method == http.MethodPost:
			text = `{"id":"re_1","object":"refund"}`
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, text)
	})
}

// What a payment intent names is looked up like what the request names: another
// customer's charge, another object or another's intent is refused, and so is an answer
// without an end.
func TestWhatThePaymentIntentNamesIsNotTrusted(t *testing.T) {
	charge := func(id, customer, intent string) string {
		return `{"id":"` + id + `","object":"charge","customer":` + customer + `,"payment_intent":` + intent + `,"currency":"usd","amount":100,"amount_refunded":0}`
	}
	for name, c := range map[string]struct {
		intent, charge string
		status         int
		reason         string
	}{
		"own":                          {`{"id":"pi_1","object":"payment_intent","latest_charge":"ch_1"}`, charge("ch_1", `"cus_1"`, `"pi_1"`), 200, ""},
		"another customer's charge":    {`{"id":"pi_1","object":"payment_intent","latest_charge":"ch_1"}`, charge("ch_1", `"cus_2"`, `"pi_1"`), 403, "resource_not_permitted"},
		"charge of nobody":             {`{"id":"pi_1","object":"payment_intent","latest_charge":"ch_1"}`, charge("ch_1", `null`, `"pi_1"`), 403, "resource_not_permitted"},
		"charge of another intent":     {`{"id":"pi_1","object":"payment_intent","latest_charge":"ch_1"}`, charge("ch_1", `"cus_1"`, `"pi_2"`), 502, "upstream_mismatch"},
		"charge of no intent":          {`{"id":"pi_1","object":"payment_intent","latest_charge":"ch_1"}`, charge("ch_1", `"cus_1"`, `null`), 502, "upstream_mismatch"},
		"another charge in the answer": {`{"id":"pi_1","object":"payment_intent","latest_charge":"ch_1"}`, charge("ch_2", `"cus_1"`, `"pi_1"`), 502, "upstream_mismatch"},
		"no charge yet":                {`{"id":"pi_1","object":"payment_intent","latest_charge":null}`, "", 403, "resource_not_permitted"},
		"another intent in the answer": {`{"id":"pi_2","object":"payment_intent","latest_charge":"ch_1"}`, charge("ch_1", `"cus_1"`, `"pi_1"`), 502, "upstream_mismatch"},
		"an answer without an end":     {`{"id":"pi_1","object":"payment_intent","latest_charge":"ch_1"}`, charge("ch_1", `"cus_1"`, `"pi_1"`) + strings.Repeat(" ", 300<<10), 502, "upstream_too_large"},
		"a path in the answer":         {`{"id":"pi_1","object":"payment_intent","latest_charge":"ch_1/../ch_2"}`, "", 502, "upstream_mismatch"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, options{upstream: upstreamOf(map[string]string{"/v1/payment_intents/pi_1": c.intent, "/v1/charges/ch_1": c.charge})})
			a := w.send(w.token(nil, w.grant(`{"amount":{"max":100,"currency":"usd"}}`)), w.refund("payment_intent=pi_1&amount=50", "k"))
			require.Equal(t, c.status, a.status, a.body)
			require.Equal(t, c.reason, a.reason())
			require.Equal(t, c.status == 200, len(w.sent.of("POST")) == 1)
		})
	}
}

// A retry skips the fact, never the decision: the same key with a token that would not
// allow the first request is refused.
func TestRetryWithAnotherTokenIsDecidedAnew(t *testing.T) {
	w := newWorld(t, options{})
	s := w.refund("charge=ch_1&amount=100", "same")
	require.Equal(t, 200, w.send(w.token(nil, w.grant(`{"amount":{"max":100,"currency":"usd"},"uses":{"max":1}}`)), s).status)
	for reason, token := range map[string]string{
		"constraint_amount_max":   w.token(nil, w.grant(`{"amount":{"max":99,"currency":"usd"}}`)),
		"operation_not_permitted": w.token(nil, w.grant("", "payments:read_charge")),
		"token_expired":           w.token(aged(time.Hour), w.grant("")),
	} {
		require.Equal(t, reason, w.send(token, s).reason())
	}
	require.Len(t, w.sent.of("POST"), 1)
}

// The failure table, for reads: no answer of the graph, of the upstream or of the log is
// a refusal that says which, and nothing comes through.
func TestReadsDuringOutages(t *testing.T) {
	broken := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for name, c := range map[string]struct {
		upstream http.Handler
		before   func(*world)
		path     string
		status   int
		reason   string
	}{
		"graph down":           {before: func(w *world) { w.checker.down.Store(true) }, path: "/v1/customers/cus_1", status: 503, reason: "graph_unavailable"},
		"graph down, a lookup": {before: func(w *world) { w.checker.down.Store(true) }, path: "/v1/charges/ch_1", status: 503, reason: "graph_unavailable"},
		"upstream down":        {upstream: broken, path: "/v1/customers/cus_1", status: 502, reason: "upstream_failed"},
		"lookup down":          {upstream: broken, path: "/v1/charges/ch_1", status: 502, reason: "upstream_failed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, options{upstream: c.upstream})
			token := w.token(nil, w.grant("", allOperations...))
			if c.before != nil {
				c.before(w)
			}
			a := w.send(token, get(c.path))
			require.Equal(t, c.status, a.status, a.body)
			require.Equal(t, c.reason, a.reason())
			r := w.last()
			require.Equal(t, c.reason, r.Reason)
			require.Equal(t, w.Agents[0].String(), r.Agent)
			if c.upstream == nil {
				require.Empty(t, w.sent.of("GET"))
			}
		})
	}
}
