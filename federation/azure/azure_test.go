package azure_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/azure"
	"github.com/agentid-dev/agentid/federation/federationtest"
	"github.com/agentid-dev/agentid/federation/jwtsource"
)

const directory = "bb8c4b9a-5b4e-4b5e-8f65-1c1e1c2b4f6a"

// claims are those of a managed identity's token of version 1, as Microsoft documents
// them.
func claims() map[string]any {
	return map[string]any{
		"aio": "42VgYJj0L8wAA", "appid": "6c2c9bcd-1b6d-4f1b-9f0c-6c9f0f6d2f3b", "appidacr": "2", "idp": "https://sts.windows.net/" + directory + "/",
		"idtyp": "app", "oid": "4d3fae0c-4f0f-4d0e-bb3f-5a8c9f2a7f11", "rh": "0.AAAA", "sub": "4d3fae0c-4f0f-4d0e-bb3f-5a8c9f2a7f11",
		"tid": directory, "uti": "kCx0", "ver": "1.0",
		"xms_mirid": "/subscriptions/3b4c/resourcegroups/prod/providers/Microsoft.ManagedIdentity/userAssignedIdentities/refunds",
	}
}

func source(issuerName string) func(t *testing.T, issuer *federationtest.Issuer) federation.Source {
	return func(t *testing.T, issuer *federationtest.Issuer) federation.Source {
		s, err := jwtsource.New(azure.Profile(issuerName), issuer.URL(), federationtest.Keys(t, issuer))
		require.NoError(t, err)
		return s
	}
}

func TestSuite(t *testing.T) {
	federationtest.Run(t, federationtest.Subject{New: source("https://sts.windows.net/" + directory + "/"), Claims: claims(), Required: []string{"oid", "tid"}})
}

func TestWhatIsNoWorkloadOfTheDirectory(t *testing.T) {
	issuer := federationtest.NewIssuer(t)
	s := source("https://sts.windows.net/"+directory+"/")(t, issuer)
	for name, value := range map[string]string{"tid": "11111111-1111-1111-1111-111111111111", "idtyp": "user", "scp": "user_impersonation"} {
		c := federationtest.Subject{Claims: claims()}.Good(issuer)
		c[name] = value
		_, _, err := s.Verify(t.Context(), federationtest.Present(issuer.Sign(c)))
		require.Equal(t, name, agentid.AsError(err).Field)
	}
}

func TestIssuersAndAudiences(t *testing.T) {
	for issuer, ok := range map[string]bool{
		"https://sts.windows.net/" + directory + "/":                    true,
		"https://login.microsoftonline.com/" + directory + "/v2.0":      true,
		"https://sts.windows.net/" + directory:                          false,
		"https://login.microsoftonline.com/common/v2.0":                 false,
		"https://login.microsoftonline.com/" + directory + "/v2.0/":     false,
		"https://sts.windows.net.evil.example/" + directory + "/":       false,
		"https://login.microsoftonline.com/" + directory + "/v2.0?x=y#": false,
	} {
		require.Equal(t, ok, azure.Profile(issuer).ValidateIssuer(issuer, false) == nil, issuer)
	}
	r, err := federation.Require(map[string]federation.Match{"oid": {Is: "4d3f"}})
	require.NoError(t, err)
	for _, shared := range []string{"https://management.azure.com/", "https://management.azure.com", "api://AzureADTokenExchange"} {
		require.Error(t, azure.Profile("").CheckRule(shared, r), shared)
	}
	require.NoError(t, azure.Profile("").CheckRule("api://agentid-acme", r))
}
