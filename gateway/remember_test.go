package gateway_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/gateway"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
)

// TestNewEnemy: taken away, then the resource changes, then it is used: never allowed,
// though the answer from before was remembered; and what is given back is allowed at once.
func TestNewEnemy(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant("", "payments:read_customer"))
	for range 20 {
		for _, edge := range w.readers() {
			require.Equal(t, 200, w.send(token, get("/v1/customers/cus_1")).status)
			require.Equal(t, 200, w.send(token, get("/v1/customers/cus_1")).status)
			w.Delete(t, edge)
			before := len(w.sent.of("GET"))
			a := w.send(token, get("/v1/customers/cus_1"))
			require.Equal(t, 403, a.status)
			require.Contains(t, []string{"policy_denied", "principal_denied"}, a.reason())
			require.Len(t, w.sent.of("GET"), before, "nothing went upstream")
			w.Touch(t, edge)
		}
	}
	require.Positive(t, w.decider.Stats().Hits)
}

// TestTheTokensZookieCounts: where the gateway has not heard of a change, a token of after
// it is decided by the graph as it is then; one of before it may be answered from memory.
func TestTheTokensZookieCounts(t *testing.T) {
	w := newWorld(t, options{})
	read := func(zookie agentid.Zookie) int {
		return w.send(w.token(func(c *capability.Claims) { c.Context.Zookie = zookie }, w.grant("", "payments:read_customer")), get("/v1/customers/cus_1")).status
	}
	before := w.Zookie
	require.Equal(t, 200, read(before))
	w.hub.Store(nil) // the gateway hears of nothing
	w.Delete(t, w.readers()[0])
	require.Equal(t, 200, read(before))
	require.Equal(t, 403, read(w.Zookie), "raising the zookie changes the answer")
}

// TestDuringAnOutageOfTheGraph: what is remembered is used while changes are heard of, and
// not any more when they are not.
func TestDuringAnOutageOfTheGraph(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant("", "payments:read_customer"))
	require.Equal(t, 200, w.send(token, get("/v1/customers/cus_1")).status)
	w.checker.down.Store(true)
	require.Equal(t, 200, w.send(token, get("/v1/customers/cus_1")).status)
	require.Equal(t, 503, w.send(w.token(nil, w.grant("", "payments:read_charge")), get("/v1/charges/ch_1")).status, "never asked before")
	w.view.Drop()
	a := w.send(token, get("/v1/customers/cus_1"))
	require.Equal(t, 503, a.status)
	require.Equal(t, policy.ReasonGraphUnavailable, a.reason())
	w.checker.down.Store(false)
	require.Equal(t, 200, w.send(token, get("/v1/customers/cus_1")).status)
}

// TestTheEndOfTheAgentEndsAnswers: its expiry is a relationship's, not an event.
func TestTheEndOfTheAgentEndsAnswers(t *testing.T) {
	w := newWorld(t, options{})
	ends := time.Now().Add(2 * time.Second)
	w.Expiry = ends
	w.Touch(t, w.Enabled(w.Agents[0]))
	token := w.token(nil, w.grant("", "payments:read_customer"))
	require.Equal(t, 200, w.send(token, get("/v1/customers/cus_1")).status)
	asked := w.decider.Stats().Hits
	require.Equal(t, 200, w.send(token, get("/v1/customers/cus_1")).status)
	require.Greater(t, w.decider.Stats().Hits, asked)
	<-time.After(time.Until(ends) + 10*time.Millisecond)
	a := w.send(token, get("/v1/customers/cus_1"))
	require.Equal(t, 403, a.status)
	require.Equal(t, "agent_not_live", a.reason())
}

// TestNewAmountsAreDecidedFromMemory: the tenant's limit is evaluated each time, the graph
// is not asked for it.
func TestNewAmountsAreDecidedFromMemory(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant(""))
	for i := range int64(3) {
		require.Equal(t, 200, w.send(token, w.refund("charge=ch_1&amount="+itoa(100+i), "k"+itoa(i))).status)
	}
	misses := w.decider.Stats().Misses
	for i := range int64(5) {
		require.Equal(t, 200, w.send(token, w.refund("charge=ch_1&amount="+itoa(200+i), "l"+itoa(i))).status)
	}
	require.Equal(t, misses, w.decider.Stats().Misses, "the graph was not asked")
	a := w.send(token, w.refund("charge=ch_1&amount=5001", "over"))
	require.Equal(t, 403, a.status, "above the tenant's limit")
	require.Equal(t, "policy_denied", a.reason())
}

// TestRememberedTokenIsRevoked: a token whose signature is remembered, and whose decisions
// are, is refused from the denial on, whether or not the graph says so yet.
func TestRememberedTokenIsRevoked(t *testing.T) {
	w := newWorld(t, options{})
	var id string
	token := w.token(func(c *capability.Claims) { id = c.ID }, w.grant("", "payments:read_customer"))
	for range 2 {
		require.Equal(t, 200, w.send(token, get("/v1/customers/cus_1")).status)
	}
	ref, err := agentid.TokenRef("acme", id)
	require.NoError(t, err)
	w.hub.Load().Publish(wire.Event{Kind: wire.EventDeny, Epoch: 1, Denials: []wire.Denial{{Target: ref, Epoch: 1, Until: time.Now().Add(time.Hour)}}})
	a := w.send(token, get("/v1/customers/cus_1"))
	require.Equal(t, 401, a.status)
	require.Equal(t, "token_revoked", a.reason())
	require.Equal(t, auditlog.Deny, w.last().Decision)
	require.Equal(t, id, w.last().Token)
}

// TestAGatewayThatHearsNothing remembers nothing, and is right.
func TestAGatewayThatHearsNothing(t *testing.T) {
	w := newWorld(t, options{deaf: true, config: func(c *gateway.Config) { c.View = nil }})
	token := w.token(nil, w.grant("", "payments:read_customer"))
	for range 2 {
		require.Equal(t, 200, w.send(token, get("/v1/customers/cus_1")).status)
	}
	require.Zero(t, w.decider.Stats().Hits)
	w.Delete(t, w.readers()[0])
	require.Equal(t, http.StatusForbidden, w.send(token, get("/v1/customers/cus_1")).status)
}
