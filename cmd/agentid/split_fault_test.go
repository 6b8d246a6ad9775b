package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/client"
)

// bound is the longest that a revocation may take: one lease, the drift, and what this
// machine needs.
const bound = 2*time.Second + 200*time.Millisecond + 3*time.Second

// meddled is a split installation with a meddler before its first gateway.
func meddled(t *testing.T, gateways int) (*split, *meddler, *client.Client, []*caller) {
	t.Helper()
	var m *meddler
	s := newSplit(t, gateways, func(i int, addr string) string {
		if i > 0 {
			return addr
		}
		m = newMeddler(t, addr)
		return m.addr
	})
	m.use(filepath.Join(s.dir, "data"), s.gateways[0].folder)
	s.startGateways()
	agent := s.acme()
	s.ready()
	var callers []*caller
	for _, g := range s.gateways {
		callers = append(callers, s.through(g, agent))
	}
	return s, m, agent, callers
}

// TestAMistreatedStreamAllowsNothing: events are delayed, dropped, doubled, put out of
// order, and the stream is cut. Nothing that was taken away is allowed after the call
// returned; every trial begins with all gateways allowing; and in fair weather the
// gateways hold their lease again by themselves.
func TestAMistreatedStreamAllowsNothing(t *testing.T) {
	s, m, agent, callers := meddled(t, 2)
	storms := map[string]weather{
		"delayed":    {delay: 80 * time.Millisecond},
		"doubled":    {duplicate: 0.7},
		"reordered":  {reorder: 0.5, swap: 0.3},
		"dropped":    {drop: 0.3},
		"cut":        {cut: 0.5},
		"everything": {delay: 20 * time.Millisecond, drop: 0.1, duplicate: 0.3, reorder: 0.2, swap: 0.1, cut: 0.1},
	}
	var slowest time.Duration
	for name, storm := range storms {
		for n := range stormTrials {
			token := s.mint(agent)
			m.set(storm)
			tr := &trial{t: t, token: token, callers: callers, rough: true}
			taken := tr.run(func() { require.NoError(t, agent.Revoke(t.Context(), token.Access)) })
			slowest = max(slowest, taken)
			require.Less(t, taken, bound, name)
			require.False(t, t.Failed(), "%s, trial %d", name, n)
		}
	}
	m.set(weather{})
	s.ready()
	token := s.mint(agent)
	for i, c := range callers {
		status, answer, err := c.reads(t.Context(), token)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status, "gateway %d: %s", i, answer)
	}
	require.Positive(t, m.seen)
	t.Logf("%d trials, %d events mistreated; the slowest revocation took %v", len(storms)*stormTrials, m.seen, slowest)
}

// TestAGatewayThatHearsNothingIsWaitedOut: no event reaches it, while everything else
// does. The call waits for its lease and no longer; then it asks the graph by itself.
func TestAGatewayThatHearsNothingIsWaitedOut(t *testing.T) {
	s, m, agent, callers := meddled(t, 2)
	token := s.mint(agent)
	m.set(weather{mute: true})
	tr := &trial{t: t, token: token, callers: callers, rough: true}
	taken := tr.run(func() { require.NoError(t, agent.Revoke(t.Context(), token.Access)) })
	require.Less(t, taken, bound)
	m.set(weather{})
	s.ready()
	status, answer, err := callers[0].reads(t.Context(), s.mint(agent))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, answer)
	t.Logf("the revocation took %v", taken)
}

// TestAGatewayThatIsCutOffIsWaitedOut: nothing of the internal API reaches it.
func TestAGatewayThatIsCutOffIsWaitedOut(t *testing.T) {
	s, m, agent, callers := meddled(t, 2)
	token := s.mint(agent)
	for _, c := range callers {
		status, answer, err := c.reads(t.Context(), token)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status, answer)
	}
	m.set(weather{dead: true})
	began := time.Now()
	require.NoError(t, agent.Revoke(t.Context(), token.Access))
	taken := time.Since(began)
	require.Less(t, taken, bound)
	for i, c := range callers {
		status, answer, err := c.reads(t.Context(), token)
		require.NoError(t, err)
		require.NotEqual(t, http.StatusOK, status, "gateway %d: %s", i, answer)
	}
	require.Eventually(t, func() bool { return s.gateways[0].status(t, "/readyz") == http.StatusServiceUnavailable }, 10*time.Second, 10*time.Millisecond)
	m.set(weather{})
	s.ready()
	status, answer, err := callers[0].reads(t.Context(), s.mint(agent))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, answer)
	t.Logf("the revocation took %v", taken)
}

// TestAGatewayWithALaggingClock: its boot clock runs 8 % slow and its wall clock is 20 s
// behind, and no event reaches it. Its lease ends before the broker stops waiting.
func TestAGatewayWithALaggingClock(t *testing.T) {
	var m *meddler
	s := newSplit(t, 1, func(_ int, addr string) string {
		m = newMeddler(t, addr)
		return m.addr
	})
	g := s.gateways[0]
	g.environment = []string{"AGENTID_BOOTTIME_RATE=0.92", "AGENTID_CLOCK_OFFSET=-20s"}
	m.use(filepath.Join(s.dir, "data"), g.folder)
	s.startGateways()
	agent := s.acme()
	s.ready()
	c := s.through(g, agent)
	for n := range 3 {
		token := s.mint(agent)
		m.set(weather{mute: true})
		tr := &trial{t: t, token: token, callers: []*caller{c}, rough: true}
		require.Less(t, tr.run(func() { require.NoError(t, agent.Revoke(t.Context(), token.Access)) }), bound)
		require.False(t, t.Failed(), "trial %d", n)
		m.set(weather{})
		s.ready()
	}
}

// TestABrokerThatDiesWhileItTakesAway is killed between the denial and the end of it. The
// token is refused at every gateway from the denial on, also while the broker is gone; it
// stays refused after its restart, which completes what was begun; and what is allowed is
// allowed again.
func TestABrokerThatDiesWhileItTakesAway(t *testing.T) {
	s := newSplit(t, 2, nil)
	s.startGateways()
	agent := s.acme()
	s.ready()
	var callers []*caller
	for _, g := range s.gateways {
		callers = append(callers, s.through(g, agent))
	}
	for _, step := range []string{"revoke.intent", "revoke.denied", "revoke.edge", "revoke.settled", "revoke.told"} {
		for n := range brokerKills {
			s.broker.kill()
			s.startBroker("AGENTID_KILL_AT=" + step)
			s.ready()
			token := s.mint(agent)
			for i, c := range callers {
				status, answer, err := c.reads(t.Context(), token)
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, status, "gateway %d: %s", i, answer)
			}
			require.Error(t, agent.Revoke(t.Context(), token.Access), "the broker dies at %s", step)
			<-s.broker.exited
			s.broker.exited <- nil
			// Nothing was acknowledged: until the replay both answers are true, but without
			// a broker there is no audit, and so nothing is allowed.
			for i, c := range callers {
				status, answer, err := c.reads(t.Context(), token)
				require.NoError(t, err)
				require.NotEqual(t, http.StatusOK, status, "gateway %d: %s", i, answer)
			}
			s.startBroker()
			s.ready()
			require.Eventually(t, func() bool { return refusedEverywhere(t, callers, token) }, 30*time.Second, 20*time.Millisecond, "%s: what was begun is completed", step)
			fresh := s.mint(agent)
			for i, c := range callers {
				status, answer, err := c.reads(t.Context(), token)
				require.NoError(t, err)
				require.Equal(t, http.StatusUnauthorized, status, "gateway %d, %s: %s", i, step, answer)
				require.Eventually(t, func() bool { // it may still be on its way to the graph
					status, answer, err = c.reads(t.Context(), fresh)
					return err == nil && status == http.StatusOK
				}, 20*time.Second, 20*time.Millisecond, "gateway %d, %s: no lasting refusal", i, step)
			}
			require.False(t, t.Failed(), fmt.Sprint(step, n))
		}
	}
}

func refusedEverywhere(t *testing.T, callers []*caller, token client.Token) bool {
	t.Helper()
	for _, c := range callers {
		status, _, err := c.reads(t.Context(), token)
		require.NoError(t, err)
		if status != http.StatusUnauthorized {
			return false
		}
	}
	return true
}
