package agents_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/server/agents"
	"github.com/agentid-dev/agentid/server/ledger"
)

func TestLimitsHoldUnderRacingSpawns(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(*world, actor)
		reason  string
	}{
		"fan-out by type":   {limitType("root", ledger.Limits{MaxChildren: 5}), "fan_out_exceeded"},
		"fan-out by tenant": {limitTenant(ledger.Limits{MaxChildren: 5}), "fan_out_exceeded"},
		"live by type":      {limitType("worker", ledger.Limits{MaxLive: 5}), "live_agents_exceeded"},
		"live by tenant":    {limitTenant(ledger.Limits{MaxLive: 6}), "live_agents_exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.mustStart("root", "root", "")
			tc.prepare(w, actor{})
			results := make(chan error, 40)
			var wg sync.WaitGroup
			for i := range cap(results) {
				wg.Go(func() {
					_, err := w.start(spec(fmt.Sprintf("kid-%d", i), "worker", "root"))
					results <- err
				})
			}
			wg.Wait()
			close(results)
			made := 0
			for err := range results {
				if err == nil {
					made++
					continue
				}
				w.refused(err, tc.reason)
			}
			require.Equal(t, 5, made)
		})
	}
}

// Depth cannot be raced past: a row's depth is that of its parent's row. The cap of 32
// holds whatever a type or tenant says.
func TestALineageIsNeverDeeperThanThirtyTwo(t *testing.T) {
	w := newWorld(t)
	limitTenant(ledger.Limits{MaxDepth: ledger.CapDepth})(w, actor{})
	_, _, err := w.ledger.PutTenant(t.Context(), ledger.Tenant{Ref: must(agentid.TenantRef("acme")), Limits: ledger.Limits{MaxDepth: ledger.CapDepth + 1}})
	w.refused(err, "invalid_request")
	parent := ""
	for i := range ledger.CapDepth + 1 {
		name := fmt.Sprintf("a%d", i)
		w.mustStart(name, "root", parent)
		parent = name
	}
	require.NoError(t, w.decide(agentRef(parent)))
	require.Equal(t, 7+ledger.CapDepth, w.edges(agentRef(parent)), "the closed lineage is in the graph")
	_, err = w.start(spec("deeper", "root", parent))
	w.refused(err, "lineage_too_deep")
	must(w.service.Freeze(t.Context(), operator, agentRef("a0"), "operator"))
	w.refused(w.decide(agentRef(parent)), "agent_not_live")
}

func TestASameKeyOrNameIsTakenOnceUnderRaces(t *testing.T) {
	w := newWorld(t)
	w.mustStart("root", "root", "")
	key := newPair()
	results := make(chan error, 20)
	var wg sync.WaitGroup
	for i := range cap(results) {
		wg.Go(func() {
			s := spec(fmt.Sprintf("kid-%d", i), "worker", "root")
			s.Key = key.public
			_, err := w.service.Spawn(context.Background(), operator, s)
			results <- err
		})
	}
	wg.Wait()
	close(results)
	made := 0
	for err := range results {
		if err == nil {
			made++
		} else {
			w.refused(err, "key_in_use")
		}
	}
	require.Equal(t, 1, made)
}

func TestAFreezeBetweenTheLedgerAndTheGraphStopsTheSpawn(t *testing.T) {
	for name, tc := range map[string]struct {
		act    func(w *world)
		reason string
	}{
		"frozen":  {func(w *world) { must(w.service.Freeze(context.Background(), operator, agentRef("root"), "operator")) }, "parent_frozen"},
		"retired": {func(w *world) { must(w.service.Retire(context.Background(), operator, agentRef("root"))) }, "parent_retired"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.mustStart("root", "root", "")
			act := func() { tc.act(w) }
			w.graph.before.Store(&act)
			_, err := w.start(spec("kid", "worker", "root"))
			w.refused(err, tc.reason)
			require.Zero(t, w.edges(agentRef("kid")))
			_, err = w.ledger.Agent(t.Context(), agentRef("kid"))
			if name == "frozen" {
				w.refused(err, "agent_unknown")
				require.Len(t, w.audited("agent.spawn", "parent_frozen"), 1)
			}
		})
	}
}

func TestAnOutageOfTheGraphLeavesASpawnThatIsResolved(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	limitTenant(ledger.Limits{MaxLive: 2})(w, actor{})
	w.mustStart("root", "root", "")
	key := newPair()
	s := spec("kid", "worker", "root")
	s.Key = key.public
	w.graph.fail.Store(true)
	_, err := w.service.Spawn(ctx, operator, s)
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err))
	_, err = w.service.Freeze(ctx, operator, agentRef("kid"), "operator")
	w.refused(err, "spawn_in_progress")
	w.graph.fail.Store(false)
	status, _ := w.ask(actor{agentRef("kid"), key}, http.MethodGet, "/agents/v1/self", nil)
	require.Equal(t, http.StatusUnauthorized, status, "nothing can use it")
	_, err = w.start(spec("other", "worker", "root"))
	w.refused(err, "live_agents_exceeded") // it holds its slot
	n := must(w.service.Recover(ctx))
	require.Zero(t, n, "it may be in flight still")
	w.shift.Add(int64(61 * time.Second))
	require.Equal(t, 1, must(w.service.Recover(ctx)))
	require.Len(t, w.audited("agent.recover", "spawn_given_up"), 1)
	_, err = w.service.Spawn(ctx, operator, s)
	require.NoError(t, err, "name, key and slot are free again")

	// The same call again completes what an outage left, without waiting.
	must(w.service.Retire(ctx, operator, agentRef("kid")))
	s.Name, s.Key = "kid2", newPair().public
	w.graph.fail.Store(true)
	_, err = w.service.Spawn(ctx, operator, s)
	require.Error(t, err)
	w.graph.fail.Store(false)
	_, err = w.service.Spawn(ctx, operator, s)
	require.NoError(t, err)
	require.NoError(t, w.decide(agentRef("kid2")))
}

func TestEndedAgentsAreReaped(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.mustStart("root", "root", "")
	w.mustStart("kid", "worker", "root")
	s := spec("short", "root", "")
	s.Expires = w.now().Add(time.Minute)
	_, err := w.start(s)
	require.NoError(t, err)
	w.mustStart("stays", "root", "")
	must(w.service.Retire(ctx, operator, agentRef("root")))
	require.Zero(t, must(w.service.Reap(ctx)))
	w.shift.Add(int64(agents.ReapAfter + 2*time.Minute))
	require.Equal(t, 3, must(w.service.Reap(ctx)))
	for _, name := range []string{"root", "kid", "short"} {
		require.Zero(t, w.edges(agentRef(name)), name)
		w.refused(w.decide(agentRef(name)), "agent_not_live")
	}
	require.NoError(t, w.decide(agentRef("stays")))
	require.Zero(t, must(w.service.Reap(ctx)))
	_, err = w.start(spec("root", "root", ""))
	w.refused(err, "agent_exists")
}
