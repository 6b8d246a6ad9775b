package server_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server"
	"github.com/agentid-dev/agentid/server/fleet/hub"
)

// watcher is a gateway that remembers what it was told.
type watcher struct {
	mu      sync.Mutex
	denied  map[agentid.Ref]agentid.Epoch
	settled map[agentid.Ref]bool
	kinds   map[wire.EventKind]int
}

func (g *watcher) Apply(e wire.Event) (wire.Applied, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kinds[e.Kind]++
	for _, d := range e.Denials {
		g.denied[d.Target] = d.Epoch
	}
	if e.Kind == wire.EventSettled {
		for _, ref := range e.Raise {
			g.settled[ref] = true
		}
	}
	return wire.Applied{OnWire: 1, Requests: []string{"in-flight"}}, nil
}

func (g *watcher) Reset(s wire.State) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.denied, g.settled, g.kinds = map[agentid.Ref]agentid.Epoch{}, map[agentid.Ref]bool{}, map[wire.EventKind]int{}
	for _, d := range s.Denials {
		g.denied[d.Target] = d.Epoch
	}
	return nil
}

func (g *watcher) knows(ref agentid.Ref) (denied, settled bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, denied = g.denied[ref]
	return denied, g.settled[ref]
}

// Many at once, of many tokens and of the same one: each caller's gateway knows of the
// denial and of the settlement before the call returns, and each epoch is its own.
func TestRevocationsUnderLoad(t *testing.T) {
	w := newWorld(t)
	w.issueMany("load-", 200)
	g := &watcher{}
	_, err := w.broker.Hub().Subscribe("here", g, hub.Standing)
	require.NoError(t, err)
	var epochs sync.Map
	var group sync.WaitGroup
	for i := range 200 {
		group.Go(func() {
			ref := must(agentid.TokenRef("acme", fmt.Sprintf("load-%d", i/2*2))) // two callers each
			receipt, err := w.broker.Revoker().Revoke(t.Context(), ref, "load", "test")
			if err != nil {
				t.Error(err)
				return
			}
			if denied, settled := g.knows(ref); !denied || !settled {
				t.Errorf("%s was acknowledged before a gateway knew of it", ref)
			}
			if _, twice := epochs.LoadOrStore(receipt.Epoch, ref); twice {
				t.Errorf("epoch %d was given out twice", receipt.Epoch)
			}
			if receipt.Gateways != 1 || receipt.Acknowledged != 1 || receipt.OnWire == 0 {
				t.Errorf("receipt %+v", receipt)
			}
		})
	}
	group.Wait()
	require.Empty(t, must(w.ledger.OpenRevocations(t.Context())))
}

// A broker that starts again over open intents denies them before it serves anything.
func TestAnOpenIntentIsDeniedAfterARestart(t *testing.T) {
	graph := &faulty{}
	w := newWorld(t, func(c *server.Config) { graph.PermissionsServiceClient, c.Permissions = c.Permissions, graph })
	w.issueMany("open-", 1)
	ref := must(agentid.TokenRef("acme", "open-0"))
	graph.failWrite.Store(true)
	_, err := w.broker.Revoker().Revoke(t.Context(), ref, "lost", "test")
	require.Equal(t, "graph_unavailable", agentid.ReasonOf(err))

	again, err := server.NewHub(t.Context(), w.ledger, hub.Config{})
	require.NoError(t, err)
	g := &watcher{}
	_, err = again.Subscribe("here", g, hub.Standing)
	require.NoError(t, err)
	denied, _ := g.knows(ref)
	require.True(t, denied)

	graph.failWrite.Store(false)
	n, _, err := w.broker.Revoker().Sweep(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	after, err := server.NewHub(t.Context(), w.ledger, hub.Config{})
	require.NoError(t, err)
	require.Equal(t, ref, after.State().Denials[0].Target, "a revoked token is in the deny set until it has expired")
}
