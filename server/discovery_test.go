package server_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/signer"
)

func (w *world) get(path string) (*http.Response, map[string]any) {
	w.tb.Helper()
	req, err := http.NewRequest(http.MethodGet, w.base+path, nil) //nolint:noctx // a test's own server
	require.NoError(w.tb, err)
	return w.send(req)
}

func TestMetadata(t *testing.T) {
	w := newWorld(t)
	for path, tenant := range map[string]string{
		"/.well-known/oauth-authorization-server":      "",
		"/.well-known/openid-configuration":            "",
		"/.well-known/oauth-authorization-server/acme": "/acme",
		"/.well-known/openid-configuration/acme":       "/acme",
		"/acme/.well-known/openid-configuration":       "/acme",
	} {
		t.Run(path, func(t *testing.T) {
			w.tb = t
			resp, doc := w.get(path)
			require.Equal(t, 200, resp.StatusCode)
			require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
			require.Contains(t, resp.Header.Get("Cache-Control"), "max-age=")
			issuer := w.base + tenant
			require.Equal(t, issuer, doc["issuer"])
			for member, path := range map[string]string{
				"token_endpoint": "/oauth2/token", "jwks_uri": "/oauth2/jwks",
				"introspection_endpoint": "/oauth2/introspect", "revocation_endpoint": "/oauth2/revoke",
			} {
				require.Equal(t, issuer+path, doc[member])
			}
			require.Equal(t, []any{}, doc["response_types_supported"])
			grants, methods := []any{"client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"}, []any{"private_key_jwt"}
			if tenant != "" {
				grants, methods = append(grants, "urn:ietf:params:oauth:grant-type:jwt-bearer"), append(methods, "spiffe_jwt", "spiffe_x509")
			}
			require.Equal(t, grants, doc["grant_types_supported"])
			require.Equal(t, methods, doc["token_endpoint_auth_methods_supported"])
			require.Equal(t, true, doc["tls_client_certificate_bound_access_tokens"])
			require.Equal(t, []any{"agentid_capability", "agentid_template"}, doc["authorization_details_types_supported"])
			require.Equal(t, []any{"EdDSA", "ES256"}, doc["dpop_signing_alg_values_supported"])
			require.Contains(t, doc["scopes_supported"], "payments:refund")
			for _, member := range []string{"token_endpoint", "introspection_endpoint", "revocation_endpoint"} {
				algs := doc[member+"_auth_signing_alg_values_supported"]
				require.NotContains(t, algs, "none")
				require.NotContains(t, algs, "HS256")
			}
		})
	}
	w.tb = t
}

func TestUnknownTenantIsNotFound(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{
		"/.well-known/oauth-authorization-server/nobody", "/.well-known/openid-configuration/nobody",
		"/nobody/.well-known/openid-configuration", "/nobody/oauth2/jwks", "/.well-known/openid-configuration/%2e%2e", "/a%2Fb/oauth2/jwks",
	} {
		resp, doc := w.get(path)
		require.Equal(t, 404, resp.StatusCode, path)
		require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
		require.NotEmpty(t, doc["request_id"])
	}
	resp, doc := w.get("/")
	require.Equal(t, 404, resp.StatusCode)
	require.Equal(t, "path_unknown", doc["reason"])
}

func TestMetadataDuringAnOutage(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.ledger.Close())
	resp, doc := w.get("/.well-known/openid-configuration/acme")
	require.Equal(t, 503, resp.StatusCode, "an outage is no unknown tenant: %v", doc)
	resp, _ = w.get("/oauth2/jwks")
	require.Equal(t, 200, resp.StatusCode, "keys are in memory")
}

func (w *world) jwks(path string) jose.JSONWebKeySet {
	w.tb.Helper()
	resp, doc := w.get(path)
	require.Equal(w.tb, 200, resp.StatusCode)
	require.Equal(w.tb, "application/jwk-set+json", resp.Header.Get("Content-Type"))
	require.Equal(w.tb, "public, max-age=300", resp.Header.Get("Cache-Control"))
	text := must(json.Marshal(doc))
	require.NotContains(w.tb, string(text), `"d"`)
	var set jose.JSONWebKeySet
	require.NoError(w.tb, json.Unmarshal(text, &set))
	return set
}

func TestRotationWithLiveTokens(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, w.jwks("/oauth2/jwks"), w.jwks("/acme/oauth2/jwks"))
	s := w.broker.Signer()
	next, err := s.Stage(t.Context(), signer.AlgorithmES256)
	require.NoError(t, err)
	require.Len(t, w.jwks("/oauth2/jwks").Keys, 2)
	require.Equal(t, "key_too_young", agentid.ReasonOf(s.Activate(t.Context(), next.ID)))
	w.shift.Add(int64(discovery.JWKSMaxAge - time.Minute))
	old, _ := w.mint(w.agent)
	w.shift.Add(int64(time.Minute))
	require.NoError(t, s.Activate(t.Context(), next.ID))

	fresh, _ := w.mint(w.agent)
	parsed, err := jose.ParseSignedCompact(fresh, []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err, "the next token is signed by the new key")
	require.Equal(t, next.ID, parsed.Signatures[0].Header.KeyID)
	for _, token := range []string{old, fresh} {
		_, doc := w.asService(token)
		require.Equal(t, true, doc["active"])
	}
	_, doc := w.get("/.well-known/oauth-authorization-server")
	require.Equal(t, []any{"ES256", "EdDSA"}, doc["introspection_signing_alg_values_supported"])

	// The leaked old key is withdrawn at once: what it signed is refused.
	parsed, err = jose.ParseSignedCompact(old, []jose.SignatureAlgorithm{jose.EdDSA})
	require.NoError(t, err)
	require.NoError(t, s.Retire(t.Context(), parsed.Signatures[0].Header.KeyID))
	_, doc = w.asService(old)
	require.Equal(t, inactive, doc)
	_, doc = w.asService(fresh)
	require.Equal(t, true, doc["active"])
	require.Len(t, w.jwks("/oauth2/jwks").Keys, 1)
}

func TestIssuersAreExact(t *testing.T) {
	for _, bad := range []string{"", "broker.example", "https://", "https://b.example/", "https://b.example/x", "https://B.example", "ftp://b.example", "https://u@b.example", "https://b.example?x", "https://b.example#x"} {
		_, err := discovery.NewIssuers(bad)
		require.Error(t, err, bad)
	}
	i, err := discovery.NewIssuers("https://b.example:8443")
	require.NoError(t, err)
	for text, want := range map[string]string{"https://b.example:8443": "", "https://b.example:8443/acme": "acme"} {
		tenant, ok := i.Tenant(text)
		require.True(t, ok)
		require.Equal(t, want, tenant)
		require.Equal(t, text, i.Of(tenant))
	}
	for _, bad := range []string{"", "https://b.example:8443/", "https://b.example:8443/acme/", "https://b.example:8443/a/b", "https://b.example", "https://b.example:8443/%61", "https://b.example:84431"} {
		_, ok := i.Tenant(bad)
		require.False(t, ok, bad)
	}
	_, ok := discovery.Issuers{}.Tenant("")
	require.False(t, ok)
}
