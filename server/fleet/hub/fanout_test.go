package hub_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/fleet/hub"
)

// Who waits is told when the last one is through, whether it acknowledged or left, and
// after that by time alone.
func TestTheLastOneThroughEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		begun := time.Now()
		held := make([]*gateway, 3)
		subs := make([]*hub.Subscription, len(held))
		for i := range held {
			held[i] = &gateway{held: make(chan struct{})}
			subs[i] = leased(t, h, fmt.Sprint("gw", i), held[i])
		}
		ticket := h.Publish(deny(t, "agent:acme/a", 1))
		var out, flushed hub.Outcome
		waits := make(chan error, 2)
		go func() { var err error; out, err = ticket.Wait(t.Context()); waits <- err }()
		go func() { var err error; flushed, err = h.Flush(t.Context()); waits <- err }()
		synctest.Wait()
		close(held[0].held)
		subs[1].Release() // trusts nothing: not waited for
		synctest.Wait()
		require.Empty(t, waits, "one is left")
		close(held[2].held)
		require.NoError(t, errors.Join(<-waits, <-waits))
		require.Zero(t, time.Since(begun), "nobody's lease was waited for")
		want := hub.Outcome{Gateways: 2, Acknowledged: 2}
		require.Equal(t, want, out)
		require.Equal(t, want, flushed)
		close(held[1].held)

		// One that leaves with its lease is waited out, though all others are through.
		stays := &gateway{held: make(chan struct{})}
		sub := leased(t, h, "leaves", stays)
		begun = time.Now()
		ticket = h.Publish(deny(t, "agent:acme/b", 2))
		synctest.Wait()
		sub.Close()
		out, err := ticket.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, hub.Outcome{Gateways: 3, Acknowledged: 2, WaitedOut: 1}, out)
		require.Equal(t, hub.DefaultLease+hub.DefaultDrift, time.Since(begun))
		close(stays.held)
	})
}

// BenchmarkFanOut is one event on its way to all gateways and back: published, applied by
// each in a goroutine of its own, acknowledged by each and waited for.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("gateways=%d", n), func(b *testing.B) {
			h, err := hub.New(hub.Config{Newer: numbers, Lease: time.Hour})
			require.NoError(b, err)
			for range n {
				s, err := h.Subscribe("gw", nothing{}, hub.Leased)
				require.NoError(b, err)
				b.Cleanup(s.Close)
				_, err = s.Renew()
				require.NoError(b, err)
			}
			var took []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				begun := time.Now()
				out, err := h.Publish(wire.Event{Kind: wire.EventChanged}).Wait(b.Context())
				took = append(took, time.Since(begun))
				if err != nil || out.Acknowledged != n {
					b.Fatal(out, err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
		})
	}
}

// nothing is a gateway that acts at once.
type nothing struct{}

func (nothing) Apply(wire.Event) (wire.Applied, error) { return wire.Applied{}, nil }
func (nothing) Reset(wire.State) error                 { return nil }
