package hub_test

import (
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/fleet/hub"
)

// gateway is a subscriber that can be held up, and can fail.
type gateway struct {
	mu     sync.Mutex
	events []wire.Event
	resets []wire.State
	held   chan struct{} // nil: it answers at once
	fail   error
	reset  error
	answer wire.Applied
}

func (g *gateway) Apply(e wire.Event) (wire.Applied, error) {
	g.mu.Lock()
	held := g.held
	g.mu.Unlock()
	if held != nil {
		<-held
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail != nil {
		return wire.Applied{}, g.fail
	}
	g.events = append(g.events, e)
	return g.answer, nil
}

func (g *gateway) Reset(s wire.State) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.resets = append(g.resets, s)
	return g.reset
}

func (g *gateway) seqs() (out []uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range g.events {
		out = append(out, e.Seq)
	}
	return out
}

// numbers compares zookies that are numbers.
func numbers(a, b agentid.Zookie) (bool, error) {
	x, err := strconv.Atoi(string(a))
	if err != nil {
		return false, err
	}
	y, err := strconv.Atoi(string(b))
	return x > y, err
}

func newHub(t *testing.T, edit ...func(*hub.Config)) *hub.Hub {
	t.Helper()
	start := time.Now().Add(-time.Hour) // the machine has run for an hour
	cfg := hub.Config{Newer: numbers, BootTime: func() time.Duration { return time.Since(start) }}
	for _, e := range edit {
		e(&cfg)
	}
	h, err := hub.New(cfg)
	require.NoError(t, err)
	return h
}

func ref(t *testing.T, text string) agentid.Ref {
	t.Helper()
	r, err := agentid.ParseRef(text)
	require.NoError(t, err)
	return r
}

// leased subscribes and renews once.
func leased(t *testing.T, h *hub.Hub, name string, g *gateway) *hub.Subscription {
	t.Helper()
	s, err := h.Subscribe(name, g, hub.Leased)
	require.NoError(t, err)
	granted, err := s.Renew()
	require.NoError(t, err)
	require.Equal(t, hub.DefaultLease, granted)
	t.Cleanup(s.Close)
	return s
}

func deny(t *testing.T, target string, epoch agentid.Epoch) wire.Event {
	t.Helper()
	return wire.Event{Kind: wire.EventDeny, Epoch: epoch, Denials: []wire.Denial{{Target: ref(t, target), Epoch: epoch}}}
}

func TestAStandingGatewayActsBeforePublishReturns(t *testing.T) {
	h, g := newHub(t), &gateway{answer: wire.Applied{Cancelled: 2, OnWire: 1, Requests: []string{"r1"}}}
	_, err := h.Subscribe("here", g, hub.Standing)
	require.NoError(t, err)
	ticket := h.Publish(deny(t, "agent:acme/a", 1))
	require.Equal(t, []uint64{1}, g.seqs())
	out, err := ticket.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, hub.Outcome{Gateways: 1, Acknowledged: 1, Applied: g.answer}, out)
}

func TestAStandingGatewayThatFailsBeginsAgain(t *testing.T) {
	h, g := newHub(t), &gateway{}
	_, err := h.Subscribe("here", g, hub.Standing)
	require.NoError(t, err)
	g.fail = errors.New("full")
	_, err = h.Publish(deny(t, "agent:acme/a", 1)).Wait(t.Context())
	require.NoError(t, err, "the state says what the event said")
	require.Len(t, g.resets, 2)
	require.Equal(t, ref(t, "agent:acme/a"), g.resets[1].Denials[0].Target)

	g.reset = errors.New("still full")
	_, err = h.Publish(deny(t, "agent:acme/b", 2)).Wait(t.Context())
	require.Equal(t, "fleet_unavailable", agentid.ReasonOf(err))
	g.reset, g.fail = nil, nil
	_, err = h.Publish(deny(t, "agent:acme/c", 3)).Wait(t.Context())
	require.NoError(t, err)
	require.Len(t, g.resets[len(g.resets)-1].Denials, 3, "what it missed is in the state")
}

func TestThereIsNoGapBetweenTheStateAndTheFirstEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		var publishers sync.WaitGroup
		for range 4 {
			publishers.Go(func() {
				for range 200 {
					h.Publish(wire.Event{Kind: wire.EventChanged})
				}
			})
		}
		gateways := make([]*gateway, 8)
		for i := range gateways {
			gateways[i] = &gateway{}
			s, err := h.Subscribe("gw", gateways[i], hub.Leased)
			require.NoError(t, err)
			t.Cleanup(s.Close)
		}
		publishers.Wait()
		synctest.Wait()
		for _, g := range gateways {
			want := g.resets[0].Seq
			for _, seq := range g.seqs() {
				want++
				require.Equal(t, want, seq)
			}
			require.EqualValues(t, 800, want)
		}
	})
}

func TestAGatewayThatDoesNotAnswerIsWaitedOutWithinItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		quick, stuck := &gateway{}, &gateway{held: make(chan struct{})}
		leased(t, h, "quick", quick)
		sub := leased(t, h, "stuck", stuck)
		begun := time.Now()
		out, err := h.Publish(deny(t, "agent:acme/a", 1)).Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, hub.DefaultLease+hub.DefaultDrift, time.Since(begun))
		assert.Equal(t, hub.Outcome{Gateways: 2, Acknowledged: 1, WaitedOut: 1}, out)

		_, err = sub.Renew()
		require.Equal(t, "subscription_dropped", agentid.ReasonOf(err), "it took longer than its lease")
		<-sub.Done()
		close(stuck.held)
	})
}

func TestALeaseIsNotExtendedPastAnEventThatIsNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stuck := newHub(t), &gateway{held: make(chan struct{})}
		sub := leased(t, h, "stuck", stuck)
		begun := time.Now()
		ticket := h.Publish(deny(t, "agent:acme/a", 1))
		go func() { // its renewals go on while it applies nothing
			for {
				if _, err := sub.Renew(); err != nil {
					return
				}
				<-time.After(100 * time.Millisecond)
			}
		}()
		_, err := ticket.Wait(t.Context())
		require.NoError(t, err)
		require.LessOrEqual(t, time.Since(begun), hub.DefaultLease+hub.DefaultDrift)
		close(stuck.held)
	})
}

// A lease that is given after a revocation had waited for nobody would let the gateway
// trust answers from before it.
func TestNoLeaseBeforeTheEventThatWasWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stuck := newHub(t), &gateway{held: make(chan struct{})}
		sub, err := h.Subscribe("stuck", stuck, hub.Leased)
		require.NoError(t, err)
		t.Cleanup(sub.Close)
		out, err := h.Publish(deny(t, "agent:acme/a", 1)).Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, hub.Outcome{}, out, "it holds no lease: there is nobody to wait for")
		granted, err := sub.Renew()
		require.NoError(t, err)
		require.Zero(t, granted)
		close(stuck.held)
		synctest.Wait()
		granted, err = sub.Renew()
		require.NoError(t, err)
		require.Equal(t, hub.DefaultLease, granted)
	})
}

func TestAGatewayThatLeftIsWaitedForUntilItsLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t)
		leased(t, h, "crashed", &gateway{}).Close()
		leased(t, h, "said goodbye", &gateway{}).Release()
		begun := time.Now()
		out, err := h.Publish(deny(t, "agent:acme/a", 1)).Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, hub.Outcome{Gateways: 1, WaitedOut: 1}, out)
		require.Equal(t, hub.DefaultLease+hub.DefaultDrift, time.Since(begun))
		out, err = h.Flush(t.Context())
		require.NoError(t, err)
		require.Zero(t, out.Gateways)
	})
}

func TestGatewaysOfAnEarlierLifeAreWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, func(c *hub.Config) { c.Remote = true })
		begun := time.Now()
		out, err := h.Publish(deny(t, "agent:acme/a", 1)).Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, out.WaitedOut)
		require.Equal(t, hub.DefaultLease+hub.DefaultDrift, time.Since(begun))
	})
}

func TestAGatewayThatFailsOrLagsIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		h := newHub(t, func(c *hub.Config) { c.Queue, c.Metrics = 3, reg })
		failing, lagging := &gateway{fail: errors.New("torn")}, &gateway{held: make(chan struct{})}
		f, l := leased(t, h, "failing", failing), leased(t, h, "lagging", lagging)
		h.Publish(wire.Event{Kind: wire.EventChanged})
		<-f.Done()
		for range 4 {
			h.Publish(wire.Event{Kind: wire.EventChanged})
		}
		<-l.Done()
		require.Error(t, f.Err())
		close(lagging.held)
		again, err := h.Subscribe("lagging", lagging, hub.Leased)
		require.NoError(t, err)
		t.Cleanup(again.Close)
		require.EqualValues(t, 5, lagging.resets[1].Seq)
		families, err := reg.Gather()
		require.NoError(t, err)
		values := map[string]float64{}
		for _, f := range families {
			values[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
		}
		require.EqualValues(t, 1, values["agentid_fleet_queue_drops_total"])
		require.EqualValues(t, 2, values["agentid_fleet_subscriptions_lost_total"])
		require.EqualValues(t, 1, values["agentid_fleet_gateways"])
		require.EqualValues(t, 5, values["agentid_fleet_events_total"])
	})
}

func TestTheStateHoldsWhatStandsAndNothingElse(t *testing.T) {
	now := time.Now()
	h := newHub(t, func(c *hub.Config) {
		c.Now = func() time.Time { return now }
		c.Start = wire.State{Epoch: 3, Floor: "10", Incarnation: "i"}
	})
	token := wire.Denial{Target: ref(t, "token:acme/t"), Epoch: 4, Until: now.Add(time.Minute)}
	h.Publish(wire.Event{Kind: wire.EventDeny, Epoch: 4, Denials: []wire.Denial{token}})
	h.Publish(deny(t, "agent:acme/a", 5))
	h.Publish(deny(t, "agent:acme/a", 6)) // taken away twice at once
	h.Publish(wire.Event{Kind: wire.EventSettled, Epoch: 5, Lift: []agentid.Ref{ref(t, "agent:acme/a")}, Zookie: "9"})
	s := h.State()
	assert.Len(t, s.Denials, 2, "the first to settle does not lift the second")
	assert.Equal(t, agentid.Zookie("10"), s.Floor, "an older revision does not lower the floor")
	assert.EqualValues(t, 6, s.Epoch)
	h.Publish(wire.Event{Kind: wire.EventSettled, Epoch: 6, Lift: []agentid.Ref{ref(t, "agent:acme/a")}, Zookie: "11"})
	s = h.State()
	assert.Equal(t, []wire.Denial{token}, s.Denials)
	assert.Equal(t, agentid.Zookie("11"), s.Floor)
	now = now.Add(2 * time.Minute)
	assert.Empty(t, h.State().Denials)
}

func TestAGatewayThatKnowsMoreThanTheLedgerIsEvidenceOfARestore(t *testing.T) {
	var ahead []agentid.Epoch
	h := newHub(t, func(c *hub.Config) {
		c.Start = wire.State{Epoch: 3, Incarnation: "i"}
		c.Ahead = func(_ string, e agentid.Epoch) { ahead = append(ahead, e) }
	})
	require.NoError(t, h.Seen("i", 3))
	require.NoError(t, h.Seen("another", 9))
	require.Equal(t, "broker_restored", agentid.ReasonOf(h.Seen("i", 4)))
	require.Equal(t, []agentid.Epoch{4}, ahead)
}

func TestANewIncarnationStartsEveryGatewayAgain(t *testing.T) {
	h, here, far := newHub(t), &gateway{}, &gateway{}
	_, err := h.Subscribe("here", here, hub.Standing)
	require.NoError(t, err)
	s, err := h.Subscribe("far", far, hub.Leased)
	require.NoError(t, err)
	h.Begin(wire.State{Incarnation: "j"})
	require.Equal(t, "j", here.resets[1].Incarnation)
	<-s.Done()
}

func TestBadSubscriptionsAreRefused(t *testing.T) {
	h := newHub(t)
	_, err := h.Subscribe("", &gateway{}, hub.Leased)
	require.Error(t, err)
	_, err = h.Subscribe("gw", nil, hub.Leased)
	require.Error(t, err)
	_, err = h.Subscribe("gw", &gateway{}, 0)
	require.Error(t, err)
	_, err = hub.New(hub.Config{})
	require.Error(t, err)
	_, err = h.Subscribe("gw", &gateway{reset: errors.New("no")}, hub.Leased)
	require.Error(t, err)
	out, err := h.Flush(t.Context())
	require.NoError(t, err)
	require.Zero(t, out.Gateways)
}
