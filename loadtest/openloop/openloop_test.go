package openloop_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/loadtest/openloop"
)

func TestAConstantRateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := openloop.Run(t.Context(), openloop.Config{Rate: 1000, Duration: 2 * time.Second, Do: func(context.Context, int64) openloop.Outcome {
			<-time.After(3 * time.Millisecond)
			return openloop.Outcome{Op: "read", Class: "ok", OK: true}
		}})
		require.NoError(t, err)
		require.EqualValues(t, 2000, r.Sent)
		require.EqualValues(t, 2000, r.Ops["read"].Count)
		require.Zero(t, r.All.Failed)
		require.InDelta(t, 3000, r.All.Latency.P50, 10)
		require.InDelta(t, 1000, r.Throughput(), 10)
	})
}

// TestAStallIsChargedToAllWhoWouldHaveWaited is coordinated omission: one sender that
// waits half a second would otherwise hide the 500 that were due meanwhile.
func TestAStallIsChargedToAllWhoWouldHaveWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stalled atomic.Bool
		gate := make(chan struct{}, 1)
		gate <- struct{}{} // a server that answers one at a time
		r, err := openloop.Run(t.Context(), openloop.Config{Rate: 1000, Duration: 2 * time.Second, Do: func(_ context.Context, n int64) openloop.Outcome {
			<-gate
			if n >= 1000 && stalled.CompareAndSwap(false, true) {
				<-time.After(500 * time.Millisecond)
			}
			gate <- struct{}{}
			return openloop.Outcome{Op: "read", Class: "ok", OK: true}
		}})
		require.NoError(t, err)
		require.Greater(t, r.All.Latency.P90, int64(200_000), "a quarter of all waited for the stall")
		require.Greater(t, r.All.Latency.Max, int64(499_000))
	})
}

func TestABurstComesAtOnceAtTheSameMeanRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at [100]time.Duration
		r, err := openloop.Run(t.Context(), openloop.Config{Rate: 100, Burst: 50, Duration: time.Second, Do: func(_ context.Context, n int64) openloop.Outcome {
			at[n] = time.Since(start)
			return openloop.Outcome{Op: "mint", Class: "ok", OK: true}
		}})
		require.NoError(t, err)
		require.EqualValues(t, 100, r.Sent)
		require.Equal(t, at[0], at[49])
		require.Equal(t, 500*time.Millisecond, at[50]-at[0])
	})
}

func TestWhatFindsNoSenderIsDroppedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := openloop.Run(t.Context(), openloop.Config{Rate: 100, Duration: time.Second, MaxInFlight: 10, Do: func(context.Context, int64) openloop.Outcome {
			<-time.After(time.Minute)
			return openloop.Outcome{Op: "read"}
		}})
		require.NoError(t, err)
		require.EqualValues(t, 10, r.Sent)
		require.EqualValues(t, 90, r.Dropped)
		require.EqualValues(t, 10, r.All.Failed, "the zero outcome is a failure")
		require.EqualValues(t, map[string]int64{"failed": 10}, r.All.Classes)
	})
}

func TestARunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ticks := 0
		r, err := openloop.Run(ctx, openloop.Config{
			Rate: 10, Duration: time.Hour, Tick: func(openloop.Progress) { ticks++ },
			Do: func(context.Context, int64) openloop.Outcome { return openloop.Outcome{OK: true, Class: "ok"} },
		})
		require.NoError(t, err)
		require.InDelta(t, 10, r.Sent, 1)
	})
}

func TestConfigsThatAreRefused(t *testing.T) {
	do := func(context.Context, int64) openloop.Outcome { return openloop.Outcome{} }
	for field, cfg := range map[string]openloop.Config{
		"rate":     {Duration: time.Second, Do: do},
		"duration": {Rate: 1, Do: do},
		"do":       {Rate: 1, Duration: time.Second},
	} {
		_, err := openloop.Run(t.Context(), cfg)
		require.Equal(t, field, agentid.AsError(err).Field)
	}
}
