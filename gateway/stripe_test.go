package gateway_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v85"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/testenv/npm"
	"github.com/agentid-dev/agentid/internal/wire"
)

// stripeMock builds stripe-mock from the pinned tools module and runs it. It answers
// test-mode keys only, and validates requests against Stripe's OpenAPI document.
func stripeMock(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	binary := filepath.Join(cache, "agentid-tests", "stripe-mock")
	build := exec.CommandContext(t.Context(), "go", "-C", "../tools", "build", "-o", binary, "github.com/stripe/stripe-mock")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	ctx, cancel := context.WithCancel(context.Background())
	mock := exec.CommandContext(ctx, binary, "-http-addr", addr)
	require.NoError(t, mock.Start())
	t.Cleanup(func() { cancel(); _ = mock.Wait() })
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, 20*time.Second, 20*time.Millisecond)
	return "http://" + addr
}

// sdk is Stripe's own client with its base URL changed and a token for its key.
func sdk(base, token string) *stripe.Client {
	backend := &stripe.BackendConfig{
		URL: stripe.String(base), MaxNetworkRetries: stripe.Int64(2), LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	}
	return stripe.NewClient(token, stripe.WithBackends(stripe.NewBackendsWithConfig(backend)))
}

func refundParams(charge string, amount int64, key string) *stripe.RefundCreateParams {
	p := &stripe.RefundCreateParams{Charge: stripe.String(charge), Amount: stripe.Int64(amount), Reason: stripe.String("duplicate")}
	p.AddMetadata("order", "7")
	if key != "" {
		p.SetIdempotencyKey(key)
	}
	return p
}

func TestStripeSDKAgainstStripeMock(t *testing.T) {
	mock := stripeMock(t)
	w := newWorld(t, options{connector: func(c *wire.Connector) {
		c.AllowBearer, c.Upstream, c.Credential = true, mock, agentid.NewSecret("sk_test_123")
	}})
	account := capability.Capability{Resource: w.Account, Operations: allOperations}
	token := w.token(func(c *capability.Claims) { c.Confirmation = capability.Confirmation{} }, account)

	_, err := sdk(mock, token).V1Refunds.Create(t.Context(), refundParams("ch_abc", 100, ""))
	require.Error(t, err, "the mock does not take the agent's token: what passes below has the swapped credential")

	client := sdk(w.base, token)
	refund, err := client.V1Refunds.Create(t.Context(), refundParams("ch_abc", 100, "")) // the SDK makes its own key
	require.NoError(t, err)
	require.Equal(t, "ch_abc", refund.Charge.ID)
	require.Equal(t, "payments_account:acme/stripe", w.last().Resource, "a charge without a customer is the account's")
	charge, err := client.V1Charges.Retrieve(t.Context(), "ch_abc", nil)
	require.NoError(t, err)
	require.Equal(t, "ch_abc", charge.ID)
	_, err = client.V1Refunds.Create(t.Context(), refundParams("ch_abc", 101, ""))
	require.Equal(t, "constraint_amount_at_most_fact", stripeCode(t, err, 403))
}

func TestStripeSDKGetsTypedErrors(t *testing.T) {
	w := newWorld(t, options{connector: func(c *wire.Connector) { c.AllowBearer = true }})
	unbound := func(c *capability.Claims) { c.Confirmation = capability.Confirmation{} }
	client := sdk(w.base, w.token(unbound, w.grant(limited, allOperations[0])))
	ctx := t.Context()

	_, err := client.V1Refunds.Create(ctx, refundParams("ch_1", 4201, "a"))
	require.Equal(t, "constraint_amount_max", stripeCode(t, err, 403))
	_, err = client.V1Refunds.Create(ctx, refundParams("ch_1", 0, "b"))
	require.Equal(t, "parameter_invalid", stripeCode(t, err, 400))
	_, err = client.V1Subscriptions.Update(ctx, "sub_1", &stripe.SubscriptionUpdateParams{Description: stripe.String("x")})
	require.Equal(t, "operation_unmatched", stripeCode(t, err, 403))
	_, err = sdk(w.base, "not-a-token").V1Refunds.Create(ctx, refundParams("ch_1", 1, "c"))
	require.Equal(t, "token_malformed", stripeCode(t, err, 401))
	_, err = client.V1Refunds.Create(ctx, refundParams("ch_1", 4200, "d"))
	require.NoError(t, err)
	_, err = client.V1Refunds.Create(ctx, refundParams("ch_1", 4199, "d"))
	require.Equal(t, "idempotency_key_reused", stripeCode(t, err, 400))
	_, err = client.V1Refunds.Create(ctx, refundParams("ch_1", 1, "e"))
	require.Equal(t, "uses_exhausted", stripeCode(t, err, 403))
	require.Len(t, w.sim.Refunds(), 1)
}

// Stripe's npm SDK throws its typed errors for our refusals.
func TestStripeNodeSDKThrowsTypedErrors(t *testing.T) {
	w := newWorld(t, options{connector: func(c *wire.Connector) { c.AllowBearer = true }})
	w.fleet.change(func(c *wire.Connector) { c.Rates = wire.Rates{TokenPerMinute: 1, TokenBurst: 7} })
	token := w.token(func(c *capability.Claims) { c.Confirmation = capability.Confirmation{} }, w.grant(limited))
	host, port, err := net.SplitHostPort(strings.TrimPrefix(w.base, "http://"))
	require.NoError(t, err)
	out, err := npm.Node(t, []byte(stripeNode), "HOST="+host, "PORT="+port, "TOKEN="+token).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, []string{
		"StripePermissionError 403 constraint_amount_max", "StripeInvalidRequestError 400 parameter_unknown", "StripePermissionError 403 operation_unmatched",
		"refund 4200", "StripeIdempotencyError 400 idempotency_key_reused", "StripePermissionError 403 uses_exhausted",
		"StripeAuthenticationError 401 token_malformed", "StripePermissionError 403 operation_not_permitted", "StripeRateLimitError 429 rate_limited",
	}, strings.Split(strings.TrimSpace(string(out)), "\n"))
}

const stripeNode = `
import Stripe from 'stripe';
const make = (key) => new Stripe(key, {host: process.env.HOST, port: process.env.PORT, protocol: 'http', telemetry: false});
const stripe = make(process.env.TOKEN);
const attempt = async (run) => {
  try { const r = await run(); console.log(r.object, r.amount); }
  catch (e) { console.log(e.type ?? e, e.statusCode, e.code); }
};
const refund = (amount, key, more) => stripe.refunds.create({charge: 'ch_1', amount, ...more}, {idempotencyKey: key, maxNetworkRetries: 0});
await attempt(() => refund(4201, 'a'));
await attempt(() => refund(1, 'b', {reverse_transfer: true}));
await attempt(() => stripe.subscriptions.update('sub_1', {description: 'x'}));
await attempt(() => refund(4200, 'd'));
await attempt(() => refund(4199, 'd'));
await attempt(() => refund(1, 'e'));
await attempt(() => make('nonsense').customers.retrieve('cus_1'));
await attempt(() => stripe.customers.retrieve('cus_1', {}, {maxNetworkRetries: 0}));
await attempt(() => stripe.customers.retrieve('cus_1', {}, {maxNetworkRetries: 0}));
`

func stripeCode(t *testing.T, err error, status int) string {
	t.Helper()
	var e *stripe.Error
	require.True(t, errors.As(err, &e), "%v", err)
	require.Equal(t, status, e.HTTPStatusCode, e.Msg)
	require.NotEmpty(t, e.RequestID)
	want := stripe.ErrorTypeInvalidRequest
	if strings.HasPrefix(string(e.Code), "idempotency_") {
		want = stripe.ErrorTypeIdempotency
	}
	require.Equal(t, want, e.Type)
	return string(e.Code)
}
