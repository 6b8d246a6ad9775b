package httperr_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
)

func TestEveryKindHasAStatus(t *testing.T) {
	want := map[agentid.Kind]int{
		agentid.KindInternal: 500, agentid.KindInvalid: 400, agentid.KindUnauthenticated: 401,
		agentid.KindForbidden: 403, agentid.KindNotFound: 404, agentid.KindConflict: 409,
		agentid.KindTooLarge: 413, agentid.KindRateLimited: 429, agentid.KindUnavailable: 503,
		agentid.KindUpstream: 502, agentid.KindUpstreamTimeout: 504,
	}
	for kind := agentid.KindInternal; kind <= agentid.KindUpstreamTimeout; kind++ {
		status, ok := want[kind]
		require.True(t, ok, "kind %d has no expectation", kind)
		require.Equal(t, status, httperr.Of(agentid.Errorf(kind, "some_reason", "m")).Status, "kind %d", kind)
	}
	require.Equal(t, 500, httperr.Of(agentid.Errorf(agentid.Kind(99), "x", "m")).Status)
	require.Equal(t, 500, httperr.Of(errors.New("x")).Status)
}

func TestCodes(t *testing.T) {
	for _, c := range []struct {
		err       error
		status    int
		oauth     string
		oauthCode int
		challenge string
	}{
		{agentid.Invalidf("scope", "m"), 400, "invalid_request", 400, "invalid_request"},
		{agentid.Errorf(agentid.KindUnauthenticated, "assertion_signature", "m"), 401, "invalid_client", 401, "invalid_token"},
		{agentid.Errorf(agentid.KindUnauthenticated, "credential_missing", "m"), 401, "invalid_client", 401, ""},
		{agentid.Errorf(agentid.KindUnauthenticated, "use_dpop_nonce", "m"), 401, "use_dpop_nonce", 400, "use_dpop_nonce"},
		{agentid.Errorf(agentid.KindUnauthenticated, "dpop_replayed", "m"), 401, "invalid_dpop_proof", 400, "invalid_dpop_proof"},
		{agentid.Errorf(agentid.KindForbidden, "policy_denied", "m"), 403, "access_denied", 403, "insufficient_scope"},
		{agentid.Errorf(agentid.KindForbidden, "token_revoked", "m"), 401, "invalid_token", 401, "invalid_token"},
		{agentid.Errorf(agentid.KindInvalid, "unsupported_grant_type", "m"), 400, "unsupported_grant_type", 400, "invalid_request"},
		{agentid.Errorf(agentid.KindInvalid, "method_not_allowed", "m"), 405, "invalid_request", 405, "invalid_request"},
		{agentid.Errorf(agentid.KindInvalid, "unsupported_media_type", "m"), 415, "invalid_request", 415, "invalid_request"},
		{httperr.WithCode(agentid.Invalidf("constraints.amount.max", "m"), httperr.InvalidAuthorizationDetails), 400, "invalid_authorization_details", 400, "invalid_request"},
		{httperr.WithCode(agentid.Errorf(agentid.KindForbidden, "over_ceiling", "m"), httperr.InvalidAuthorizationDetails), 403, "invalid_authorization_details", 400, "insufficient_scope"},
		{httperr.WithCode(agentid.Unavailable("graph_unavailable", nil), httperr.InvalidTarget), 503, "invalid_target", 503, ""},
		{fmt.Errorf("wrapped: %w", agentid.Unavailable("graph_unavailable", nil)), 503, "temporarily_unavailable", 503, ""},
	} {
		a := httperr.Of(c.err)
		require.Equal(t, c.status, a.Status, "%v", c.err)
		require.Equal(t, c.oauth, a.OAuth, "%v", c.err)
		require.Equal(t, c.oauthCode, a.OAuthStatus(), "%v", c.err)
		require.Equal(t, c.challenge, a.Challenge, "%v", c.err)
	}
}

func serve(render httperr.Renderer, err error) (*httptest.ResponseRecorder, string) {
	var logged bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&logged, nil))
	h := httpx.WithRequestID(httperr.Handler(logger, render, func(http.ResponseWriter, *http.Request) error { return err }))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/p", nil))
	return w, logged.String()
}

func TestProblemDocument(t *testing.T) {
	err := &agentid.Error{
		Kind: agentid.KindForbidden, Reason: "constraint_amount_max", Field: "amount",
		Message: "over the limit", Cause: errors.New("agent:acme/x#live"),
	}
	w, logged := serve(httperr.Problem, err)
	require.Equal(t, 403, w.Code)
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	var doc map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &doc))
	id, _ := doc["request_id"].(string)
	require.Equal(t, w.Header().Get("X-Request-Id"), id)
	delete(doc, "request_id")
	require.Equal(t, map[string]any{
		"type": "https://agentid.dev/problems/constraint_amount_max", "title": "Refused", "status": 403.0,
		"detail": "over the limit", "reason": "constraint_amount_max", "field": "amount",
	}, doc)
	require.Contains(t, logged, "agent:acme/x#live")
	require.Contains(t, logged, id)
}

func TestInternalTextStaysInside(t *testing.T) {
	for _, render := range []httperr.Renderer{httperr.Problem, httperr.OAuth} {
		for _, err := range []error{
			errors.New("select hunter2"),
			&agentid.Error{Kind: agentid.KindInternal, Reason: "hunter2", Field: "hunter2", Message: "hunter2"},
			agentid.Unavailable("ledger_unavailable", errors.New("hunter2")),
		} {
			w, logged := serve(render, err)
			require.GreaterOrEqual(t, w.Code, 500)
			require.NotContains(t, w.Body.String(), "hunter2")
			require.Contains(t, logged, "level=ERROR")
		}
	}
}

func TestOAuthDocument(t *testing.T) {
	w, _ := serve(httperr.OAuth, agentid.Invalidf("sc\"ope", "not \\ \"é\"\nhere"))
	require.Equal(t, 400, w.Code)
	require.Empty(t, w.Header().Get("WWW-Authenticate"))
	var doc map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &doc))
	require.Equal(t, "invalid_request", doc["error"])
	require.Equal(t, "sc'ope: not / '?'?here", doc["error_description"])

	w, _ = serve(httperr.OAuth, agentid.Errorf(agentid.KindUnauthenticated, "client_unknown", "no such client"))
	require.Equal(t, 401, w.Code)
	require.Equal(t, `Basic realm="agentid", error="invalid_client"`, w.Header().Get("WWW-Authenticate"))
}

func TestRetryAfter(t *testing.T) {
	w, _ := serve(httperr.Problem, agentid.Unavailable("graph_unavailable", nil))
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	w, _ = serve(httperr.Problem, httperr.WithRetryAfter(agentid.Errorf(agentid.KindRateLimited, "rate_agent", "m"), 1500*time.Millisecond))
	require.Equal(t, 429, w.Code)
	require.Equal(t, "2", w.Header().Get("Retry-After"))
	w, _ = serve(httperr.Problem, agentid.Invalidf("x", "m"))
	require.Empty(t, w.Header().Get("Retry-After"))
}

func TestDescriptionCharset(t *testing.T) {
	all := make([]rune, 0, 0x3000)
	for c := rune(0); c < 0x3000; c++ {
		all = append(all, c)
	}
	for _, chunk := range []string{string(all[:300]), string(all[300:600]), "\u2028\x1b[31m", strings.Repeat("x", 5000)} {
		got := httperr.Description(chunk)
		require.LessOrEqual(t, len(got), 400)
		for _, c := range []byte(got) {
			require.True(t, c == 0x20 || c == 0x21 || c >= 0x23 && c <= 0x5b || c >= 0x5d && c <= 0x7e, "%#x", c)
		}
	}
}

func TestChallenges(t *testing.T) {
	p := httperr.Protected{
		Metadata: "https://gw.example/.well-known/oauth-protected-resource",
		Scopes:   []string{"payments:refund"}, DPoPAlgs: []string{"EdDSA", "ES256"}, Bearer: true,
	}
	missing := httperr.Challenges(agentid.Errorf(agentid.KindUnauthenticated, "credential_missing", "m"), p)
	require.Len(t, missing, 2)
	require.Equal(t, `Bearer resource_metadata="https://gw.example/.well-known/oauth-protected-resource", scope="payments:refund"`, missing[1])
	require.True(t, strings.HasPrefix(missing[0], `DPoP algs="EdDSA ES256", resource_metadata=`))
	require.NotContains(t, missing[0], "error")

	nonce := httperr.Challenges(agentid.Errorf(agentid.KindUnauthenticated, "use_dpop_nonce", "m"), p)
	require.Contains(t, nonce[0], `error="use_dpop_nonce"`)
	require.NotContains(t, nonce[1], "error")

	p.Bearer = false
	expired := httperr.Challenges(agentid.Errorf(agentid.KindUnauthenticated, "token_expired", `a "b"`), p)
	require.Len(t, expired, 1)
	require.Contains(t, expired[0], `error="invalid_token", error_description="a 'b'"`)

	require.Contains(t, httperr.Challenges(agentid.Errorf(agentid.KindForbidden, "operation_not_granted", "m"), p)[0], `error="insufficient_scope"`)
	require.Empty(t, httperr.Challenges(agentid.Unavailable("graph_unavailable", nil), p))
}

func TestWriteNeverSendsASuccess(t *testing.T) {
	w := httptest.NewRecorder()
	httperr.Write(w, httperr.Answer{}, 0, "application/json", []byte("{}"))
	require.Equal(t, 500, w.Code)
}

func TestHandlerPassesSuccess(t *testing.T) {
	w, logged := serve(httperr.Problem, nil)
	require.Equal(t, 200, w.Code)
	require.Empty(t, logged)
}
