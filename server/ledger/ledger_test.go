package ledger_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/agentid-dev/agentid/internal/seal"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/ledger/ledgertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newKey(t testing.TB) *seal.Key {
	t.Helper()
	k, _, err := seal.Generate()
	require.NoError(t, err)
	return k
}

func openAt(t testing.TB, path string, key *seal.Key, clock *ledgertest.Clock) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), ledger.Config{Path: path, SealKey: key, Now: clock.Now, SweepEvery: -1})
	require.NoError(t, err)
	return l
}

func open(t testing.TB, clock *ledgertest.Clock) *ledger.Ledger {
	t.Helper()
	l := openAt(t, filepath.Join(t.TempDir(), "ledger.db"), newKey(t), clock)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

func TestLedger(t *testing.T) {
	ledgertest.Run(t, func(t testing.TB, clock *ledgertest.Clock) ledgertest.Ledger { return open(t, clock) })
}
