package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// after is how many requests each gateway gets that start after the revocation returned.
const after = 3

// perAgent is how many trials one agent is for.
const perAgent = 40

// TestNothingIsAllowedAfterARevocationReturned: one broker, four gateways, each asked all
// the time with a token that works everywhere. The token, or its agent, is taken away. No
// request that starts after that call returned is allowed, at any gateway. The call's time
// is reported as a multiple of one durable write of the same run.
func TestNothingIsAllowedAfterARevocationReturned(t *testing.T) {
	s := newSplit(t, 4, nil)
	s.startGateways()
	agent := s.acme()
	s.ready()
	var callers []*caller
	writes := durableWrites(t, 100)
	var calls []time.Duration
	allowedBefore, refusedAfter := 0, 0
	for n := range splitTrials {
		if n%perAgent == 0 { // the broker bounds how often one agent may ask
			agent, callers = s.agent(fmt.Sprintf("trials-%d", n)), nil
			for _, g := range s.gateways {
				callers = append(callers, s.through(g, agent))
			}
		}
		token := s.mint(agent)
		tr := &trial{t: t, token: token, callers: callers}
		var taken time.Duration
		if n%4 == 3 {
			taken = tr.run(func() {
				s.admin(http.MethodPost, "/tenants/acme/agents/"+agent.Agent().Name()+"/freeze", map[string]string{"reason": "operator"}, nil)
			})
			s.admin(http.MethodPost, "/tenants/acme/agents/"+agent.Agent().Name()+"/unfreeze", map[string]string{"reason": "operator"}, nil)
		} else {
			taken = tr.run(func() { require.NoError(t, agent.Revoke(t.Context(), token.Access)) })
		}
		calls = append(calls, taken)
		allowedBefore += tr.before
		refusedAfter += tr.after
		if t.Failed() {
			t.Fatalf("in trial %d", n)
		}
	}
	require.Equal(t, splitTrials*len(callers)*after, refusedAfter)
	w := quantile(writes, 0.5)
	t.Logf("%d trials, 4 gateways: %d requests allowed before, %d started after, 0 allowed; a revocation takes p50 %v (%.1f durable writes), p99 %v (%.1f); one durable write takes %v",
		splitTrials, allowedBefore, refusedAfter, quantile(calls, 0.5), ratio(quantile(calls, 0.5), w), quantile(calls, 0.99), ratio(quantile(calls, 0.99), w), w)
}

// trial is one revocation under requests.
type trial struct {
	t       *testing.T
	token   client.Token
	callers []*caller
	rough   bool // a gateway may also be unavailable

	mu            sync.Mutex
	before, after int
	returned      time.Time
}

// run takes something away while requests run, and gives how long that took.
func (tr *trial) run(take func()) time.Duration {
	tr.t.Helper()
	var hammers, warm sync.WaitGroup
	done := make(chan struct{})
	for i, c := range tr.callers {
		warm.Add(1)
		hammers.Go(func() { tr.hammer(i, c, sync.OnceFunc(warm.Done), done) })
	}
	warm.Wait() // each gateway has allowed it
	began := time.Now()
	take()
	tr.returned = time.Now()
	close(done)
	hammers.Wait()
	return tr.returned.Sub(began)
}

// hammer asks one gateway all the time, and some times more after the call returned.
func (tr *trial) hammer(i int, c *caller, warm func(), done <-chan struct{}) {
	defer warm()
	deadline := time.Now().Add(30 * time.Second)
	allowed := false
	for n := 0; n < after; {
		over := false
		select {
		case <-done:
			over = true
			n++
		default:
		}
		status, answer, err := c.reads(tr.t.Context(), tr.token)
		if err != nil {
			tr.t.Errorf("gateway %d: %v", i, err)
			return
		}
		tr.count(i, over, status, answer)
		if status == http.StatusOK {
			allowed = true
			warm()
		}
		if !allowed && (!tr.rough && status != http.StatusOK || time.Now().After(deadline)) {
			tr.t.Errorf("gateway %d does not allow what is allowed: %d %s", i, status, answer)
			return
		}
	}
}

// count judges one answer. Until the call returned a request may be answered either way.
func (tr *trial) count(i int, over bool, status int, answer string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	refused := status == http.StatusUnauthorized || status == http.StatusForbidden || tr.rough && status == http.StatusServiceUnavailable
	switch {
	case over && !refused:
		tr.t.Errorf("gateway %d answered %d to a request that started after the revocation had returned: %s", i, status, answer)
	case over:
		tr.after++
	case status == http.StatusOK:
		tr.before++
	case !refused:
		tr.t.Errorf("gateway %d: %d %s", i, status, answer)
	}
}

// durableWrites measures single durable transactions, one after the other.
func durableWrites(t *testing.T, n int) []time.Duration {
	t.Helper()
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Config{Path: filepath.Join(t.TempDir(), "writes.db")})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	write := func(text string, args ...any) {
		require.NoError(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
			_, err := tx.Exec(t.Context(), text, args...)
			return err //nolint:wrapcheck // a test
		}))
	}
	write(`CREATE TABLE w (n INTEGER PRIMARY KEY, v TEXT)`)
	var out []time.Duration
	for i := range n {
		began := time.Now()
		write(`INSERT INTO w (v) VALUES (?)`, fmt.Sprint("row ", i))
		out = append(out, time.Since(began))
	}
	return out
}

func quantile(all []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
