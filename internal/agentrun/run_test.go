package agentrun

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/connectors"
)

// site is a broker and two gateways that a run meets.
type site struct {
	broker   *httptest.Server
	gateways map[string]*httptest.Server // by the connector's name
	minted   []string
	retired  atomic.Int64
	failures atomic.Int64 // retirements that fail first
	key      client.Key
}

func newSite(t *testing.T, names ...string) *site {
	t.Helper()
	s := &site{gateways: map[string]*httptest.Server{}}
	for _, name := range names {
		g := httptest.NewServer(nil)
		g.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == metadataPath {
				_ = json.NewEncoder(w).Encode(map[string]string{"resource": g.URL, "resource_name": name})
				return
			}
			_, _ = fmt.Fprintf(w, "%s took %s", name, strings.Split(r.Header.Get("Authorization"), " ")[0])
		})
		t.Cleanup(g.Close)
		s.gateways[name] = g
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /acme/oauth2/token", func(w http.ResponseWriter, r *http.Request) {
		_, err := dpop.Verify(r.Header.Get("DPoP"), dpop.Expect{Method: r.Method, URL: s.broker.URL + r.URL.Path, Now: time.Now()})
		var details []struct {
			Template string `json:"template"`
		}
		if err != nil || json.Unmarshal([]byte(r.FormValue("authorization_details")), &details) != nil || s.gateways[details[0].Template] == nil {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"error":"access_denied","reason":"policy_denied"}`)
			return
		}
		claims := base64.RawURLEncoding.EncodeToString([]byte(`{"aud":"` + s.gateways[details[0].Template].URL + `"}`))
		token := "eyJhbGciOiJub25lIn0." + claims + ".signed"
		s.minted = append(s.minted, token)
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "DPoP", "expires_in": 300, "scope": "payments:refund"})
	})
	mux.HandleFunc("POST /acme/agents/v1/retire", func(w http.ResponseWriter, _ *http.Request) {
		if s.failures.Add(-1) >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		s.retired.Add(1)
		_, _ = io.WriteString(w, `{"state":"retired","changed":true}`)
	})
	s.broker = httptest.NewServer(mux)
	t.Cleanup(s.broker.Close)
	return s
}

// config runs a shell script as an agent that asks for the named connectors.
func (s *site) config(t *testing.T, out io.Writer, script string, asks ...string) Config {
	t.Helper()
	var err error
	s.key, err = client.GenerateKey("EdDSA")
	require.NoError(t, err)
	ref, err := agentid.AgentRef("acme", "run-1")
	require.NoError(t, err)
	agent, err := client.New(client.Config{Issuer: s.broker.URL + "/acme", Agent: ref, Key: s.key})
	require.NoError(t, err)
	cfg := Config{
		Agent: agent, Kinds: connectors.Builtin(), Command: []string{"sh", "-c", script},
		Environment: []string{"PATH=" + os.Getenv("PATH"), "AGENTID_KEY=env:X", "AGENTID_CREDENTIAL_FILE=/somewhere", "MY_KEY=hidden", "OTHER=stays", "no_proxy=internal.example", "STRIPE_API_KEY=sk_live"},
		Hidden:      []string{"MY_KEY"}, Stdin: strings.NewReader(""), Stdout: out, Stderr: out, Logger: slog.New(slog.DiscardHandler),
	}
	for _, name := range asks {
		cfg.Requests = append(cfg.Requests, client.Template(name, nil))
	}
	return cfg
}

func TestTheCommandGetsURLsAndNothingElse(t *testing.T) {
	s := newSite(t, "stripe")
	var out bytes.Buffer
	key := filepath.Join(t.TempDir(), "key")
	cfg := s.config(t, &out, `tr '\0' '\n' < /proc/$$/environ; tr '\0' ' ' < /proc/$$/cmdline; ls -l /proc/$$/fd; exit 3`, "stripe")
	code, err := Run(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, 3, code)
	require.EqualValues(t, 1, s.retired.Load())
	require.NoError(t, s.key.Save(key))
	private, err := os.ReadFile(key)
	require.NoError(t, err)
	var jwk struct {
		D string `json:"d"`
	}
	require.NoError(t, json.Unmarshal(private, &jwk))
	require.NotEmpty(t, jwk.D)
	for _, secret := range append(s.minted, jwk.D, "AGENTID_KEY", "AGENTID_CREDENTIAL", "MY_KEY", "sk_live", "eyJ") {
		require.NotContains(t, out.String(), secret)
	}
	for _, want := range []string{"AGENTID_AGENT=agent:acme/run-1\n", "AGENTID_STRIPE_URL=http://127.0.0.1:", "STRIPE_API_BASE=http://127.0.0.1:", "STRIPE_API_KEY=unused\n", "OTHER=stays\n", "NO_PROXY=127.0.0.1,localhost,internal.example\n"} {
		require.Contains(t, out.String(), want)
	}
}

func TestTwoConnectorsOfOneKindHaveTheirOwnURLsOnly(t *testing.T) {
	s := newSite(t, "stripe", "stripe-eu")
	var out bytes.Buffer
	code, err := Run(t.Context(), s.config(t, &out, "env", "stripe", "stripe-eu", "stripe"))
	require.NoError(t, err)
	require.Zero(t, code)
	require.Contains(t, out.String(), "AGENTID_STRIPE_URL=")
	require.Contains(t, out.String(), "AGENTID_STRIPE_EU_URL=")
	require.NotContains(t, out.String(), "STRIPE_API_BASE", "which of the two is not to be guessed")
}

func TestNothingStartsThatIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		code   int
	}{
		"policy": {func(c *Config) { c.Requests = append(c.Requests, client.Template("other", nil)) }, 0},
		"two connectors of one variable": {func(c *Config) {
			c.Requests = append(c.Requests, client.Template("a-b", nil), client.Template("a_b", nil))
		}, 0},
		"no command":      {func(c *Config) { c.Command = nil }, 0},
		"unknown command": {func(c *Config) { c.Command = []string{"/no/such/command"} }, ExitNotFound},
		"not executable":  {func(c *Config) { c.Command = []string{os.DevNull} }, ExitNotExecutable},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "stripe", "a-b", "a_b")
			var out bytes.Buffer
			cfg := s.config(t, &out, "echo started", "stripe")
			c.change(&cfg)
			code, err := Run(t.Context(), cfg)
			require.Error(t, err)
			require.Equal(t, c.code, code)
			require.Empty(t, out.String())
			require.EqualValues(t, 1, s.retired.Load(), "the agent does not stay")
		})
	}
	t.Run("a signal came first", func(t *testing.T) {
		s := newSite(t, "stripe")
		var out bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Run(ctx, s.config(t, &out, "echo started", "stripe"))
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, out.String())
		require.EqualValues(t, 1, s.retired.Load())
	})
}

func TestRetirementIsTriedAgainUntilItIsDefinite(t *testing.T) {
	s := newSite(t, "stripe")
	s.failures.Store(2)
	code, err := Run(t.Context(), s.config(t, io.Discard, "exit 0", "stripe"))
	require.NoError(t, err)
	require.Zero(t, code)
	require.EqualValues(t, 1, s.retired.Load())

	var logs bytes.Buffer
	calls := 0
	cfg := s.config(t, io.Discard, "exit 0", "stripe")
	cfg.Logger = slog.New(slog.NewTextHandler(&logs, nil))
	for _, refusal := range []error{&client.Refusal{Status: http.StatusForbidden, Reason: "no"}, &client.Refusal{Status: http.StatusUnauthorized}} {
		cfg.Retire = func(context.Context) error { calls++; return refusal }
		_, err = Run(t.Context(), cfg)
		require.NoError(t, err)
	}
	require.Equal(t, 2, calls, "a refusal is not asked again")
	require.Equal(t, 1, strings.Count(logs.String(), "could not be retired"), "one that is retired already is as wanted")
	cfg.Retire = func(context.Context) error {
		if calls++; calls < 5 {
			return errors.New("broken pipe")
		}
		return nil
	}
	_, err = Run(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, 5, calls)
}

func TestASignalPassesAndKillsGiveTheShellsCode(t *testing.T) {
	s := newSite(t)
	signals := make(chan os.Signal, 1)
	ready, wait := io.Pipe()
	cfg := s.config(t, wait, `trap 'echo got; exit 9' USR1; echo ready; while :; do sleep 0.01; done`)
	cfg.Signals = signals
	go func() {
		_, _ = ready.Read(make([]byte, 16))
		signals <- syscall.SIGUSR1
		_, _ = io.Copy(io.Discard, ready)
	}()
	code, err := Run(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, 9, code)
	code, err = Run(t.Context(), s.config(t, io.Discard, `kill -KILL $$`))
	require.NoError(t, err)
	require.Equal(t, 137, code)
	require.EqualValues(t, 2, s.retired.Load())
}

func TestAProcessLeftBehindDoesNotHoldTheAgent(t *testing.T) {
	s := newSite(t)
	var out bytes.Buffer
	code, err := Run(t.Context(), s.config(t, &out, `sleep 4 & exit 4`))
	require.NoError(t, err)
	require.Equal(t, 4, code)
	require.EqualValues(t, 1, s.retired.Load())
}
