package proc

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStatIsReadBehindAHostileName(t *testing.T) {
	s, err := parse("42 (a) b) c) S 1 40 40 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 7 0 100 1000 25 18446744073709551615")
	require.NoError(t, err)
	require.Equal(t, stat{pid: 42, group: 40, ticks: 200, threads: 7, pages: 25}, s)
	for _, bad := range []string{"", "42", "42 (a", "x (a) S 1 2 3", "42 (a) S 1 x 40 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 7 0 100 1000 25"} {
		_, err := parse(bad)
		require.Error(t, err, bad)
	}
}

func TestAGroupCountsItsChildren(t *testing.T) {
	const burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; "
	p, err := Start(t.Context(), Spec{Name: "burner", Command: []string{"sh", "-c", "( " + burn + "echo burnt; cat /dev/zero >/dev/null ) & wait"}, Ready: "burnt"})
	require.NoError(t, err)
	defer p.Stop()
	u, err := p.Usage()
	require.NoError(t, err)
	require.Positive(t, u.CPU)
	require.Positive(t, u.Resident)
	require.GreaterOrEqual(t, u.Threads, 2)
	sum, err := Sum(p)
	require.NoError(t, err)
	require.GreaterOrEqual(t, sum.CPU, u.CPU)
	p.Stop()
	_, err = p.Usage()
	require.Error(t, err, "nothing of the group is left alive")
	self, err := Self()
	require.NoError(t, err)
	require.Positive(t, self.Resident)
}

func TestStartsThatFail(t *testing.T) {
	_, err := Start(t.Context(), Spec{Name: "none"})
	require.Error(t, err)
	_, err = Start(t.Context(), Spec{Name: "none", Command: []string{"/does/not/exist"}})
	require.Error(t, err)
	_, err = Start(t.Context(), Spec{Name: "ended", Command: []string{"sh", "-c", "echo why; exit 3"}, Ready: "up"})
	require.ErrorContains(t, err, "why")
	_, err = Start(t.Context(), Spec{Name: "mute", Command: []string{"sleep", "60"}, Ready: "up", Wait: 50 * time.Millisecond})
	require.ErrorContains(t, err, "not ready in time")
	out, err := Output(t.Context(), "sh", "-c", "echo said; exit 1")
	require.ErrorContains(t, err, "said")
	require.Equal(t, "said", strings.TrimSpace(out))
}
