package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAStreamIsCutAcrossProcesses: an agent reads an endless stream (SSE) through a
// gateway. Taking its token away at the broker cuts it, at the upstream and at the agent.
func TestAStreamIsCutAcrossProcesses(t *testing.T) {
	s := newSplit(t, 1, nil)
	began, left := make(chan struct{}), make(chan struct{})
	var asked atomic.Int64
	feed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 { // whose charge it is, asked before the decision
			s.sim.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		out := http.NewResponseController(w)
		for n := 0; ; n++ {
			_, err := fmt.Fprintf(w, "data: %d\n\n", n)
			if err != nil || out.Flush() != nil {
				break
			}
			if n == 2 {
				close(began)
			}
			select {
			case <-r.Context().Done():
				close(left)
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
		close(left)
	}))
	t.Cleanup(feed.Close)
	s.upstream = feed.URL
	s.startGateways()
	agent := s.acme()
	s.ready()
	token := s.mint(agent)
	c := s.through(s.gateways[0], agent)
	ended := make(chan error, 1)
	go func() {
		status, answer, err := c.reads(t.Context(), token)
		if err == nil {
			err = fmt.Errorf("%d %s", status, answer)
		}
		ended <- err
	}()
	select {
	case <-began:
	case err := <-ended:
		require.NoError(t, err, "the stream did not begin")
	}
	started := time.Now()
	require.NoError(t, agent.Revoke(t.Context(), token.Access))
	within := func(what string, done <-chan struct{}) {
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			require.Fail(t, "the stream was not cut", what)
		}
	}
	within("at the upstream", left)
	select {
	case err := <-ended:
		require.Error(t, err, "half an answer is not taken for a whole one")
	case <-time.After(5 * time.Second):
		require.Fail(t, "the stream was not cut", "at the agent")
	}
	t.Logf("cut %v after the revocation began", time.Since(started))
}
