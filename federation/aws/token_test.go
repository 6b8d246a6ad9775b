package aws_test

import (
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/aws"
	"github.com/agentid-dev/agentid/federation/federationtest"
	"github.com/agentid-dev/agentid/federation/jwtsource"
)

// claims are those of a GetWebIdentityToken JWT, as AWS documents them.
func claims() map[string]any {
	return map[string]any{
		"sub": "arn:aws:iam::123456789012:role/DataProcessingRole", "jti": "xyz123-def456-ghi789-jkl012",
		"https://sts.amazonaws.com/": map[string]any{
			"aws_account": "123456789012", "source_region": "us-east-1", "org_id": "o-abc1234567", "ou_path": []string{"o-a1b2/r-ab12/ou-ab12/"},
			"principal_tags": map[string]any{"environment": "production"}, "request_tags": map[string]any{"job_id": "data-analysis-2024-q1"},
			"lambda_source_function_arn": "arn:aws:lambda:us-east-1:123456789012:function:refunds",
		},
	}
}

func source(t *testing.T, issuer *federationtest.Issuer) federation.Source {
	s, err := jwtsource.New(aws.Profile(), issuer.URL(), federationtest.Keys(t, issuer))
	require.NoError(t, err)
	return s
}

func TestSuite(t *testing.T) {
	federationtest.Run(t, federationtest.Subject{New: source, Claims: claims(), Algorithm: jose.ES384, Required: aws.Profile().Required})
}

func TestAccountIsTheSubjects(t *testing.T) {
	issuer := federationtest.NewIssuer(t)
	s := source(t, issuer)
	c := federationtest.Subject{Claims: claims()}.Good(issuer)
	id, _, err := s.Verify(t.Context(), federationtest.Present(issuer.Sign(c)))
	require.NoError(t, err)
	tag, _ := id.Claims.Text("https://sts.amazonaws.com/.principal_tags.environment")
	require.Equal(t, "production", tag)
	for _, subject := range []string{"arn:aws:iam::999999999999:role/DataProcessingRole", "DataProcessingRole", "arn:aws:iam::123456789012:role/a b"} {
		c["sub"] = subject
		_, _, err = s.Verify(t.Context(), federationtest.Present(issuer.Sign(c)))
		require.Equal(t, federation.ReasonClaim, agentid.ReasonOf(err), subject)
	}
}

// TestRequestTagsAloneAreNoRule: whoever asks for the token chooses them.
func TestRequestTagsAloneAreNoRule(t *testing.T) {
	r, err := federation.Require(map[string]federation.Match{aws.Namespace + "request_tags.job_id": {Is: "x"}})
	require.NoError(t, err)
	require.Equal(t, "claims", agentid.AsError(aws.Profile().CheckRule("https://broker.example/acme", r)).Field)
}

func TestIssuers(t *testing.T) {
	for issuer, ok := range map[string]bool{
		"https://3b9e6f0a-7c2f-4f5b-8a5e-0f1f2e3d4c5b.tokens.sts.global.api.aws":  true,
		"https://3b9e6f0a-7c2f-4f5b-8a5e-0f1f2e3d4c5b.tokens.sts.global.api.aws/": false,
		"https://sts.amazonaws.com": false,
		"https://3b9e6f0a-7c2f-4f5b-8a5e-0f1f2e3d4c5b.tokens.sts.global.api.aws.x.com": false,
	} {
		require.Equal(t, ok, aws.Profile().ValidateIssuer(issuer, false) == nil, issuer)
	}
}
