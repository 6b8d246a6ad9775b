package admin_test

import (
	"errors"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/fleet/hub"
)

// slow is a gateway behind a stream, which acknowledges when it is let.
type slow struct {
	mu      sync.Mutex
	kinds   []wire.EventKind
	arrived chan struct{}
	let     chan struct{}
}

func (s *slow) Apply(e wire.Event) (wire.Applied, error) {
	s.mu.Lock()
	s.kinds = append(s.kinds, e.Kind)
	s.mu.Unlock()
	s.arrived <- struct{}{}
	<-s.let
	return wire.Applied{}, nil
}

func (s *slow) Reset(wire.State) error { return nil }

// What takes away by policy or by a setting is acknowledged once every gateway acts on it;
// what only adds is not held up by one.
func TestChangesThatTakeAwayWaitForEveryGateway(t *testing.T) {
	r := newRig(t)
	status, _ := r.apply(false, r.acme()...)
	require.Equal(t, http.StatusOK, status)
	grant := "/tenants/acme/grants?resource=payments_account:acme/stripe&relation=refunder&subject=principal:acme/alice"
	for _, c := range []struct {
		name  string
		waits bool
		call  func() int
	}{
		{"a grant is added", false, func() int {
			s, _ := r.apply(false, doc{"kind": "grant", "resource": "payments_account:acme/stripe", "relation": "reader", "subject": "principal:acme/alice"})
			return s
		}},
		{"a bar is added", true, func() int {
			s, _ := r.apply(false, doc{"kind": "grant", "resource": "payments_customer:acme/cus_9", "relation": "barred_refunder", "subject": "agent:*"})
			return s
		}},
		{"a grant is removed", true, func() int { s, _ := r.call(http.MethodDelete, grant, nil); return s }},
		{"another credential", true, func() int {
			s, _ := r.call(http.MethodPut, "/tenants/acme/connectors/stripe/credential", doc{"credential": "sk_test_2"})
			return s
		}},
		{"a template is deleted", true, func() int {
			s, _ := r.call(http.MethodDelete, "/tenants/acme/templates/refund-customer", nil)
			return s
		}},
		{"another signing key", true, func() int { s, _ := r.call(http.MethodPost, "/keys", doc{"alg": "ES256"}); return s }},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := &slow{arrived: make(chan struct{}, 100), let: make(chan struct{})}
			sub, err := r.hub.Subscribe("far", g, hub.Leased)
			require.NoError(t, err)
			t.Cleanup(sub.Release)
			_, err = sub.Renew()
			require.NoError(t, err)
			r.hub.Publish(wire.Event{Kind: wire.EventChanged}) // what the graph's hook would announce
			<-g.arrived
			done := make(chan int, 1)
			go func() { done <- c.call() }()
			if !c.waits {
				require.Less(t, <-done, 300)
				close(g.let)
				return
			}
			select {
			case status := <-done:
				require.Fail(t, "it did not wait", "status %d", status)
			case <-r.flushing:
			}
			close(g.let)
			require.Less(t, <-done, 300)
		})
	}
}

// A gateway in this process that can be told nothing fails the change: made, and not
// acknowledged.
func TestAChangeThatAGatewayCannotBeToldIsNotAcknowledged(t *testing.T) {
	r := newRig(t)
	status, _ := r.apply(false, r.acme()...)
	require.Equal(t, http.StatusOK, status)
	_, err := r.hub.Subscribe("here", &deaf{}, hub.Standing)
	require.NoError(t, err)
	status, out := r.revoke(doc{"target": "agent:acme/ag-1"})
	require.Equal(t, http.StatusServiceUnavailable, status, out)
	require.Equal(t, "fleet_unavailable", out["reason"])
	require.False(t, r.live("ag-1"))
}

var errDeaf = errors.New("it hears nothing")

type deaf struct{ begun bool }

func (d *deaf) Apply(wire.Event) (wire.Applied, error) { return wire.Applied{}, errDeaf }

func (d *deaf) Reset(wire.State) error {
	if d.begun {
		return errDeaf
	}
	d.begun = true
	return nil
}
