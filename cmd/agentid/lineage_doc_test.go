package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/deploy/examples"
)

// TestTheLineagePage runs every command of docs/lineage.md, in order, as a shell does.
func TestTheLineagePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/lineage.md")
	require.NoError(t, err)
	require.Less(t, strings.Count(string(page), "\n"), 120)
	s := newSite(t)
	s.start()
	s.acme()
	program, err := binary()
	require.NoError(t, err)
	s.write("lineage.yaml", examples.Lineage())
	said := map[string]string{}
	blocks := strings.Split(string(page), "```sh\n")[1:]
	for _, block := range blocks {
		script, _, whole := strings.Cut(block, "```")
		require.True(t, whole)
		cmd := exec.Command("sh", "-euc", script)
		cmd.Dir = s.dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"),
			"AGENTID_SERVER="+s.base, "AGENTID_CREDENTIAL_FILE="+s.credential, "AGENTID_ISSUER="+s.base+"/acme")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s\n%s", script, out)
		said[script] = string(out)
	}
	find := func(part string) string {
		for script, out := range said {
			if strings.Contains(script, part) {
				return out
			}
		}
		require.FailNow(t, "the page no longer has "+part)
		return ""
	}
	require.Contains(t, find("lineage verify"), "agent:acme/worker")
	require.Contains(t, find("agent tree"), "└─ worker")
	require.Contains(t, find("agentid run"), " refunds through http://127.0.0.1:")
	require.Equal(t, "retired", s.state("worker"), "the respawn took it along")
	require.Equal(t, "active", s.state("planner-2"))
	dot, err := os.ReadFile(filepath.Join(s.dir, "tree.dot"))
	require.NoError(t, err)
	require.Contains(t, string(dot), `"agent:acme/planner" -> "agent:acme/worker" [label="attenuated"]`)
}
