package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google/externalaccount"

	"github.com/agentid-dev/agentid/internal/testenv/spiffe"
	"github.com/agentid-dev/agentid/server/tokens"
)

// job gives externalaccount the token of a workload, as a platform's agent would.
type job func() string

func (j job) SubjectToken(context.Context, externalaccount.SupplierOptions) (string, error) {
	return j(), nil
}

// Google's client for workload identity exchanges a workload's token at our token
// endpoint, over a connection with a client certificate: it knows no proofs of possession
// and no authorization_details, so the token is bound to the certificate and asks for what
// the rule says.
func TestExternalAccountJudges(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	rule := p.rule
	rule.Details = json.RawMessage(details)
	p.put(rule)
	secure, client := w.secure(t)
	domain := spiffe.New(t, "prod.example")
	own := client(domain.X509SVID("/job", time.Hour)) // any certificate: who it is of does not matter, the token says that
	exchange := func(own *http.Client, token func() string, audience string) (*oauth2.Token, error) {
		ctx := context.WithValue(t.Context(), oauth2.HTTPClient, own)
		source, err := externalaccount.NewTokenSource(ctx, externalaccount.Config{
			Audience: audience, SubjectTokenType: tokens.TypeJWT, TokenURL: secure.URL + "/acme/oauth2/token",
			Scopes: []string{"payments:refund"}, SubjectTokenSupplier: job(token),
		})
		require.NoError(t, err)
		return source.Token()
	}
	good := func() string { return p.token(nil) }
	got, err := exchange(own, good, resource)
	require.NoError(t, err)
	require.Equal(t, "Bearer", got.TokenType)
	require.WithinDuration(t, time.Now().Add(5*time.Minute), got.Expiry, time.Minute)
	c := w.claims(got.AccessToken)
	require.NotEmpty(t, c.Confirmation.X5T)
	require.Equal(t, "payments:refund", c.Scope)
	require.Equal(t, resource, c.Audience)

	with := func(claim string, value any) func() string {
		return func() string { return p.token(map[string]any{claim: value}) }
	}
	for name, c := range map[string]struct {
		own      *http.Client
		token    func() string
		audience string
	}{
		"no certificate":            {client(nil), good, resource},
		"another resource":          {own, good, "https://elsewhere.example"},
		"another branch":            {own, with("sub", "repo:acme/refunds:ref:refs/heads/x"), resource},
		"a token for somebody else": {own, with("aud", "https://elsewhere.example"), resource},
		"an expired token":          {own, with("exp", w.now().Add(-time.Minute).Unix()), resource},
		"no token":                  {own, func() string { return "not a token" }, resource},
	} {
		_, err := exchange(c.own, c.token, c.audience)
		require.ErrorContains(t, err, "oauth2/google: status code 4", name)
	}
}
