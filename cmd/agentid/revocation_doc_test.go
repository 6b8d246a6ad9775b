package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheRevocationPage runs every command of docs/revocation.md, in order, as a shell
// does.
func TestTheRevocationPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/revocation.md")
	require.NoError(t, err)
	s := newSite(t)
	s.start()
	first := s.acme()
	token := s.mustMint(first)
	program, err := binary()
	require.NoError(t, err)
	var all strings.Builder
	for _, block := range strings.Split(string(page), "```sh\n")[1:] {
		script, _, whole := strings.Cut(block, "```")
		require.True(t, whole)
		cmd := exec.Command("sh", "-euc", script)
		cmd.Dir = s.dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"),
			"AGENTID_SERVER="+s.base, "AGENTID_CREDENTIAL_FILE="+s.credential)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s\n%s", script, out)
		all.Write(out)
	}
	said := all.String()
	require.Contains(t, said, "revoked agent:acme/refunds-1\n")
	require.Contains(t, said, "revoked 1 agents of tenant:acme\n")
	require.Contains(t, said, `"subject": "tokens"`)
	require.Contains(t, said, "ms\n")
	require.Equal(t, "active", s.state("refunds-1"))
	status, _, err := (&caller{site: s, agent: first}).do(t.Context(), "GET", "/v1/charges/ch_ada", "", "", token)
	require.NoError(t, err)
	require.Equal(t, 401, status, "it was revoked, and is of an earlier incarnation")
	s.mustMint(first)
}
