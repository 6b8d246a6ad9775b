package main

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAStoppedGatewayAllowsNothingWhenItWakes: it is stopped (SIGSTOP) while an effect has
// its decision and waits for the upstream, and while requests lie in its socket. The call
// waits at most the lease. Awake, it makes nothing of what it had decided.
func TestAStoppedGatewayAllowsNothingWhenItWakes(t *testing.T) {
	s := newSplit(t, 2, nil)
	s.startGateways()
	agent := s.acme()
	s.ready()
	slept, awake := s.gateways[0], s.gateways[1]
	token, err := agent.Mint(t.Context(), s.oneRefund())
	require.NoError(t, err)
	reading := s.mint(agent)
	c, other := s.through(slept, agent), s.through(awake, agent)
	for _, c := range []*caller{c, other} {
		status, answer, err := c.reads(t.Context(), reading)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status, answer)
	}

	// The fact that is read after the hold is in: the charge. The first reading of it
	// belongs to the inputs, before the decision.
	atFact, proceed, n := make(chan struct{}), make(chan struct{}), 0
	gate := func(r *http.Request) {
		if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/v1/charges/") {
			if n++; n == 2 {
				close(atFact)
				<-proceed
			}
		}
	}
	s.gate.Store(&gate)
	type result struct {
		status int
		answer string
		err    error
	}
	effect := make(chan result, 1)
	refunding := s.through(slept, agent)
	refunding.nonce = c.nonce
	go func() {
		status, answer, err := refunding.do(t.Context(), http.MethodPost, "/v1/refunds", "charge=ch_ada&amount=50", "slept", token)
		effect <- result{status, answer, err}
	}()
	<-atFact
	require.NoError(t, slept.daemon.cmd.Process.Signal(syscall.SIGSTOP))
	began := time.Now()
	require.NoError(t, agent.Revoke(t.Context(), token.Access))
	taken := time.Since(began)
	require.Less(t, taken, bound)
	require.NoError(t, agent.Revoke(t.Context(), reading.Access))
	late := make(chan result, 1)
	go func() {
		status, answer, err := c.reads(t.Context(), reading)
		late <- result{status, answer, err}
	}()
	status, _, err := other.reads(t.Context(), reading)
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, status, "the gateway that is awake")
	close(proceed)
	require.NoError(t, slept.daemon.cmd.Process.Signal(syscall.SIGCONT))

	got := <-effect
	require.NoError(t, got.err)
	require.NotEqual(t, http.StatusOK, got.status, got.answer)
	require.Empty(t, s.sim.Refunds(), "no money moved")
	got = <-late
	require.NoError(t, got.err)
	require.NotEqual(t, http.StatusOK, got.status, got.answer)
	s.isReady(slept)
	status, answer, err := c.reads(t.Context(), s.mint(agent))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, "it goes on: %s", answer)
	t.Logf("the revocation took %v with one gateway stopped", taken)
}
