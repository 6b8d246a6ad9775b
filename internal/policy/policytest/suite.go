package policytest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
)

// Run holds a checker to everything that policy expects of it. start gives a fresh,
// empty graph; it cleans up by tb.Cleanup.
func Run(t *testing.T, start func(tb testing.TB) Graph) {
	t.Helper()
	g := start(t)
	t.Run("legs", func(t *testing.T) { runLegs(t, g) })
	t.Run("lineage", func(t *testing.T) { runLineage(t, g) })
	t.Run("caveats", func(t *testing.T) { runCaveats(t, g) })
	t.Run("stages", func(t *testing.T) { runStages(t, g) })
	t.Run("zookies", func(t *testing.T) { runZookies(t, g, start) })
	t.Run("faults", func(t *testing.T) { runFaults(t, g) })
}

// allow decides and wants a yes.
func allow(tb testing.TB, w *World, q policy.Question) policy.Allowed {
	tb.Helper()
	allowed, err := w.Decider(tb).Decide(tb.Context(), q)
	require.NoError(tb, err)
	require.True(tb, allowed.Valid())
	require.NotEmpty(tb, allowed.Zookie())
	return allowed
}

// refuse decides and wants a no of this kind and reason, and no Allowed.
func refuse(tb testing.TB, w *World, q policy.Question, kind agentid.Kind, reason string) {
	tb.Helper()
	refused(tb.Context(), tb, w.Decider(tb), q, kind, reason)
}

// forbidden wants a definite no.
func forbidden(tb testing.TB, w *World, q policy.Question, reason string) {
	tb.Helper()
	refuse(tb, w, q, agentid.KindForbidden, reason)
}

// fieldAtFault wants a no of this kind and reason, and tells the field that it names.
func fieldAtFault(tb testing.TB, w *World, q policy.Question, kind agentid.Kind, reason string) string {
	tb.Helper()
	refuse(tb, w, q, kind, reason)
	_, err := w.Decider(tb).Decide(tb.Context(), q)
	return agentid.AsError(err).Field
}

func refused(ctx context.Context, tb testing.TB, d *policy.Decider, q policy.Question, kind agentid.Kind, reason string) {
	tb.Helper()
	allowed, err := d.Decide(ctx, q)
	require.Error(tb, err)
	require.False(tb, allowed.Valid())
	e := agentid.AsError(err)
	require.Equal(tb, reason, e.Reason, "%v", err)
	require.Equal(tb, kind, e.Kind, "%v", err)
}

func leg(tb testing.TB, a policy.Allowed, name string) string {
	tb.Helper()
	for _, l := range a.Legs() {
		if l.Name == name {
			return l.Outcome
		}
	}
	tb.Fatalf("no leg %s", name)
	return ""
}
