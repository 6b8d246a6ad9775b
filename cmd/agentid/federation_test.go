package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/deploy/examples"
	"github.com/agentid-dev/agentid/federation/federationtest"
	"github.com/agentid-dev/agentid/server/admin"
)

// jobToken is what the platform says of a job of the example's repository.
func jobToken(platform *federationtest.Issuer, audience, ref string) string {
	now := time.Now()
	return platform.Sign(map[string]any{
		"iss": platform.URL(), "aud": audience, "sub": "repo:acme/refunds:ref:" + ref, "jti": "job-" + ref,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "repository": "acme/refunds",
		"repository_id": "74", "repository_owner_id": "65", "job_workflow_ref": "acme/refunds/.github/workflows/x.yml@" + ref,
	})
}

// TestTheFederationPage runs every command of docs/federation.md, in order, as a shell
// does, and what a refused token is told besides.
func TestTheFederationPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/federation.md")
	require.NoError(t, err)
	s := newSite(t)
	s.start()
	s.acme()
	platform := federationtest.NewIssuer(t)
	platform.Roll(jose.RS256)
	text, err := examples.WorkloadsAt(platform.URL(), s.base+"/acme")
	require.NoError(t, err)
	s.write("workloads.yaml", text)
	s.write("job.token", jobToken(platform, s.base+"/acme", "refs/heads/main"))
	program, err := binary()
	require.NoError(t, err)
	said := new(strings.Builder)
	for _, block := range strings.Split(string(page), "```sh\n")[1:] {
		script, _, _ := strings.Cut(block, "```")
		cmd := exec.Command("sh", "-euc", script)
		cmd.Dir = s.dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"),
			"AGENTID_SERVER="+s.base, "AGENTID_CREDENTIAL_FILE="+s.credential, "AGENTID_ISSUER="+s.base+"/acme")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s\n%s", script, out)
		_, _ = said.Write(out)
	}
	require.Contains(t, said.String(), "agent_type:acme/refund-agent of rule refund-jobs, for principal:acme/alice")
	require.Contains(t, said.String(), "agent:acme/w-")
	require.Contains(t, said.String(), "agent.enrol")

	for name, c := range map[string]struct{ token, step string }{
		"another branch":   {jobToken(platform, s.base+"/acme", "refs/heads/evil"), "rule"},
		"another audience": {jobToken(platform, "https://github.com/acme", "refs/heads/main"), "audience"},
		"no token":         {"x", "issuer"},
	} {
		code, out := s.cli("federation", "test", "--tenant", "acme", "--token", s.write("bad.token", c.token), "-o", "json")
		require.Equal(t, exitFailed, code, name)
		doc, _, _ := strings.Cut(out, "\n}\n")
		var r admin.Resolution
		require.NoError(t, json.Unmarshal([]byte(doc+"\n}"), &r), out)
		require.False(t, r.OK)
		last := r.Checks[len(r.Checks)-1]
		require.Equal(t, c.step, string(last.Step), name)
		require.NotEmpty(t, last.Reason)
		require.NotEmpty(t, last.Detail)
		code, _ = s.cli("agent", "enrol", "--issuer", s.base+"/acme", "--key", filepath.Join(s.dir, "job.key"), "--workload-token", s.write("bad.token", c.token))
		require.Equal(t, exitFailed, code, name)
	}
	code, out := s.cli("federation", "test", "--tenant", "acme", "--token", s.write("bad.token", jobToken(platform, "\x1b[31m", "refs/heads/main")))
	require.Equal(t, exitFailed, code)
	require.NotContains(t, out, "\x1b", "a token's text does nothing to a terminal")
}
