package server_test

import (
	"bufio"
	"encoding/json"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/testenv/browser"
	"github.com/agentid-dev/agentid/internal/testenv/idp"
	"github.com/agentid-dev/agentid/internal/testenv/npm"
	"github.com/agentid-dev/agentid/server/ledger"
)

// The MCP conformance suite judges our metadata and our authorization endpoint: it is the
// program that asks, and a person at Chromium signs in at the identity provider.
func TestMCPConformance(t *testing.T) {
	w := newWorld(t)
	w.federate(t, idp.OIDCProvider, nil)
	port := freePort(t)
	callback := "http://127.0.0.1:" + port + "/callback"
	_, _, err := w.ledger.PutLoginClient(t.Context(), ledger.LoginClient{Tenant: "acme", Name: "mcp-suite", RedirectURIs: []string{callback}})
	require.NoError(t, err)
	results := t.TempDir()
	cmd := npm.Conformance(t, "authorization", "--url", w.base+"/acme", "--client-id", "mcp-suite", "--port", port, "--output-dir", results)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = cmd.Stdout
	require.NoError(t, cmd.Start())
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		_, _ = said.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), w.base) {
			alice := idp.Alice()
			page := browser.Open(t, browser.Visit{URL: lines.Text(), Press: "Continue with", Username: alice.Username, Password: alice.Password})
			require.Contains(t, page.Text, "You can close this page")
		}
	}
	require.NoError(t, cmd.Wait(), said.String())
	statuses := map[string]string{}
	require.NoError(t, filepath.WalkDir(results, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var checks []struct{ ID, Status string }
		if json.Unmarshal(data, &checks) == nil {
			for _, c := range checks {
				statuses[c.ID] = c.Status
			}
		}
		return nil
	}))
	require.Equal(t, map[string]string{
		"authorization-server-metadata":      "SUCCESS",
		"authorization-code-grant":           "SUCCESS",
		"authorization-server-metadata-cimd": "WARNING", // programs are declared: no document at a client's URL is fetched
	}, statuses, said.String())
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}
