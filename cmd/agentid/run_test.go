package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v85"

	"github.com/agentid-dev/agentid/client"
)

// The exit codes of the helper command.
const (
	helperRefunded = 7
	helperRefused  = 8
	helperTerm     = 9
)

// TestHelperCommand is what "agentid run" runs in these tests: the test binary again.
func TestHelperCommand(t *testing.T) {
	mode := os.Getenv("RUN_TEST_HELPER")
	if mode == "" {
		return // not as a helper
	}
	switch mode {
	case "refund":
		os.Exit(helperRefund())
	case "wait":
		os.Exit(helperWait())
	}
	t.Fatalf("no such helper: %s", mode)
}

// helperRefund is an ordinary program with Stripe's SDK: it knows its base URL only.
func helperRefund() int {
	sdk := stripe.NewClient(os.Getenv("STRIPE_API_KEY"), stripe.WithBackends(stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		URL: stripe.String(os.Getenv("STRIPE_API_BASE")), MaxNetworkRetries: stripe.Int64(0),
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})))
	refund, err := sdk.V1Refunds.Create(context.Background(), &stripe.RefundCreateParams{Charge: stripe.String("ch_ada"), Amount: stripe.Int64(77)})
	if err != nil {
		_, _ = fmt.Fprintln(os.Stdout, err)
		return helperRefused
	}
	_, _ = fmt.Fprintln(os.Stdout, "refund", refund.ID, refund.Amount)
	return helperRefunded
}

// helperWait says its pid and then every signal; SIGTERM ends it.
func helperWait() int {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGHUP, syscall.SIGTERM)
	_, _ = fmt.Fprintln(os.Stdout, "pid", os.Getpid())
	for s := range signals {
		_, _ = fmt.Fprintln(os.Stdout, s)
		if s == syscall.SIGTERM {
			return helperTerm
		}
	}
	return 0
}

// launched is one "agentid run" as a process of its own.
type launched struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	stderr bytes.Buffer
	name   string
}

// launch runs the helper as an agent of the site.
func (s *site) launch(helper, name string, flags ...string) *launched {
	s.t.Helper()
	path, err := binary()
	require.NoError(s.t, err)
	args := append([]string{"run", "--server", s.base, "--credential", s.credential, "--tenant", "acme", "--type", "refund-agent", "--name", name}, flags...)
	l := &launched{t: s.t, name: name, cmd: exec.Command(path, append(args, "--", os.Args[0], "-test.run=^TestHelperCommand$", "of the helper")...)}
	l.cmd.Env = []string{"RUN_TEST_HELPER=" + helper, "HOME=/nonexistent", "PATH=" + os.Getenv("PATH"), "AGENTID_SERVER=" + s.base, "AGENTID_CREDENTIAL_FILE=" + s.credential, "STRIPE_API_KEY=" + upstreamKey}
	l.cmd.Stderr = &l.stderr
	out, err := l.cmd.StdoutPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, l.cmd.Start())
	l.lines = bufio.NewScanner(out)
	s.t.Cleanup(func() { _ = l.cmd.Process.Kill() })
	return l
}

var refundTemplate = []string{"--for", "alice", "--template", "refund-customer", "--arg", "customer=cus_ada", "--arg", "max_amount=100"}

func (l *launched) line() string {
	l.t.Helper()
	require.True(l.t, l.lines.Scan(), "the output ended: %s", &l.stderr)
	return l.lines.Text()
}

// pid reads the line with the helper's process id.
func (l *launched) pid() int {
	l.t.Helper()
	text, ok := strings.CutPrefix(l.line(), "pid ")
	require.True(l.t, ok)
	pid, err := strconv.Atoi(text)
	require.NoError(l.t, err)
	return pid
}

// code reads the rest of the output and gives the exit code.
func (l *launched) code() (int, string) {
	l.t.Helper()
	var out strings.Builder
	for l.lines.Scan() {
		out.WriteString(l.lines.Text() + "\n")
	}
	_ = l.cmd.Wait()
	return l.cmd.ProcessState.ExitCode(), out.String() + l.stderr.String()
}

func (s *site) state(name string) string {
	s.t.Helper()
	var item struct {
		State string `json:"state"`
	}
	require.NoError(s.t, json.Unmarshal([]byte(s.must("agent", "show", "agent:acme/"+name, "-o", "json")), &item))
	return item.State
}

// family lets refund-agents spawn refund-agents.
func (s *site) family() {
	s.t.Helper()
	s.must("apply", "-f", s.write("family.yaml", `kind: agent_type
tenant: acme
name: refund-agent
display: Refunds for the support desk
launchers: [alice]
max_lifetime_seconds: 28800
children: [refund-agent]
`))
}

func TestRunTiesAnAgentToACommand(t *testing.T) {
	s := newSite(t)
	s.start()
	s.acme()
	s.family()

	t.Run("the command acts as the agent, its exit code passes, the agent is retired", func(t *testing.T) {
		code, out := s.launch("refund", "run-refund", refundTemplate...).code()
		require.Equal(t, helperRefunded, code, out)
		require.Contains(t, out, " 77\n")
		require.Len(t, s.sim.Refunds(), 1)
		require.Equal(t, "retired", s.state("run-refund"))
	})
	t.Run("the only launcher is whom it acts for", func(t *testing.T) {
		code, out := s.launch("refund", "run-launcher", refundTemplate[2:]...).code()
		require.Equal(t, helperRefunded, code, out)
		require.Contains(t, s.must("agent", "tree", "agent:acme/run-launcher", "--all", "-o", "json"), `"principal:acme/alice"`)
	})
	t.Run("nothing that leads to a key is in the command's process", func(t *testing.T) { s.nothingToSteal(t) })
	t.Run("signals pass, and SIGTERM ends the agent with its children", func(t *testing.T) {
		l := s.launch("wait", "run-signals", refundTemplate...)
		l.pid()
		public := s.write("child.pub", s.must("agent", "keygen", filepath.Join(s.dir, "child.key")))
		s.must("agent", "spawn", "agent:acme/run-child", "--parent", "run-signals", "--type", "refund-agent", "--public-key", public, "--for", "10m")
		require.Equal(t, "active", s.state("run-child"))
		for _, sent := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGHUP, syscall.SIGTERM} {
			require.NoError(t, l.cmd.Process.Signal(sent))
			require.Equal(t, sent.String(), l.line())
		}
		code, out := l.code()
		require.Equal(t, helperTerm, code, out)
		require.Equal(t, "retired", s.state("run-signals"))
		require.Equal(t, "retired", s.state("run-child"))
	})
	t.Run("a command that is killed ends the agent", func(t *testing.T) {
		l := s.launch("wait", "run-killed", refundTemplate...)
		require.NoError(t, syscall.Kill(l.pid(), syscall.SIGKILL))
		code, out := l.code()
		require.Equal(t, 128+int(syscall.SIGKILL), code, out)
		require.Equal(t, "retired", s.state("run-killed"))
	})
	t.Run("run itself is killed: the key is gone, the lifetime ends the agent", func(t *testing.T) {
		l := s.launch("wait", "run-orphaned", append([]string{"--lifetime", "3s"}, refundTemplate...)...)
		pid := l.pid()
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		require.NoError(t, err)
		_, rest, _ := strings.Cut(string(environ), "AGENTID_STRIPE_URL=")
		url, _, _ := strings.Cut(rest, "\x00")
		require.NoError(t, l.cmd.Process.Kill())
		_, err = l.cmd.Process.Wait() // not Wait: the command holds the output open
		require.NoError(t, err)
		_, err = http.Get(url + "/v1/customers/cus_ada")
		require.Error(t, err, "nobody acts as the agent any more")
		require.Eventually(t, func() bool { return s.state("run-orphaned") == "expired" }, 20*time.Second, 100*time.Millisecond)
	})
	t.Run("a child of another agent, by that one's key", func(t *testing.T) {
		l := s.launch("refund", "run-of-parent", append([]string{"--parent", "agent:acme/refunds-1", "--key", filepath.Join(s.dir, "refunds-1.key")}, refundTemplate[2:]...)...)
		code, out := l.code()
		require.Equal(t, helperRefunded, code, out)
		require.Equal(t, "retired", s.state("run-of-parent"))
		require.Equal(t, "active", s.state("refunds-1"))
		require.Contains(t, s.must("agent", "tree", "agent:acme/refunds-1", "--all"), "run-of-parent")
	})
	t.Run("refusals", func(t *testing.T) { s.runRefusals(t) })
}

// nothingToSteal looks at the running command as another process of the user could.
func (s *site) nothingToSteal(t *testing.T) {
	l := s.launch("wait", "run-secret", refundTemplate...)
	pid := l.pid()
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	require.NoError(t, err)
	var names []string
	for pair := range strings.SplitSeq(strings.TrimRight(string(environ), "\x00"), "\x00") {
		name, value, _ := strings.Cut(pair, "=")
		names = append(names, name)
		switch name {
		case "AGENTID_STRIPE_URL", "STRIPE_API_BASE":
			require.Regexp(t, `^http://127\.0\.0\.1:\d+$`, value)
		case "STRIPE_API_KEY", "STRIPE_SECRET_KEY":
			require.Equal(t, "unused", value, "the caller's own key is not passed on either")
		case "AGENTID_AGENT":
			require.Equal(t, "agent:acme/run-secret", value)
		}
	}
	slices.Sort(names)
	require.Equal(t, []string{"AGENTID_AGENT", "AGENTID_STRIPE_URL", "HOME", "NO_PROXY", "PATH", "RUN_TEST_HELPER", "STRIPE_API_BASE", "STRIPE_API_KEY", "STRIPE_SECRET_KEY", "no_proxy"}, names)
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	require.NoError(t, err)
	require.Equal(t, os.Args[0]+"\x00-test.run=^TestHelperCommand$\x00of the helper\x00", string(cmdline))
	credential, err := os.ReadFile(s.credential)
	require.NoError(t, err)
	for _, where := range [][]byte{environ, cmdline} {
		require.NotContains(t, string(where), strings.TrimSpace(string(credential)))
		require.NotContains(t, string(where), "eyJ", "a token or an assertion")
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	require.NoError(t, err)
	for _, fd := range open {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
		require.NoError(t, err)
		require.False(t, strings.HasPrefix(target, s.dir) || strings.HasPrefix(target, "socket:"), "descriptor %s leads to %s", fd.Name(), target)
	}
	require.NoError(t, l.cmd.Process.Signal(syscall.SIGTERM))
	code, out := l.code()
	require.Equal(t, helperTerm, code, out)
}

func (s *site) runRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		flags []string
		code  int
		says  string
	}{
		"unknown template":   {[]string{"--for", "alice", "--template", "no-such"}, exitFailed, "template_unknown"},
		"policy refuses":     {[]string{"--for", "alice", "--details", `[{"type":"agentid_capability","identifier":"payments_account:acme/other","actions":["payments:refund"]}]`}, exitFailed, "agentid: "},
		"lifetime":           {append([]string{"--lifetime", "100h"}, refundTemplate...), exitFailed, "later than"},
		"unknown principal":  {append([]string{"--for", "nobody"}, refundTemplate[2:]...), exitFailed, "principal"},
		"nothing to ask for": {[]string{"--for", "alice"}, exitUsage, "--template"},
		"arg before":         {[]string{"--arg", "a=b"}, exitUsage, "behind the --template"},
	} {
		t.Run(name, func(t *testing.T) {
			agent := "run-refused-" + strings.ReplaceAll(name, " ", "-")
			code, out := s.launch("refund", agent, c.flags...).code()
			require.Equal(t, c.code, code, out)
			require.Contains(t, out, c.says)
			require.NotContains(t, out, "refund re_", "the command was started")
			if code, out := s.cli("agent", "show", "agent:acme/"+agent, "-o", "json"); code == exitOK {
				require.Contains(t, out, "retired")
			}
		})
	}
	t.Run("no such command", func(t *testing.T) {
		args := append([]string{"run", "--tenant", "acme", "--type", "refund-agent", "--name", "run-nothing"}, refundTemplate...)
		code, out := s.cli(append(args, "--", filepath.Join(s.dir, "no-such-command"))...)
		require.Equal(t, 127, code, out)
		require.Equal(t, "retired", s.state("run-nothing"))
	})
	t.Run("a refund above the template's limit is refused, and the command is told", func(t *testing.T) {
		before := len(s.sim.Refunds())
		code, out := s.launch("refund", "run-small", "--for", "alice", "--template", "refund-customer", "--arg", "customer=cus_ada", "--arg", "max_amount=50").code()
		require.Equal(t, helperRefused, code, out)
		require.Len(t, s.sim.Refunds(), before)
	})
}

// TestTheKeyOfARunIsWorthWhatItAskedFor: the agent's ceiling is what it was started for.
func TestTheKeyOfARunIsWorthWhatItAskedFor(t *testing.T) {
	s := newSite(t)
	s.start()
	s.acme()
	t.Setenv("AGENTID_SERVER", s.base)
	t.Setenv("AGENTID_CREDENTIAL_FILE", s.credential)
	l := &launch{tenant: "acme", typ: "refund-agent", principal: "alice", lifetime: defaultRunLifetime, conn: connection{s.base, s.credential}}
	require.NoError(t, templateFlag{&l.asks}.Set("refund-customer"))
	require.NoError(t, argFlag{&l.asks}.Set("customer=cus_ada"))
	require.NoError(t, argFlag{&l.asks}.Set("max_amount=100"))
	require.NoError(t, l.asks.check())
	spawned, err := l.spawn(t.Context())
	require.NoError(t, err)
	_, err = spawned.agent.Mint(t.Context(), spawned.requests[0])
	require.NoError(t, err)
	for name, req := range map[string]client.TokenRequest{
		"more":     client.Template("refund-customer", map[string]any{"customer": "cus_ada", "max_amount": 101}),
		"other":    client.Template("refund-customer", map[string]any{"customer": "cus_bob", "max_amount": 1}),
		"reading":  client.Template("read-customer", map[string]any{"customer": "cus_ada"}),
		"anything": {Details: json.RawMessage(`[{"type":"agentid_capability","identifier":"payments_account:acme/stripe","actions":["payments:refund"]}]`)},
	} {
		token, err := spawned.agent.Mint(t.Context(), req)
		if err == nil { // met with the ceiling: no more than it
			capabilities, err := token.Capabilities()
			require.NoError(t, err)
			require.Len(t, capabilities, 1, name)
			require.Equal(t, "payments_customer:acme/cus_ada", capabilities[0].Resource.String(), name)
			require.Contains(t, string(token.Details), `"max":100`, name)
			continue
		}
		refused, ok := err.(*client.Refusal) //nolint:errorlint // bare
		require.True(t, ok, "%s: %v", name, err)
		require.Less(t, refused.Status, http.StatusInternalServerError, name)
	}
	require.NoError(t, spawned.retire(t.Context()))
	_, err = spawned.agent.Mint(t.Context(), spawned.requests[0])
	require.Error(t, err)
}
