package gateway_test

import (
	"context"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/gateway"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/relations"
	"github.com/agentid-dev/agentid/server/revocation"
)

// taking is one kind of thing that is taken away, and what takes it and gives it back in
// the graph. A token has no edge here and is not given back.
type taking struct {
	target agentid.Ref
	edge   relate.Edge
}

// takings are all kinds but the token.
func (w *world) takings() map[string]taking {
	all := relate.All(schema.TypeAgent)
	return map[string]taking{
		"agent":     {w.Agents[0], w.Enabled(w.Agents[0])},
		"ancestor":  {w.Agents[len(w.Agents)-1], w.Enabled(w.Agents[len(w.Agents)-1])},
		"principal": {w.Alice, relate.Edge{Resource: w.Alice, Relation: schema.PrincipalEnabled, Subject: all}},
		"type":      {w.Type, relate.Edge{Resource: w.Type, Relation: schema.AgentTypeEnabled, Subject: all}},
		"tenant":    {w.Tenant, relate.Edge{Resource: w.Tenant, Relation: schema.TenantEnabled, Subject: all}},
		"connector": {policytest.Must(agentid.ConnectorRef("acme", "stripe")), relate.Edge{Resource: w.Account, Relation: schema.PaymentsEnabled, Subject: all}},
	}
}

// revoker is the broker's, over the world's ledger, graph and hub.
func (w *world) revoker() *revocation.Revoker {
	w.tb.Helper()
	r, err := revocation.NewRevoker(revocation.RevokerConfig{
		Ledger: w.ledger, Graph: w.engine.Permissions(), Hub: w.hub.Load(), Settled: func(context.Context) error { return nil },
	})
	require.NoError(w.tb, err)
	return r
}

// take takes one thing away and returns when it is over.
func (w *world) take(r *revocation.Revoker, t taking, expiry time.Time) revocation.Receipt {
	w.tb.Helper()
	var receipt revocation.Receipt
	var err error
	if t.target.Type() == agentid.TypeToken {
		receipt, err = r.Token(w.tb.Context(), revocation.Order{
			Token: t.target, Agent: w.Agents[0], Expires: expiry, Reason: "trial", Actor: "operator",
			Record: auditlog.Record{Request: "revoke"},
		})
	} else {
		receipt, err = r.Take(w.tb.Context(), revocation.Taking{
			Intent: ledger.Revocation{Target: t.target, Reason: "trial", Actor: "operator"},
			Edges: func(context.Context) (relations.Set, error) {
				return relations.Set{Unwanted: []relate.Edge{t.edge}}, nil
			},
		})
	}
	require.NoError(w.tb, err)
	return receipt
}

// hammer sends one read after another with the token of the trial.
type hammer struct {
	w       *world
	phase   atomic.Int64 // what is true now is its rest by phases
	token   atomic.Pointer[string]
	allowed atomic.Int64 // in this phase
	refused atomic.Int64 // in this phase
	wrong   atomic.Int64 // allowed though begun after the return
	strange atomic.Pointer[string]

	unavailable atomic.Int64
}

// The phases of a trial, in order.
const (
	given     = iota // nothing was taken away
	taken            // the call has returned
	returning        // it is being given back
	phases
)

func (h *hammer) run(stop <-chan struct{}) {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for {
		select {
		case <-stop:
			return
		default:
		}
		began, token := h.phase.Load(), *h.token.Load()
		req, err := http.NewRequest(http.MethodGet, h.w.base+"/v1/customers/cus_1", nil)
		if err != nil {
			return
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(req)
		if err != nil {
			continue // cut
		}
		_ = resp.Body.Close()
		same := h.phase.Load() == began && *h.token.Load() == token
		switch {
		case !same:
		case resp.StatusCode == http.StatusOK && began%phases == taken:
			h.wrong.Add(1)
		case began%phases == returning:
		case resp.StatusCode == http.StatusOK:
			h.allowed.Add(1)
		case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
			h.refused.Add(1)
		case resp.StatusCode == http.StatusServiceUnavailable: // an overloaded machine: refused, and not dressed as a no
			h.unavailable.Add(1)
		default:
			status := strconv.Itoa(resp.StatusCode)
			h.strange.Store(&status)
		}
	}
}

func (h *hammer) next(token string) {
	h.token.Store(&token)
	h.phase.Add(1)
	h.allowed.Store(0)
	h.refused.Store(0)
}

// until waits for so many answers.
func (h *hammer) until(t *testing.T, count *atomic.Int64, n int64, what string) {
	t.Helper()
	require.Eventually(t, func() bool { return count.Load() >= n }, time.Minute, 50*time.Microsecond, what)
}

// TestNothingIsAllowedAfterTheReturn takes away each kind of thing in turn while requests
// hammer on remembered decisions: none that began after the call returned is allowed, and
// what is given back is allowed again. It says what a call costs in durable writes.
func TestNothingIsAllowedAfterTheReturn(t *testing.T) {
	w := newWorld(t, options{
		depth: 2, upstream: http.HandlerFunc(plain),
		connector: func(c *wire.Connector) {
			c.AllowBearer, c.BearerLifetime = true, time.Hour
			c.Rates = wire.Rates{TokenPerMinute: 1e9, TokenBurst: 1e8, AgentPerMinute: 1e9, AgentBurst: 1e8}
		},
		config: func(c *gateway.Config) { c.TenantPerMinute, c.TenantBurst = 1e9, 1e8 },
	})
	w.forget()                                                      // the recorder keeps every request
	w.Expiry = time.Now().Add(24 * time.Hour).Truncate(time.Second) // the agents outlive the trials on a slow machine too
	for _, agent := range w.Agents {
		w.Touch(t, w.Enabled(agent))
	}
	revoker, takings := w.revoker(), w.takings()
	kinds := []string{"token", "agent", "ancestor", "principal", "type", "tenant", "connector"}
	var expiry time.Time
	mint := func() (string, agentid.Ref) {
		var id string
		token := w.token(func(c *capability.Claims) { c.Confirmation = capability.Confirmation{}; id, expiry = c.ID, c.Expiry }, w.grant("", "payments:read_customer"))
		return token, policytest.Must(agentid.TokenRef("acme", id))
	}
	h := &hammer{w: w}
	token, ref := mint()
	h.token.Store(&token)
	stop := make(chan struct{})
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() { h.run(stop) })
	}
	defer work.Wait()
	defer close(stop)

	write := durableWrite(t)
	var calls, writes []time.Duration
	for i := range trials {
		kind := kinds[i%len(kinds)]
		what := takings[kind]
		if kind == "token" {
			what = taking{target: ref}
		}
		h.until(t, &h.allowed, 3, "trial "+strconv.Itoa(i)+": "+kind+" is allowed")
		begun := time.Now()
		w.take(revoker, what, expiry)
		calls = append(calls, time.Since(begun))
		h.next(token)
		h.until(t, &h.refused, 3, "trial "+strconv.Itoa(i)+": "+kind+" is refused")
		require.Zero(t, h.wrong.Load(), "trial %d: %s", i, kind)
		h.next(token)
		if kind == "token" {
			token, ref = mint()
		} else {
			w.Touch(t, what.edge)
		}
		h.next(token)
		if i%8 == 0 {
			writes = append(writes, write())
		}
	}
	if strange := h.strange.Load(); strange != nil {
		t.Fatalf("an answer that is neither: %s", *strange)
	}
	stats := w.decider.Stats()
	require.Greater(t, stats.Hits, uint64(trials), "the memory was in use")
	one := percentile(writes, 50)
	t.Logf("%d trials; a call p50 %s, p99 %s: %.1f and %.1f durable writes of %s; %d decisions from memory, %d from the graph; %d answers 503",
		trials, percentile(calls, 50), percentile(calls, 99), ratio(calls, 50, one), ratio(calls, 99, one), one, stats.Hits, stats.Misses, h.unavailable.Load())
}

func ratio(all []time.Duration, p int, one time.Duration) float64 {
	return float64(percentile(slices.Clone(all), p)) / float64(one)
}

// durableWrite gives a function that makes one durable write of a row, in a file of its own
// on the same disk, and tells how long it took.
func durableWrite(t *testing.T) func() time.Duration {
	t.Helper()
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Config{Path: filepath.Join(t.TempDir(), "one.db")})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	require.NoError(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(t.Context(), "CREATE TABLE one (n INTEGER)")
		return err
	}))
	return func() time.Duration {
		begun := time.Now()
		require.NoError(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
			_, err := tx.Exec(t.Context(), "INSERT INTO one VALUES (1)")
			return err
		}))
		return time.Since(begun)
	}
}
