package revocation_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/engine"
	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/internal/seal"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/fleet/hub"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/revocation"
)

// rig is a revoker over a real ledger and a real graph.
type rig struct {
	ledger  *ledger.Ledger
	engine  *engine.Engine
	hub     *hub.Hub
	witness *witness
	metrics *prometheus.Registry
	revoker *revocation.Revoker
}

// witness is a mark that can fail.
type witness struct {
	mu     sync.Mutex
	fail   error
	marked []agentid.Epoch
}

func (w *witness) Mark(epoch agentid.Epoch) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return w.fail
	}
	w.marked = append(w.marked, epoch)
	return nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newRig(t testing.TB, edit ...func(*hub.Config)) *rig {
	t.Helper()
	ctx, dir, logger := t.Context(), t.TempDir(), slog.New(slog.DiscardHandler)
	key, _, err := seal.FileOrNew(filepath.Join(dir, "seal.key"))
	require.NoError(t, err)
	r := &rig{witness: &witness{}, metrics: prometheus.NewRegistry()}
	r.ledger, err = ledger.Open(ctx, ledger.Config{Path: filepath.Join(dir, "ledger.db"), SealKey: key})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.ledger.Close()) })
	store, err := graphstore.Open(ctx, graphstore.Config{Path: filepath.Join(dir, "graph.db"), Logger: logger})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	r.engine, err = engine.Start(ctx, engine.Config{Datastore: store, Logger: logger})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.engine.Close()) })
	_, _, err = schema.Apply(ctx, r.engine.Schema())
	require.NoError(t, err)
	cfg := hub.Config{Newer: r.ledger.Newer}
	for _, e := range edit {
		e(&cfg)
	}
	r.hub, err = hub.New(cfg)
	require.NoError(t, err)
	r.revoker, err = revocation.NewRevoker(revocation.RevokerConfig{
		Ledger: r.ledger, Graph: r.engine.Permissions(), Hub: r.hub, Settled: func(context.Context) error { return nil },
		Witness: r.witness, Metrics: r.metrics,
	})
	require.NoError(t, err)
	return r
}

// issue records a live token.
func (r *rig) issue(t testing.TB, jti string) agentid.Ref {
	t.Helper()
	ref, agent, now := must(agentid.TokenRef("acme", jti)), must(agentid.AgentRef("acme", "ag")), time.Now()
	require.NoError(t, r.ledger.RecordIssue(t.Context(), ledger.Issue{
		Token: ledger.Token{
			Ref: ref, Agent: agent, Principal: must(agentid.PrincipalRef("acme", "alice")),
			Audience: "https://gw.example", Issued: now, Expires: now.Add(time.Minute),
		},
		Assertion: ledger.Assertion{Client: agent, ID: jti, Expires: now.Add(time.Minute)},
		Record:    auditlog.Record{Kind: auditlog.Issue, Phase: auditlog.Single, Request: jti, Decision: auditlog.Allow},
	}))
	return ref
}

// counted is the value of agentid_revocations_total for a token with this outcome.
func (r *rig) counted(t *testing.T, outcome string) float64 {
	t.Helper()
	families, err := r.metrics.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != "agentid_revocations_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "outcome" && l.GetValue() == outcome {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}

// An epoch that is not marked could be given out again after a restore: it is not
// acknowledged.
func TestARevocationIsNotAcknowledgedBeforeItsMark(t *testing.T) {
	r := newRig(t)
	ref := r.issue(t, "t1")
	r.witness.fail = errors.New("no space left")
	_, err := r.revoker.Revoke(t.Context(), ref, "leaked", "op")
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err))
	require.Equal(t, "witness_unavailable", agentid.ReasonOf(err))
	require.Len(t, must(r.ledger.OpenRevocations(t.Context())), 1)
	require.Equal(t, ref, r.hub.State().Denials[0].Target, "the denial stands")
	require.EqualValues(t, 1, r.counted(t, "open"))

	r.witness.fail = nil
	n, receipt, err := r.revoker.Sweep(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Contains(t, r.witness.marked, receipt.Epoch)
	receipt, err = r.revoker.Revoke(t.Context(), ref, "leaked", "op")
	require.NoError(t, err)
	require.Equal(t, revocation.InfoAlreadyRevoked, receipt.Information)
	require.EqualValues(t, 1, r.counted(t, "done"))
}

// The deny event comes before the edge is written, the settled one behind it, and both are
// applied before the call returns.
func TestTheOrderThatAGatewaySees(t *testing.T) {
	r := newRig(t)
	ref := r.issue(t, "t1")
	g := &order{t: t, rig: r, ref: ref}
	_, err := r.hub.Subscribe("here", g, hub.Standing)
	require.NoError(t, err)
	_, err = r.revoker.Revoke(t.Context(), ref, "leaked", "op")
	require.NoError(t, err)
	require.Equal(t, []string{"deny", "settled"}, g.seen)
}

type order struct {
	t    *testing.T
	rig  *rig
	ref  agentid.Ref
	seen []string
}

func (o *order) Apply(e wire.Event) (wire.Applied, error) {
	o.seen = append(o.seen, e.Kind.String())
	open := must(o.rig.ledger.OpenRevocations(context.Background()))
	switch e.Kind {
	case wire.EventDeny:
		require.Len(o.t, open, 1, "the intent is on disk")
		require.Equal(o.t, o.ref, e.Denials[0].Target)
		require.False(o.t, e.Denials[0].Until.IsZero())
	case wire.EventSettled:
		require.Empty(o.t, open, "settled in the ledger first")
		require.NotEmpty(o.t, e.Zookie)
		require.Empty(o.t, e.Lift, "a token is never lifted")
		require.Equal(o.t, []agentid.Ref{o.ref}, e.Raise)
	default:
	}
	return wire.Applied{}, nil
}

func (o *order) Reset(wire.State) error { return nil }

// Hundreds of intents that one change of the ledger began are one write, not hundreds.
func TestOpenIntentsAreSettledInBatches(t *testing.T) {
	r := newRig(t)
	var tokens []ledger.Token
	for i := range 600 {
		ref := must(agentid.TokenRef("acme", "t"+strconv.Itoa(i)))
		tokens = append(tokens, ledger.Token{Ref: ref, Agent: must(agentid.AgentRef("acme", "ag")), Expires: time.Now().Add(time.Minute)})
		_, err := r.ledger.BeginRevocation(t.Context(), ledger.Revocation{Target: ref, Agent: tokens[i].Agent, Reason: "x", Actor: "op", Expires: tokens[i].Expires})
		require.NoError(t, err)
	}
	n, receipt, err := r.revoker.Sweep(t.Context())
	require.NoError(t, err)
	require.Equal(t, len(tokens), n)
	require.NotEmpty(t, receipt.Zookie)
	require.Len(t, r.hub.State().Denials, len(tokens))
	require.Empty(t, must(r.ledger.OpenRevocations(t.Context())))
	require.LessOrEqual(t, len(r.witness.marked), 2)
}
