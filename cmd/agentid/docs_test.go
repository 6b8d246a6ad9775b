package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestIntrospectionOnlyService does what docs/introspection-only.md says.
func TestIntrospectionOnlyService(t *testing.T) {
	const example = "../../docs/examples/introspection-service"
	page, err := os.ReadFile("../../docs/introspection-only.md")
	require.NoError(t, err)
	code, err := os.ReadFile(filepath.Join(example, "main.go"))
	require.NoError(t, err)
	require.Contains(t, string(page), "```go\n"+string(code)+"```", "the page shows the program that runs here")

	s := newSite(t)
	s.start()
	s.acme()
	addr := freePort(t)
	text, err := os.ReadFile("../../deploy/examples/introspection.yaml")
	require.NoError(t, err)
	s.must("apply", "-f", s.write("introspection.yaml", strings.Replace(string(text), "127.0.0.1:7500", addr, 1)))
	service := s.service("reports")

	binary := filepath.Join(t.TempDir(), "service")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, example).CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), "LISTEN="+addr, "INTROSPECT_URL="+service.Issuer+"/oauth2/introspect",
		"CLIENT_ID="+service.ID, "CLIENT_SECRET="+service.Secret.Reveal())
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })

	get := func(token string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/report", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0 // not listening yet
		}
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	mint := func(more ...string) string {
		return strings.TrimSpace(s.must(append([]string{
			"token", "--raw", "--issuer", s.base + "/acme", "--agent", "agent:acme/refunds-1", "--key", filepath.Join(s.dir, "refunds-1.key"),
			"--resource", "http://" + addr, "--details", `[{"type":"agentid_capability","identifier":"payments_account:acme/reports","actions":["payments:read_charge"]}]`,
		}, more...)...))
	}
	token := mint("--bearer")
	require.Eventually(t, func() bool { return get(token) == http.StatusOK }, 10*time.Second, 20*time.Millisecond)
	require.Equal(t, http.StatusUnauthorized, get("nonsense"))
	require.Equal(t, http.StatusUnauthorized, get(mint()), "a bound token as Bearer")
	s.must("agent", "freeze", "agent:acme/refunds-1")
	require.Equal(t, http.StatusUnauthorized, get(token), "frozen a moment ago")
	s.must("agent", "unfreeze", "agent:acme/refunds-1")
	require.Equal(t, http.StatusOK, get(token))
}
