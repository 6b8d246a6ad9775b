package sampler_test

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/gateway/sampler"
	"github.com/agentid-dev/agentid/internal/engine"
	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
	"github.com/agentid-dev/agentid/internal/wire"
)

// scene is a decider that remembers, over a real graph whose changes nobody tells it of.
type scene struct {
	t        *testing.T
	world    *policytest.World
	view     *freshness.View
	decider  *policy.Decider
	question policy.Question // with a zookie from before any change
	reg      *prometheus.Registry
	mu       sync.Mutex
	logs     bytes.Buffer
}

func (s *scene) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logs.Write(p)
}

func (s *scene) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logs.String()
}

func newScene(t *testing.T, grace time.Duration) *scene {
	t.Helper()
	store, err := graphstore.Open(t.Context(), graphstore.Config{Path: filepath.Join(t.TempDir(), "graph.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	e, err := engine.Start(t.Context(), engine.Config{Datastore: store})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	s := &scene{
		t: t, world: policytest.NewWorld(t, policytest.Graph{Checker: e.Checker(), Permissions: e.Permissions(), Schema: e.Schema()}, "acme", 1),
		view: freshness.New(freshness.Config{}), reg: prometheus.NewRegistry(),
	}
	s.question = s.world.Question()
	s.view.Standing()
	require.NoError(t, s.view.Reset(wire.State{Incarnation: "i1", Floor: s.world.Zookie}))
	samples, err := sampler.New(sampler.Config{PerSecond: 1000, Rest: -1, Grace: grace, Logger: slog.New(slog.NewTextHandler(s, nil)), Metrics: s.reg})
	require.NoError(t, err)
	s.decider, err = policy.New(policy.Config{Checker: e.Checker(), Fresh: s.view, Sample: samples.Offer})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { samples.Run(ctx, s.decider) })
	t.Cleanup(func() { cancel(); work.Wait() })
	return s
}

// remembered asks until one answer from memory was offered to the sampler.
func (s *scene) remembered() {
	s.t.Helper()
	for range policy.SampleEach + 1 {
		_, err := s.decider.Decide(s.t.Context(), s.question)
		require.NoError(s.t, err)
	}
}

func (s *scene) count(name, outcome string) float64 {
	s.t.Helper()
	families, err := s.reg.Gather()
	require.NoError(s.t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (outcome == "" || m.GetLabel()[0].GetValue() == outcome) {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func (s *scene) eventually(outcome string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.count("agentid_sampler_rechecks_total", outcome) > 0 }, 20*time.Second, 5*time.Millisecond, outcome)
}

// TestAWrongMemoryRaisesAnAlarm: an edge was removed and no event told of it, which must
// not happen.
func TestAWrongMemoryRaisesAnAlarm(t *testing.T) {
	s := newScene(t, 50*time.Millisecond)
	s.remembered()
	s.eventually("agrees")
	require.Zero(t, s.count("agentid_sampler_mismatches_total", ""))
	s.world.Delete(t, s.world.AgentGrant())
	s.remembered()
	s.eventually("mismatch")
	require.EqualValues(t, 1, s.count("agentid_sampler_mismatches_total", ""))
	require.Contains(t, s.logged(), "level=ERROR")
}

// TestNewsOnItsWayIsNoAlarm: the event comes within the grace.
func TestNewsOnItsWayIsNoAlarm(t *testing.T) {
	s := newScene(t, 500*time.Millisecond)
	s.remembered()
	s.eventually("agrees")
	s.world.Delete(t, s.world.AgentGrant())
	s.remembered()
	_, err := s.view.Apply(wire.Event{Seq: 1, Kind: wire.EventChanged, All: true, Zookie: s.world.Zookie})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return s.count("agentid_sampler_rechecks_total", "late")+s.count("agentid_sampler_rechecks_total", "agrees") > 1
	}, 20*time.Second, 5*time.Millisecond)
	require.Zero(t, s.count("agentid_sampler_mismatches_total", ""))
	require.NotContains(t, s.logged(), "level=ERROR")
}
