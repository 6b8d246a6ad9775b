package ledger_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/ledger/ledgertest"
)

// TestAClockThatIsPutForwardReleasesNoHold: the deadline of an effect is time that passes.
func TestAClockThatIsPutForwardReleasesNoHold(t *testing.T) {
	clock, boot := ledgertest.NewClock(), time.Hour
	pass := func(d time.Duration) { clock.Add(d); boot += d }
	l, err := ledger.Open(t.Context(), ledger.Config{
		Path: filepath.Join(t.TempDir(), "ledger.db"), SealKey: newKey(t), Now: clock.Now, BootTime: func() time.Duration { return boot }, SweepEvery: -1,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	ledgertest.Populate(t, l, "acme")
	sweep := func() int {
		n, err := l.Sweep(t.Context())
		require.NoError(t, err)
		return n
	}
	require.Zero(t, sweep())
	_, err = l.Reserve(t.Context(), ledgertest.Refund(t, clock, "r1")) // due in a minute
	require.NoError(t, err)
	pass(30 * time.Second)
	require.Zero(t, sweep())

	clock.Add(time.Hour) // put forward
	require.Zero(t, sweep(), "half a minute is left of it")
	pass(20 * time.Second)
	require.Zero(t, sweep())
	clock.Add(-2 * time.Hour) // and back
	require.Zero(t, sweep())
	clock.Add(time.Hour)
	require.Zero(t, sweep())
	pass(time.Minute)
	require.Zero(t, sweep(), "later than it was due, for the step back")
	pass(2 * time.Hour)
	require.Equal(t, 1, sweep())
}
