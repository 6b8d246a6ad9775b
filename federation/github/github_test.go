package github_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/federationtest"
	"github.com/agentid-dev/agentid/federation/github"
	"github.com/agentid-dev/agentid/federation/jwtsource"
)

// claims are those of a token of Actions, as GitHub documents them.
func claims() map[string]any {
	return map[string]any{
		"jti": "example-id", "sub": "repo:octo-org/octo-repo:environment:prod", "environment": "prod",
		"ref": "refs/heads/main", "sha": "example-sha", "repository": "octo-org/octo-repo", "repository_owner": "octo-org",
		"actor_id": "12", "repository_visibility": "private", "repository_id": "74", "repository_owner_id": "65",
		"run_id": "example-run-id", "run_number": "10", "run_attempt": "2", "runner_environment": "github-hosted",
		"actor": "octocat", "workflow": "example-workflow", "head_ref": "", "base_ref": "", "event_name": "workflow_dispatch",
		"ref_type": "branch", "job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
	}
}

func TestSuite(t *testing.T) {
	federationtest.Run(t, federationtest.Subject{
		Claims: claims(), Required: github.Profile().Required,
		New: func(t *testing.T, issuer *federationtest.Issuer) federation.Source {
			s, err := jwtsource.New(github.Profile(), issuer.URL(), federationtest.Keys(t, issuer))
			require.NoError(t, err)
			return s
		},
	})
}

func TestSharedDefaultAudienceIsRefusedInARule(t *testing.T) {
	r, err := federation.Require(map[string]federation.Match{"repository_id": {Is: "74"}})
	require.NoError(t, err)
	require.Equal(t, "audience", agentid.AsError(github.Profile().CheckRule("https://github.com/octo-org", r)).Field)
	require.NoError(t, github.Profile().CheckRule("https://broker.example/acme", r))
	r, err = federation.Require(map[string]federation.Match{"actor": {Is: "octocat"}})
	require.NoError(t, err)
	require.Equal(t, "claims", agentid.AsError(github.Profile().CheckRule("https://broker.example/acme", r)).Field)
}

func TestIssuers(t *testing.T) {
	p := github.Profile()
	require.NoError(t, p.ValidateIssuer(github.Issuer, false))
	require.NoError(t, p.ValidateIssuer("https://ghes.example/_services/token", false))
	for _, bad := range []string{"https://github.com", "http://token.actions.githubusercontent.com", "https://10.0.0.1/_services/token", "x"} {
		require.Equal(t, "issuer", agentid.AsError(p.ValidateIssuer(bad, false)).Field, bad)
	}
}
