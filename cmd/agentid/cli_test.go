package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/deploy/examples"
	"github.com/agentid-dev/agentid/internal/adminclient"
)

func TestServeApplyTwiceAndDryRun(t *testing.T) {
	s := newSite(t)
	s.start()
	info, err := os.Stat(s.credential)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	credential, err := os.ReadFile(s.credential)
	require.NoError(t, err)
	require.NotContains(t, s.logs.String(), strings.TrimSpace(string(credential)))

	t.Setenv("AGENTID_TEST_UPSTREAM_KEY", upstreamKey)
	text, err := examples.AcmeAt(s.resource, s.upstream, "env:AGENTID_TEST_UPSTREAM_KEY")
	require.NoError(t, err)
	file := s.write("acme.yaml", text)
	out := s.must("apply", "-f", file, "--dry-run")
	require.Contains(t, out, "create    tenant     tenant:acme")
	require.Contains(t, out, "10 create  (dry run: nothing was written)")
	require.NotContains(t, s.must("tenant", "list"), "acme")

	require.Contains(t, s.must("apply", "-f", file), "10 create")
	require.Contains(t, s.must("apply", "-f", file), "10 unchanged")
	rows := len(s.auditRows("tenant=acme"))
	changed := s.write("acme.yaml", strings.Replace(text, "display: Acme Inc", "display: Acme GmbH", 1))
	require.Contains(t, s.must("apply", "-f", changed, "--dry-run"), "display: Acme Inc → Acme GmbH")
	require.Len(t, s.auditRows("tenant=acme"), rows, "a dry run writes nothing")
	require.Contains(t, s.must("tenant", "show", "tenant:acme"), "Acme Inc")
	require.Contains(t, s.must("apply", "-f", changed), "1 update")

	bad := s.write("bad.yaml", strings.Replace(text, "relation: refunder", "relation: refnder", 1))
	code, out := s.cli("apply", "-f", bad)
	require.Equal(t, exitFailed, code)
	line := 1 + strings.Count(text[:strings.Index(text, "relation: refunder")], "\n")
	require.Contains(t, out, fmt.Sprintf("bad.yaml:%d:11: relation: want one of ", line))
	require.Contains(t, out, "| relation: refnder")
	secret := s.write("secret.yaml", strings.Replace(text, "env:AGENTID_TEST_UPSTREAM_KEY", "sk_live_hunter2", 1))
	code, out = s.cli("apply", "-f", secret)
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "never the secret itself")
	require.NotContains(t, out, "hunter2")
}

func TestTheCommandsOfADay(t *testing.T) {
	s := newSite(t)
	s.start()
	agent := s.acme()
	key := filepath.Join(s.dir, "refunds-1.key")
	mint := []string{"token", "--issuer", s.base + "/acme", "--agent", "agent:acme/refunds-1", "--key", key, "--resource", s.resource, "-t", "refund-customer", "-a", "customer=cus_ada", "-a", "max_amount=100"}
	require.Contains(t, s.must(mint...), "payments:refund")
	raw := strings.TrimSpace(s.must(append(mint, "--raw")...))
	code, out := s.cli(append(mint, "-a", "colour=red")...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "arguments.colour")

	service := s.service("stripe")
	t.Setenv("AGENTID_TEST_CLIENT_SECRET", service.Secret.Reveal())
	introspect := []string{"introspect", raw, "--issuer", service.Issuer, "--client-id", service.ID, "--client-secret", "env:AGENTID_TEST_CLIENT_SECRET", "-o", "json"}
	require.Contains(t, s.must(introspect...), `"active": true`)
	require.Contains(t, s.must("agent", "tokens", "agent:acme/refunds-1"), "token:acme/")

	require.Equal(t, "revoked\n", s.must("revoke", raw, "--issuer", s.base+"/acme", "--agent", "agent:acme/refunds-1", "--key", key))
	code, out = s.cli(introspect...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, `"active": false`)

	second, err := agent.Mint(t.Context(), s.oneRefund())
	require.NoError(t, err)
	s.must("revoke", "--jti", "token:acme/"+jti(t, second.Access))
	code, _ = s.cli("introspect", second.Access.Reveal(), "--issuer", service.Issuer, "--client-id", service.ID, "--client-secret", "env:AGENTID_TEST_CLIENT_SECRET")
	require.Equal(t, exitFailed, code)

	for _, ref := range []string{"agent agent:acme/refunds-1", "principal principal:acme/alice", "tenant tenant:acme", "agent-type agent_type:acme/refund-agent", "connector connector:acme/stripe"} {
		what, id, _ := strings.Cut(ref, " ")
		require.Contains(t, s.must(what, "freeze", id), "frozen", ref)
		code, out = s.cli(mint...)
		require.Equal(t, exitFailed, code, "%s: %s", ref, out)
		require.Contains(t, s.must(what, "unfreeze", id), "active")
		if what == "principal" { // its agents stay frozen until somebody lets them go
			code, _ = s.cli(mint...)
			require.Equal(t, exitFailed, code)
			s.must("agent", "unfreeze", "agent:acme/refunds-1", "--reason", "owner_lost")
		}
		code, out = s.cli(mint...)
		require.Zero(t, code, "%s: %s", ref, out)
	}
	require.Contains(t, s.must("agent", "list", "--tenant", "acme"), "refunds-1")
	require.Contains(t, s.must("template", "list", "--tenant", "acme"), "refund-customer")
	require.Contains(t, s.must("grant", "list", "--tenant", "acme"), "payments_limit")
	s.must("grant", "delete", "payments_account:acme/stripe", "refunder", "principal:acme/alice")
	code, out = s.cli(mint...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "principal_denied")
	require.Contains(t, s.must("agent", "retire", "agent:acme/refunds-1"), "retired")

	require.Contains(t, s.must("keys", "rotate", "--alg", "ES256"), "staged")
	require.Contains(t, s.must("keys", "rotate", "--now"), "active")
	require.Contains(t, s.must("schema", "show"), "definition agent")
	require.Contains(t, s.must("schema", "show", "--live"), "definition agent")
	require.Contains(t, s.must("schema", "apply"), "unchanged")
	require.Contains(t, s.must("schema", "test"), "ok    frozen-agent")
	require.Contains(t, s.must("audit", "show", "--kind", "revoke"), "agent.freeze")
	s.must("admin", "rotate")
	require.Contains(t, s.must("admin", "list"), "bootstrap")
	require.Contains(t, s.must("version"), "schema ")
	require.Contains(t, s.must("completion", "bash"), "agentid")
}

func TestExitCodes(t *testing.T) {
	for _, args := range [][]string{
		{"nonsense"},
		{"--nonsense"},
		{"tenant", "nonsense"},
		{"agent", "show"},
		{"agent", "show", "refunds-1"},
		{"token"},
		{"token", "--agent", "x", "-t", "y"},
		{"tenant", "list", "-o", "xml"},
		{"apply"},
		{"introspect", "x", "--client-secret", "plain"},
		{"version", "x"},
	} {
		var out bytes.Buffer
		require.Equal(t, exitUsage, run(t.Context(), args, streams{in: strings.NewReader(""), out: &out, err: &out}), "%v: %s", args, out.String())
	}
	var out bytes.Buffer
	require.Equal(t, exitFailed, run(t.Context(), []string{"tenant", "list", "--credential", "/nonexistent"}, streams{in: strings.NewReader(""), out: &out, err: &out}))
	require.Zero(t, run(t.Context(), nil, streams{in: strings.NewReader(""), out: &out, err: &out}))
	require.Contains(t, out.String(), "Exit codes")
}

func TestEveryCommandExplainsItself(t *testing.T) {
	root := newRoot(streams{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}})
	for _, c := range root.Commands() {
		require.NotEmpty(t, c.Short, c.Name())
		for _, sub := range c.Commands() {
			require.NotEmpty(t, sub.Short, c.Name()+" "+sub.Name())
		}
	}
}

func TestConfigCheckAndShow(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "agentid.yaml")
	require.NoError(t, os.WriteFile(path, []byte("log: {levle: debug}\n"), 0o600))
	var out bytes.Buffer
	s := streams{in: strings.NewReader(""), out: &out, err: &out}
	require.Equal(t, exitFailed, run(t.Context(), []string{"config", "check", "-c", path}, s))
	require.Contains(t, out.String(), path+":1:7: log.levle: unknown key; expected one of format, level")
	out.Reset()
	require.Zero(t, run(t.Context(), []string{"config", "show"}, s))
	require.Contains(t, out.String(), "lifetime: 5m0s")
}

func TestASecondProcessIsRefusedAndADrainEndsTheFirst(t *testing.T) {
	s := newSite(t)
	s.start()
	path, err := binary()
	require.NoError(t, err)
	out, err := exec.Command(path, "serve", "--config", s.config).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "another agentid runs over this data folder")

	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/admin/v1/tenants": 401, "/nonsense": 404} {
		resp, err := http.Get(s.base + path)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want, resp.StatusCode, path)
	}

	// A request under way and an open stream: the first finishes, the second ends.
	agent := s.acme()
	hold, held := make(chan struct{}), make(chan struct{})
	s.slow(held, hold)
	token, err := agent.Mint(t.Context(), s.oneRefund())
	require.NoError(t, err)
	admin, err := adminclient.AdminFromFile(s.base, s.credential)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		ended <- admin.Stream(context.Background(), "/audit/tail", func(json.RawMessage) error { return nil })
	}()
	answered := make(chan int, 1)
	c := &caller{site: s, agent: agent}
	go func() {
		status, _, err := c.do(context.Background(), http.MethodPost, "/v1/refunds", "charge=ch_ada&amount=1", "drain", token)
		if err != nil {
			status = -1
		}
		answered <- status
	}()
	<-held
	require.NoError(t, s.process.Process.Signal(syscall.SIGTERM))
	require.NoError(t, <-ended)
	close(hold)
	require.Equal(t, http.StatusOK, <-answered)
	select {
	case err := <-s.exited:
		require.NoError(t, err, s.logs.String())
		s.process = nil
	case <-time.After(20 * time.Second):
		require.FailNow(t, "the process did not end")
	}
	require.Len(t, s.sim.Refunds(), 1)
}

func TestALostAdministratorIsRecovered(t *testing.T) {
	s := newSite(t)
	s.start()
	require.NoError(t, os.Remove(s.credential))
	code, out := s.cli("admin", "recover", "-c", s.config)
	require.Equal(t, exitFailed, code, "the server runs: %s", out)
	s.kill()
	s.must("admin", "recover", "-c", s.config)
	s.start()
	require.Contains(t, s.must("admin", "list"), "recovered")
}
