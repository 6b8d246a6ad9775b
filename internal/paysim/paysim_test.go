package paysim_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v85"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/paysim"
)

const key = "sk_test_simulator"

func start(t *testing.T) (*paysim.Simulator, *stripe.Client, func(key string) *stripe.Client) {
	t.Helper()
	sim, err := paysim.New(paysim.Config{Key: agentid.NewSecret(key)})
	require.NoError(t, err)
	require.NoError(t, sim.AddCustomer(paysim.Customer{ID: "cus_1", Email: "a@example.com"}))
	require.NoError(t, sim.AddCharge(paysim.Charge{ID: "ch_1", Customer: "cus_1", PaymentIntent: "pi_1", Currency: "usd", Amount: 10000}))
	require.NoError(t, sim.AddSubscription(paysim.Subscription{ID: "sub_1", Customer: "cus_1"}))
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	client := func(k string) *stripe.Client {
		cfg := &stripe.BackendConfig{URL: stripe.String(srv.URL), MaxNetworkRetries: stripe.Int64(0), LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull}}
		return stripe.NewClient(k, stripe.WithBackends(stripe.NewBackendsWithConfig(cfg)))
	}
	return sim, client(key), client
}

func refundOf(charge string, amount int64, key string) *stripe.RefundCreateParams {
	p := &stripe.RefundCreateParams{Charge: stripe.String(charge), Amount: stripe.Int64(amount), Reason: stripe.String("duplicate")}
	p.SetIdempotencyKey(key)
	return p
}

func code(t *testing.T, err error) string {
	t.Helper()
	var se *stripe.Error
	require.True(t, errors.As(err, &se), "%v", err)
	return string(se.Code)
}

func TestRefundTakesEffectOnce(t *testing.T) {
	sim, c, _ := start(t)
	ctx := t.Context()
	first, err := c.V1Refunds.Create(ctx, refundOf("ch_1", 4200, "k1"))
	require.NoError(t, err)
	require.EqualValues(t, 4200, first.Amount)
	again, err := c.V1Refunds.Create(ctx, refundOf("ch_1", 4200, "k1"))
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID)
	require.Equal(t, "true", again.LastResponse.Header.Get("Idempotent-Replayed"))
	require.Len(t, sim.Refunds(), 1)
	require.EqualValues(t, 4200, sim.Refunded("ch_1"))

	charge, err := c.V1Charges.Retrieve(ctx, "ch_1", nil)
	require.NoError(t, err)
	require.EqualValues(t, 4200, charge.AmountRefunded)
	p := &stripe.PaymentIntentRetrieveParams{}
	p.AddExpand("latest_charge")
	intent, err := c.V1PaymentIntents.Retrieve(ctx, "pi_1", p)
	require.NoError(t, err)
	require.EqualValues(t, 4200, intent.LatestCharge.AmountRefunded)
}

func TestRefundRefusals(t *testing.T) {
	sim, c, client := start(t)
	ctx := t.Context()
	_, err := client("sk_test_other").V1Refunds.Create(ctx, refundOf("ch_1", 1, "k0"))
	var se *stripe.Error
	require.True(t, errors.As(err, &se))
	require.Equal(t, http.StatusUnauthorized, se.HTTPStatusCode)
	require.Zero(t, sim.Requests())

	_, err = c.V1Refunds.Create(ctx, refundOf("ch_1", 10001, "k1"))
	require.Equal(t, "amount_too_large", code(t, err))
	_, err = c.V1Refunds.Create(ctx, refundOf("ch_9", 1, "k2"))
	require.Equal(t, "resource_missing", code(t, err))
	_, err = c.V1Refunds.Create(ctx, refundOf("ch_1", 10000, "k3"))
	require.NoError(t, err)
	_, err = c.V1Refunds.Create(ctx, refundOf("ch_1", 1, "k4"))
	require.Equal(t, "charge_already_refunded", code(t, err))
	_, err = c.V1Refunds.Create(ctx, refundOf("ch_1", 1, "k3"))
	require.True(t, errors.As(err, &se))
	require.Equal(t, stripe.ErrorTypeIdempotency, se.Type)
	require.Len(t, sim.Refunds(), 1)
}

func TestConcurrentRefundsNeverExceedTheCharge(t *testing.T) {
	sim, c, _ := start(t)
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() { _, _ = c.V1Refunds.Create(t.Context(), refundOf("ch_1", 1000, "c"+strings.Repeat("x", i))) })
	}
	wg.Wait()
	require.Len(t, sim.Refunds(), 10)
	require.EqualValues(t, 10000, sim.Refunded("ch_1"))
}

func TestSubscriptionsAndLists(t *testing.T) {
	sim, c, _ := start(t)
	ctx := t.Context()
	_, err := c.V1Subscriptions.Update(ctx, "sub_1", &stripe.SubscriptionUpdateParams{Metadata: map[string]string{"plan": "gold"}})
	require.NoError(t, err)
	require.Equal(t, 1, sim.Changes())
	_, err = c.V1Refunds.Create(ctx, refundOf("ch_1", 100, "l1"))
	require.NoError(t, err)
	n := 0
	for r, err := range c.V1Refunds.List(ctx, &stripe.RefundListParams{Charge: stripe.String("ch_1")}).All(ctx) {
		require.NoError(t, err)
		require.EqualValues(t, 100, r.Amount)
		n++
	}
	require.Equal(t, 1, n)
	_, err = c.V1Charges.Retrieve(ctx, "ch_unknown", nil)
	require.Equal(t, "resource_missing", code(t, err))
}

func TestSeedsAreChecked(t *testing.T) {
	sim, _, _ := start(t)
	require.Error(t, sim.AddCustomer(paysim.Customer{ID: "cus_1"}))
	require.Error(t, sim.AddCharge(paysim.Charge{ID: "ch_2", Customer: "cus_9", Currency: "usd", Amount: 1}))
	require.Error(t, sim.AddCharge(paysim.Charge{ID: "ch_2", Customer: "cus_1", Currency: "usd", Amount: 1, Refunded: 2}))
	_, err := paysim.New(paysim.Config{})
	require.Error(t, err)
}
