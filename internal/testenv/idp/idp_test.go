package idp_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/testenv/idp"
)

const api = "https://broker.example"

var client = idp.Client{ID: "broker", Secret: "a secret of the broker", Redirects: []string{"http://127.0.0.1:7420/callback"}}

func TestProviders(t *testing.T) {
	for _, kind := range []idp.Kind{idp.OIDCProvider, idp.Zitadel} {
		t.Run(kind.String(), func(t *testing.T) {
			p := idp.Start(t, kind, idp.Config{Clients: []idp.Client{client}, Resources: []string{api}})
			require.Equal(t, kind == idp.Zitadel, strings.HasSuffix(p.Issuer, "/"))

			first := claims(t, p, signIn(t, p, idp.Alice(), "").ID)
			require.Equal(t, p.Issuer, first["iss"])
			require.Equal(t, "u-alice", first["sub"])
			require.Equal(t, true, first["email_verified"])
			require.Equal(t, []any{"support", "refunders"}, first["groups"])
			other := claims(t, p, signIn(t, p, idp.Mallory(), "").ID)
			require.NotEqual(t, true, other["email_verified"])

			t.Run("a wrong password gets no code", func(t *testing.T) {
				wrong := idp.Alice()
				wrong.Password = "guess"
				_, err := p.SignIn(t.Context(), client, wrong, "")
				require.ErrorContains(t, err, "wrong")
			})
			t.Run("keys roll", func(t *testing.T) {
				require.NoError(t, p.RollKeys(false))
				require.Equal(t, "u-alice", claims(t, p, signIn(t, p, idp.Alice(), "").ID)["sub"])
			})
			t.Run("people change groups", func(t *testing.T) {
				alice := idp.Alice()
				alice.Groups = []string{"support"}
				require.NoError(t, p.SetUsers(alice))
				require.Equal(t, []any{"support"}, claims(t, p, signIn(t, p, alice, "").ID)["groups"])
			})
			t.Run("an outage ends at the same address", func(t *testing.T) {
				issuer := p.Issuer
				p.Close()
				_, err := p.SignIn(t.Context(), client, idp.Alice(), "")
				require.Error(t, err)
				require.NoError(t, p.Resume())
				require.Equal(t, issuer, p.Issuer)
				require.Equal(t, "u-alice", claims(t, p, signIn(t, p, idp.Alice(), "").ID)["sub"])
			})
		})
	}
}

func TestAccessTokenForAResource(t *testing.T) {
	p := idp.Start(t, idp.OIDCProvider, idp.Config{Clients: []idp.Client{client}, Resources: []string{api}})
	c := claims(t, p, signIn(t, p, idp.Alice(), api).Access)
	require.Equal(t, api, c["aud"])
	require.Equal(t, []any{"support", "refunders"}, c["groups"])
	_, err := p.SignIn(t.Context(), client, idp.Alice(), "https://elsewhere.example")
	require.Error(t, err)
}

func signIn(t *testing.T, p *idp.Provider, u idp.User, resource string) idp.Tokens {
	t.Helper()
	tokens, err := p.SignIn(t.Context(), client, u, resource)
	require.NoError(t, err)
	return tokens
}

// claims verifies a token against the provider's published keys.
func claims(t *testing.T, p *idp.Provider, token string) map[string]any {
	t.Helper()
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	require.NoError(t, err)
	var meta struct {
		JWKS string `json:"jwks_uri"`
	}
	get(t, strings.TrimSuffix(p.Issuer, "/")+"/.well-known/openid-configuration", &meta)
	var keys jose.JSONWebKeySet
	get(t, meta.JWKS, &keys)
	found := keys.Key(parsed.Signatures[0].Header.KeyID)
	require.Len(t, found, 1)
	payload, err := parsed.Verify(found[0])
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, json.Unmarshal(payload, &out))
	return out
}

func get(t *testing.T, at string, into any) {
	t.Helper()
	resp, err := http.Get(at)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, json.NewDecoder(resp.Body).Decode(into))
}
