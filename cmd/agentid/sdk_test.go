package main

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v85"

	"github.com/agentid-dev/agentid/deploy/examples"
	"github.com/agentid-dev/agentid/internal/testenv/npm"
)

// mock runs stripe-mock, a pinned Go tool. It answers Stripe's test keys only, so an
// answer through the gateway proves that the credential was swapped.
func mock(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	path := filepath.Join(cache, "agentid-tests", "stripe-mock-cli")
	out, err := exec.CommandContext(t.Context(), "go", "-C", "../../tools", "build", "-o", path, "github.com/stripe/stripe-mock").CombinedOutput()
	require.NoError(t, err, string(out))
	addr := freePort(t)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, "-http-addr", addr)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, 30*time.Second, 20*time.Millisecond)
	return "http://" + addr
}

// mockSite is a site whose upstream is stripe-mock. Its charges have no customer: they
// belong to the account.
func mockSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.upstream = mock(t)
	s.start()
	t.Setenv("AGENTID_TEST_UPSTREAM_KEY", "sk_test_123")
	text, err := examples.AcmeAt(s.resource, s.upstream, "env:AGENTID_TEST_UPSTREAM_KEY")
	require.NoError(t, err)
	text = strings.Replace(text, "allow_private_upstream: true", "allow_private_upstream: true\nallow_bearer: true\nbearer_seconds: 60", 1)
	s.must("apply", "-f", s.write("acme.yaml", text))
	s.agent("refunds-1")
	return s
}

const accountRefunds = `[{"type":"agentid_capability","identifier":"payments_account:acme/stripe","actions":["payments:refund"],"constraints":{"amount":{"max":100,"currency":"usd"}}}]`

// identityFlags are the flags of token and proxy for the agent.
func (s *site) identityFlags() []string {
	return []string{
		"--issuer", s.base + "/acme", "--agent", "agent:acme/refunds-1", "--key", filepath.Join(s.dir, "refunds-1.key"),
		"--details", accountRefunds, "--resource", s.resource,
	}
}

// proxy runs "agentid proxy" as a process of its own and gives its host:port.
func (s *site) proxy() string {
	s.t.Helper()
	path, err := binary()
	require.NoError(s.t, err)
	addr := freePort(s.t)
	cmd := exec.Command(path, append([]string{"proxy", "--listen", addr}, s.identityFlags()...)...)
	stderr, err := cmd.StderrPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, cmd.Start())
	s.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(stderr)
	require.True(s.t, lines.Scan())
	require.Contains(s.t, lines.Text(), "the proxy is ready")
	go func() {
		for lines.Scan() {
		}
	}()
	return addr
}

func stripeAt(base, key string) *stripe.Client {
	return stripe.NewClient(key, stripe.WithBackends(stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		URL: stripe.String(base), MaxNetworkRetries: stripe.Int64(0), LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})))
}

func TestStripesGoSDKThroughTheProxy(t *testing.T) {
	s := mockSite(t)
	params := &stripe.RefundCreateParams{Charge: stripe.String("ch_abc"), Amount: stripe.Int64(100)}
	_, err := stripeAt(s.upstream, "the-sdks-key").V1Refunds.Create(t.Context(), params)
	require.Error(t, err, "the mock does not take the SDK's key")

	c := stripeAt("http://"+s.proxy(), "the-sdks-key")
	refund, err := c.V1Refunds.Create(t.Context(), params)
	require.NoError(t, err)
	require.Equal(t, "ch_abc", refund.Charge.ID)
	_, err = c.V1Refunds.Create(t.Context(), &stripe.RefundCreateParams{Charge: stripe.String("ch_abc"), Amount: stripe.Int64(101)})
	require.ErrorContains(t, err, "constraint_amount_max")
	_, err = c.V1Charges.Retrieve(t.Context(), "ch_abc", nil)
	require.ErrorContains(t, err, "operation_not_permitted")
}

func TestStripesNodeSDKThroughTheProxy(t *testing.T) {
	s := mockSite(t)
	host, port, err := net.SplitHostPort(s.proxy())
	require.NoError(t, err)
	out, err := npm.Node(t, []byte(`
import Stripe from 'stripe';
const stripe = new Stripe('the-sdks-key', {host: process.env.HOST, port: process.env.PORT, protocol: 'http', telemetry: false});
const attempt = async (run) => {
  try { const r = await run(); console.log(r.object, r.charge); }
  catch (e) { console.log(e.type ?? e, e.statusCode, e.code); }
};
await attempt(() => stripe.refunds.create({charge: 'ch_abc', amount: 100}));
await attempt(() => stripe.refunds.create({charge: 'ch_abc', amount: 101}));
await attempt(() => stripe.customers.list());
`), "HOST="+host, "PORT="+port).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, []string{"refund ch_abc", "StripePermissionError 403 constraint_amount_max", "StripePermissionError 403 operation_unmatched"},
		strings.Split(strings.TrimSpace(string(out)), "\n"))
}

func TestStripesGoSDKWithoutTheProxy(t *testing.T) {
	s := mockSite(t)
	bound := strings.TrimSpace(s.must(append([]string{"token", "--raw"}, s.identityFlags()...)...))
	unbound := strings.TrimSpace(s.must(append([]string{"token", "--raw", "--bearer"}, s.identityFlags()...)...))
	params := &stripe.RefundCreateParams{Charge: stripe.String("ch_abc"), Amount: stripe.Int64(100)}
	_, err := stripeAt(s.resource, bound).V1Refunds.Create(t.Context(), params)
	require.ErrorContains(t, err, "token_bound", "a bound token is refused as Bearer")
	_, err = stripeAt(s.upstream, unbound).V1Refunds.Create(t.Context(), params)
	require.Error(t, err, "the mock does not take the agent's token")
	refund, err := stripeAt(s.resource, unbound).V1Refunds.Create(t.Context(), params)
	require.NoError(t, err)
	require.Equal(t, "ch_abc", refund.Charge.ID)
}
