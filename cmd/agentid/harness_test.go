package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/deploy/examples"
	"github.com/agentid-dev/agentid/internal/adminclient"
	"github.com/agentid-dev/agentid/internal/paysim"
)

const upstreamKey = "sk_test_of_the_connector"

// binary is the program with failpoints, built once for all tests of this package.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "agentid-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "agentid")
	out, err := exec.Command("go", "build", "-tags", "failpoint", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// site is one installation: a configuration, a data folder, a payments upstream, and the
// program as a process of its own.
type site struct {
	t          *testing.T
	dir        string
	config     string
	base       string // the broker
	resource   string // the connector at the gateway
	credential string
	sim        *paysim.Simulator
	upstream   string
	gate       atomic.Pointer[func(*http.Request)] // runs before each request at the upstream

	process *exec.Cmd
	logs    *bytes.Buffer
	exited  chan error
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	return l.Addr().String()
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	broker, gateway := freePort(t), freePort(t)
	s.base, s.resource = "http://"+broker, "http://"+gateway
	s.config = filepath.Join(s.dir, "agentid.yaml")
	s.write("agentid.yaml", fmt.Sprintf("data_dir: data\nbroker: {listen: %q, url: %q}\ngateway: {listen: [%q]}\nrates: {agent_per_minute: 100000, agent_burst: 100000}\n", broker, s.base, gateway))
	s.credential = filepath.Join(s.dir, "data", "admin.token")
	sim, err := paysim.New(paysim.Config{Key: agentid.NewSecret(upstreamKey), Before: func(r *http.Request) {
		if gate := s.gate.Load(); gate != nil {
			(*gate)(r)
		}
	}})
	require.NoError(t, err)
	require.NoError(t, sim.AddCustomer(paysim.Customer{ID: "cus_ada"}))
	require.NoError(t, sim.AddCharge(paysim.Charge{ID: "ch_ada", Customer: "cus_ada", PaymentIntent: "pi_ada", Currency: "usd", Amount: 1_000_000_000}))
	s.sim = sim
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	s.upstream = srv.URL
	t.Cleanup(s.kill)
	return s
}

func (s *site) write(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(s.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// start runs "agentid serve" and returns when it says that it is ready.
func (s *site) start(environment ...string) {
	s.t.Helper()
	d := startDaemon(s.t, environment, "serve", "--config", s.config)
	s.process, s.exited, s.logs = d.cmd, d.exited, d.logs
}

// daemon is one process of the program.
type daemon struct {
	cmd    *exec.Cmd
	logs   *bytes.Buffer // complete once exited has a value
	exited chan error
}

// startDaemon runs the program and returns when it says that it is ready.
func startDaemon(t *testing.T, environment []string, args ...string) *daemon {
	t.Helper()
	d, ready := spawn(t, environment, args...)
	if !<-ready {
		require.FailNow(t, "the process did not start", "%v\n%s", args, d.logs.String())
	}
	return d
}

// spawn runs the program. ready gives true when it says that it is, and is closed when it
// says no more.
func spawn(t *testing.T, environment []string, args ...string) (d *daemon, ready chan bool) {
	t.Helper()
	path, err := binary()
	require.NoError(t, err)
	d = &daemon{cmd: exec.Command(path, args...), logs: &bytes.Buffer{}, exited: make(chan error, 1)}
	d.cmd.Env = append(os.Environ(), environment...)
	stderr, err := d.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, d.cmd.Start())
	ready = make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			_, _ = d.logs.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), "agentid is ready") {
				ready <- true
			}
		}
		close(ready)
		d.exited <- d.cmd.Wait()
	}()
	return d, ready
}

// kill ends the process as a power cut would.
func (d *daemon) kill() {
	_ = d.cmd.Process.Signal(syscall.SIGCONT)
	_ = d.cmd.Process.Kill()
	<-d.exited
	d.exited <- nil
}

// kill ends the process as a power cut would.
func (s *site) kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	<-s.exited
	s.process = nil
}

// died waits for the process to kill itself at a failpoint.
func (s *site) died() {
	s.t.Helper()
	select {
	case err := <-s.exited:
		s.process = nil
		exit, ok := err.(*exec.ExitError) //nolint:errorlint // Wait gives it bare
		require.True(s.t, ok, "%v", err)
		status, ok := exit.Sys().(syscall.WaitStatus)
		require.True(s.t, ok && status.Signaled() && status.Signal() == syscall.SIGKILL, "%v\n%s", err, s.logs.String())
	case <-time.After(30 * time.Second):
		require.FailNow(s.t, "the failpoint was not reached")
	}
}

// cli runs a command of the program in this process.
func (s *site) cli(args ...string) (code int, out string) {
	s.t.Helper()
	s.t.Setenv("AGENTID_SERVER", s.base)
	s.t.Setenv("AGENTID_CREDENTIAL_FILE", s.credential)
	var stdout, stderr bytes.Buffer
	code = run(s.t.Context(), args, streams{in: strings.NewReader(""), out: &stdout, err: &stderr})
	return code, stdout.String() + stderr.String()
}

func (s *site) must(args ...string) string {
	s.t.Helper()
	code, out := s.cli(args...)
	require.Zero(s.t, code, "%v: %s", args, out)
	return out
}

// acme declares the example tenant and registers an agent.
func (s *site) acme() *client.Client {
	s.t.Helper()
	s.t.Setenv("AGENTID_TEST_UPSTREAM_KEY", upstreamKey)
	text, err := examples.AcmeAt(s.resource, s.upstream, "env:AGENTID_TEST_UPSTREAM_KEY")
	require.NoError(s.t, err)
	s.must("apply", "-f", s.write("acme.yaml", text))
	return s.agent("refunds-1")
}

func (s *site) agent(name string) *client.Client {
	s.t.Helper()
	key := filepath.Join(s.dir, name+".key")
	public := s.write(name+".pub", s.must("agent", "keygen", key))
	s.must("agent", "register", "agent:acme/"+name, "--type", "refund-agent", "--principal", "alice", "--public-key", public, "--for", "7h")
	loaded, err := client.LoadKey(key)
	require.NoError(s.t, err)
	ref, err := agentid.AgentRef("acme", name)
	require.NoError(s.t, err)
	agent, err := client.New(client.Config{Issuer: s.base + "/acme", Agent: ref, Key: loaded})
	require.NoError(s.t, err)
	return agent
}

// oneRefund asks for one refund of at most 1.00.
func (s *site) oneRefund() client.TokenRequest {
	return client.TokenRequest{
		Details:  json.RawMessage(`[{"type":"agentid_template","template":"refund-customer","arguments":{"customer":"cus_ada","max_amount":100}}]`),
		Resource: s.resource,
	}
}

func jti(t *testing.T, token agentid.Secret) string {
	t.Helper()
	parts := strings.Split(token.Reveal(), ".")
	require.Len(t, parts, 3)
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var claims struct {
		ID string `json:"jti"`
	}
	require.NoError(t, json.Unmarshal(data, &claims))
	return claims.ID
}

// caller sends requests to the gateway with proofs and the gateway's nonce.
type caller struct {
	site  *site
	agent *client.Client
	nonce string
	http  *http.Client // nil: http.DefaultClient
}

// do sends one request, and once more when a nonce is asked for. The error is that the
// gateway went away.
func (c *caller) do(ctx context.Context, method, path, body, key string, token client.Token) (int, string, error) {
	for attempt := 0; ; attempt++ {
		req, err := http.NewRequestWithContext(ctx, method, c.site.resource+path, strings.NewReader(body))
		require.NoError(c.site.t, err)
		proof, err := c.agent.Proof(method, c.site.resource+path, token.Access, c.nonce)
		require.NoError(c.site.t, err)
		req.Header.Set("Authorization", "DPoP "+token.Access.Reveal())
		req.Header.Set("DPoP", proof)
		if body != "" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if key != "" {
			req.Header.Set("Idempotency-Key", key)
		}
		through := c.http
		if through == nil {
			through = http.DefaultClient
		}
		resp, err := through.Do(req)
		if err != nil {
			return 0, "", err
		}
		data, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return 0, "", err
		}
		if n := resp.Header.Get("DPoP-Nonce"); n != "" {
			c.nonce = n
		}
		if resp.StatusCode == http.StatusUnauthorized && attempt == 0 && strings.Contains(resp.Header.Get("WWW-Authenticate"), "use_dpop_nonce") {
			continue
		}
		return resp.StatusCode, string(data), nil
	}
}

// auditRows reads the whole log.
func (s *site) auditRows(query string) []object {
	s.t.Helper()
	admin, err := adminclient.AdminFromFile(s.base, s.credential)
	require.NoError(s.t, err)
	var all []object
	for after := ""; ; {
		path := "/audit?limit=1000&" + query
		if after != "" {
			path += "&after=" + after
		}
		var page struct {
			Items []object `json:"items"`
			Next  string   `json:"next"`
		}
		require.NoError(s.t, admin.Call(s.t.Context(), http.MethodGet, path, nil, &page))
		all = append(all, page.Items...)
		if page.Next == "" {
			return all
		}
		after = page.Next
	}
}

// service is the service behind a connector, with a secret of its own.
func (s *site) service(connector string) adminclient.Service {
	s.t.Helper()
	var made struct {
		Secret string `json:"secret"`
	}
	require.NoError(s.t, json.Unmarshal([]byte(s.must("connector", "secret", "connector:acme/"+connector, "-o", "json")), &made))
	return adminclient.Service{Issuer: s.base + "/acme", ID: "connector:acme/" + connector, Secret: agentid.NewSecret(made.Secret)}
}

// slow makes the upstream tell of the next refund and wait before it answers.
func (s *site) slow(arrived chan<- struct{}, wait <-chan struct{}) {
	s.t.Helper()
	gate := func(r *http.Request) {
		if r.Method == http.MethodPost {
			close(arrived)
			<-wait
		}
	}
	s.gate.Store(&gate)
}
