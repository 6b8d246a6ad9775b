package gateway_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/paysim"
)

// burst sends n requests at once and counts their outcomes: "200", or the reason.
func burst(w *world, n int, send func(i int) answer) map[string]int {
	outcomes := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			a := send(i)
			key := a.reason()
			if key == "" {
				key = fmt.Sprint(a.status)
			}
			mu.Lock()
			outcomes[key]++
			mu.Unlock()
		})
	}
	close(start)
	wg.Wait()
	return outcomes
}

func TestHundredConcurrentRefundsOnAChargeWithFiftyLeft(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant(`{"amount":{"max":1000,"currency":"usd","at_most_fact":"charge.refundable"}}`))
	w.send(token, w.refund("charge=ch_half&amount=1001", "warm"))
	outcomes := burst(w, 100, func(i int) answer {
		return w.send(token, w.refund("charge=ch_half&amount=1000", fmt.Sprintf("k%d", i)))
	})
	require.Equal(t, map[string]int{"200": 5, "constraint_amount_at_most_fact": 95}, outcomes)
	require.Len(t, w.sent.of("POST"), 5, "exactly five reach the upstream")
	require.EqualValues(t, 10000, w.sim.Refunded("ch_half"))
	w.balanced()
}

// While the hundred run, others refund the same charge by its payment intent, and the
// upstream takes its time: holds settle in between.
func TestConcurrentRefundsWhileOthersSettleInBetween(t *testing.T) {
	var posts atomic.Int64
	w := newWorld(t, options{sim: func(c *paysim.Config) {
		c.After = func(r *http.Request) {
			if r.Method == "POST" {
				posts.Add(1)
			}
			for range rand.IntN(500) { // an upstream that is slow, unevenly
				runtime.Gosched()
			}
		}
	}})
	tokens := []string{w.token(nil, w.grant("")), w.token(nil, w.grant(`{"amount":{"at_most_fact":"charge.refundable"}}`))}
	w.send(tokens[0], w.refund("charge=ch_half&amount=999999", "warm"))
	outcomes := burst(w, 100, func(i int) answer {
		form := "charge=ch_half&amount=1000"
		if i%2 == 1 {
			form = "payment_intent=pi_half&amount=1000"
		}
		return w.send(tokens[i/2%2], w.refund(form, fmt.Sprintf("k%d", i)))
	})
	require.Equal(t, 5, outcomes["200"], outcomes)
	require.Equal(t, 95, outcomes["constraint_amount_at_most_fact"], outcomes)
	require.EqualValues(t, 5, posts.Load())
	require.EqualValues(t, 10000, w.sim.Refunded("ch_half"))
	w.balanced()
}

// Amounts that do not divide what is left: never more than it, and never less than
// would fit one more of the smallest.
func TestConcurrentRefundsOfMixedAmounts(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant(""))
	w.send(token, w.refund("charge=ch_half&amount=999999", "warm"))
	burst(w, 40, func(i int) answer {
		return w.send(token, w.refund(fmt.Sprintf("charge=ch_half&amount=%d", 100+i*37), fmt.Sprintf("k%d", i)))
	})
	require.LessOrEqual(t, w.sim.Refunded("ch_half"), int64(10000))
	require.Greater(t, w.sim.Refunded("ch_half"), int64(10000-100-40*37))
	w.balanced()
}

func TestOneUseUnderFiftyRacing(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant(limited))
	w.send(token, w.refund("charge=ch_1&amount=5001", "warm"))
	outcomes := burst(w, 50, func(i int) answer {
		return w.send(token, w.refund("charge=ch_1&amount=100", fmt.Sprintf("k%d", i)))
	})
	require.Equal(t, map[string]int{"200": 1, "uses_exhausted": 49}, outcomes)
	require.EqualValues(t, 100, w.sim.Refunded("ch_1"))
}

func TestOneKeyUnderFiftyRacing(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant(limited))
	w.send(token, w.refund("charge=ch_1&amount=5001", "warm"))
	outcomes := burst(w, 50, func(int) answer { return w.send(token, w.refund("charge=ch_1&amount=100", "one")) })
	require.Equal(t, 50, outcomes["200"]+outcomes["idempotency_in_progress"], outcomes)
	require.GreaterOrEqual(t, outcomes["200"], 1)
	require.Len(t, w.sim.Refunds(), 1)
}

// balanced checks that every begin has its finish.
func (w *world) balanced() {
	w.tb.Helper()
	open := map[string]int{}
	for _, r := range w.records() {
		if r.Phase == auditlog.Begin {
			open[r.Request]++
		}
		if r.Phase == auditlog.Finish {
			open[r.Request]--
		}
	}
	for request, n := range open {
		require.Zero(w.tb, n, request)
	}
}
