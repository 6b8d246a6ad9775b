package genericoidc_test

import (
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/federationtest"
	"github.com/agentid-dev/agentid/federation/genericoidc"
	"github.com/agentid-dev/agentid/federation/jwtsource"
)

func TestSuite(t *testing.T) {
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA} {
		federationtest.Run(t, federationtest.Subject{
			Claims: map[string]any{"sub": "project_path:acme/refunds:ref_type:branch:ref:main", "jti": "one"}, Algorithm: alg,
			New: func(t *testing.T, issuer *federationtest.Issuer) federation.Source {
				s, err := jwtsource.New(genericoidc.Profile(), issuer.URL(), federationtest.Keys(t, issuer))
				require.NoError(t, err)
				return s
			},
		})
	}
}

func TestRulesBindTheSubject(t *testing.T) {
	r, err := federation.Require(map[string]federation.Match{"namespace_id": {Is: "7"}})
	require.NoError(t, err)
	require.Equal(t, "claims", agentid.AsError(genericoidc.Profile().CheckRule("https://broker.example/acme", r)).Field)
	require.Equal(t, "audience", agentid.AsError(genericoidc.Profile().CheckRule("", r)).Field)
}
