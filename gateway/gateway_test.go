package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/auditlog"
)

func TestRefundGoesThroughWithTheConnectorsCredential(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant(`{"amount":{"max":4200,"currency":"usd"},"uses":{"max":1}}`))
	a := w.send(token, w.refund("charge=ch_1&amount=4200&metadata[order]=7", "key-1"))
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Contains(t, a.body, `"refund"`)
	require.EqualValues(t, 4200, w.sim.Refunded("ch_1"))

	posts := w.sent.of("POST")
	require.Len(t, posts, 1)
	require.Equal(t, "/v1/refunds", posts[0].uri)
	require.Equal(t, "charge=ch_1&amount=4200&metadata%5Border%5D=7", posts[0].body)
	require.Equal(t, "Bearer "+upstreamKey, posts[0].header.Get("Authorization"))
	require.Len(t, posts[0].header.Get("Idempotency-Key"), 64)
	require.NotContains(t, posts[0].header.Get("Idempotency-Key"), "key-1")
	require.Empty(t, posts[0].header.Get("DPoP"))
	require.NotContains(t, a.body, upstreamKey)

	rows := w.records()
	require.Len(t, rows, 2)
	begin, finish := rows[0], rows[1]
	require.Equal(t, auditlog.Begin, begin.Phase)
	require.Equal(t, auditlog.Finish, finish.Phase)
	require.Equal(t, begin.Request, finish.Request)
	require.Equal(t, auditlog.Allow, finish.Decision)
	require.Equal(t, http.StatusOK, finish.UpstreamStatus)
	require.Equal(t, "payments:refund", finish.Operation)
	require.Equal(t, "payments_customer:acme/cus_1", finish.Resource)
	require.Equal(t, "agent:acme/ag-0", finish.Agent)
	require.Equal(t, "principal:acme/alice", finish.Principal)
	require.NotEmpty(t, finish.Zookie)
	require.NotEmpty(t, finish.Legs)
	require.NotEmpty(t, finish.InputsDigest)
	require.Len(t, finish.Constraints, 2) // amount max, uses
}

func TestReadsGoThrough(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant("", allOperations...))
	require.Equal(t, 200, w.send(token, w.refund("payment_intent=pi_1&amount=100", "k")).status)
	id := w.sim.Refunds()[0].ID
	for _, path := range []string{"/v1/customers/cus_1", "/v1/charges/ch_1", "/v1/payment_intents/pi_1", "/v1/refunds/" + id} {
		a := w.send(token, get(path))
		require.Equal(t, 200, a.status, path+a.body)
		r := w.last()
		require.Equal(t, auditlog.Single, r.Phase)
		require.Equal(t, auditlog.Allow, r.Decision)
		require.Equal(t, "payments_customer:acme/cus_1", r.Resource)
		gets := w.sent.of("GET")
		require.Equal(t, path, gets[len(gets)-1].uri)
	}
	for _, path := range []string{"/v1/customers/cus_2", "/v1/charges/ch_other"} {
		a := w.send(token, get(path))
		require.Equal(t, 403, a.status, path)
		require.Equal(t, "resource_not_permitted", a.reason())
		require.Equal(t, auditlog.Deny, w.last().Decision)
	}
	// An id that does not exist and one of another customer look the same.
	missing, other := w.send(token, get("/v1/charges/ch_none")), w.send(token, get("/v1/charges/ch_other"))
	require.Equal(t, stripped(other), stripped(missing))
}

func stripped(a answer) string {
	return strings.ReplaceAll(a.body, a.field("request_id"), "")
}

func TestResponseIsScrubbed(t *testing.T) {
	w := newWorld(t, options{upstream: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Set-Cookie", "session=1")
		rw.Header().Set("Request-Id", "req_"+upstreamKey)
		rw.Header().Set("X-Debug", "internal")
		rw.Header().Set("Content-Type", "application/json")
		_, _ = rw.Write([]byte(`{"id":"cus_1","echo":"` + r.Header.Get("Authorization")[:20]))
		rw.(http.Flusher).Flush()
		_, _ = rw.Write([]byte(r.Header.Get("Authorization")[20:] + `"}`))
	})})
	a := w.send(w.token(nil, w.grant("", "payments:read_customer")), get("/v1/customers/cus_1"))
	require.Equal(t, 200, a.status)
	require.NotContains(t, a.body, upstreamKey)
	require.Contains(t, a.body, strings.Repeat("*", len(upstreamKey)))
	require.Empty(t, a.header.Get("Set-Cookie"))
	require.Empty(t, a.header.Get("X-Debug"))
	require.NotContains(t, a.header.Get("Request-Id"), upstreamKey)
}

func TestMetadataDocument(t *testing.T) {
	w := newWorld(t, options{})
	a := w.raw(get("/.well-known/oauth-protected-resource"), http.Header{})
	require.Equal(t, 200, a.status)
	require.Contains(t, a.body, `"resource":"`+w.base+`"`)
	require.Contains(t, a.body, `"resource_name":"stripe"`)
	require.Contains(t, a.body, `"authorization_servers":["https://id.example.com/acme"]`)
	require.Contains(t, a.body, `"dpop_bound_access_tokens_required":true`)
	require.Contains(t, a.body, `"payments:refund"`)
}

func TestHeadersForwardedAreAllowListed(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant("", "payments:read_customer"))
	s := get("/v1/customers/cus_1")
	s.header = http.Header{
		"Stripe-Version": {"2026-10-28.endive"}, "X-Forwarded-For": {"1.2.3.4"}, "X-Real-Ip": {"1.2.3.4"}, "Forwarded": {"for=1.2.3.4"},
		"X-Http-Method-Override": {"DELETE"}, "X_Agent_Id": {"other"}, "X-Original-Url": {"/v1/x"}, "Cookie": {"a=b"}, "Accept-Encoding": {"gzip"},
	}
	require.Equal(t, 200, w.send(token, s).status)
	got := w.sent.of("GET")[0].header
	require.Equal(t, "2026-10-28.endive", got.Get("Stripe-Version"))
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "X-Http-Method-Override", "X_Agent_Id", "X-Original-Url", "Cookie", "Accept-Encoding", "Dpop"} {
		require.NotContains(t, got, name)
	}
	s.header = http.Header{"Stripe-Account": {"acct_1"}}
	a := w.send(token, s)
	require.Equal(t, 400, a.status)
	require.Equal(t, "header_refused", a.reason())
	require.Equal(t, "Stripe-Account", a.field("param"))
}
