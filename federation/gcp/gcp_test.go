package gcp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/federationtest"
	"github.com/agentid-dev/agentid/federation/gcp"
	"github.com/agentid-dev/agentid/federation/jwtsource"
)

// claims are those of an instance identity token with the full format, as Google
// documents them.
func claims() map[string]any {
	return map[string]any{
		"azp": "112179062720391305885", "sub": "112179062720391305885",
		"email": "refunds@acme-prod.iam.gserviceaccount.com", "email_verified": true,
		"google": map[string]any{"compute_engine": map[string]any{
			"project_id": "acme-prod", "project_number": 739419398126, "zone": "us-west1-a",
			"instance_id": "152986662232938449", "instance_name": "example", "instance_creation_timestamp": 1_556_658_001,
		}},
	}
}

func source(t *testing.T, issuer *federationtest.Issuer) federation.Source {
	s, err := jwtsource.New(gcp.Profile(), issuer.URL(), federationtest.Keys(t, issuer))
	require.NoError(t, err)
	return s
}

func TestSuite(t *testing.T) {
	federationtest.Run(t, federationtest.Subject{New: source, Claims: claims(), Required: gcp.Profile().Required})
}

func TestPeopleAndUnverifiedAddresses(t *testing.T) {
	issuer := federationtest.NewIssuer(t)
	s := source(t, issuer)
	verify := func(name string, value any) (federation.Identity, error) {
		c := federationtest.Subject{Claims: claims()}.Good(issuer)
		c[name] = value
		id, _, err := s.Verify(t.Context(), federationtest.Present(issuer.Sign(c)))
		return id, err
	}
	id, err := verify("email_verified", false)
	require.NoError(t, err)
	require.NotContains(t, id.Claims, "email", "an address that nobody verified cannot be matched")
	_, err = verify("email", "ada@gmail.com")
	require.Equal(t, "email", agentid.AsError(err).Field)
	_, err = verify("sub", "ada")
	require.Equal(t, "sub", agentid.AsError(err).Field)
	instance, _ := id.Claims.Text("google.compute_engine.instance_id")
	require.Equal(t, "152986662232938449", instance)
}

func TestIssuers(t *testing.T) {
	require.NoError(t, gcp.Profile().ValidateIssuer(gcp.Issuer, false))
	for _, bad := range []string{"https://accounts.google.com/", "https://accounts.google.com.evil.example", "accounts.google.com"} {
		require.Error(t, gcp.Profile().ValidateIssuer(bad, false), bad)
	}
}
