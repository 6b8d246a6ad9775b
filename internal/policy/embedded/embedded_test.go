package embedded_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/agentid-dev/agentid/internal/engine"
	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

func TestCheckerSuite(t *testing.T) { policytest.Run(t, start) }

// start runs an engine over a graphstore of its own.
func start(tb testing.TB) policytest.Graph {
	tb.Helper()
	e := startEngine(tb)
	return policytest.Graph{Checker: e.Checker(), Permissions: e.Permissions(), Schema: e.Schema()}
}

func startEngine(tb testing.TB) *engine.Engine {
	tb.Helper()
	store, err := graphstore.Open(tb.Context(), graphstore.Config{Path: filepath.Join(tb.TempDir(), "graph.db")})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, store.Close()) })
	e, err := engine.Start(tb.Context(), engine.Config{Datastore: store})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, e.Close()) })
	return e
}
