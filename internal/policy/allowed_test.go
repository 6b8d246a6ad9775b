package policy_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
)

func TestZeroAllowedIsWorthNothing(t *testing.T) {
	var a policy.Allowed
	w := world()
	require.False(t, a.Valid())
	require.False(t, a.Covers("payments:refund", w.Customer))
	require.False(t, a.Covers("", agentid.Ref{}))
	require.Empty(t, a.Zookie())
	require.Empty(t, a.Legs())
	require.True(t, a.Deadline().IsZero())
	require.Equal(t, agentid.KindForbidden, agentid.KindOf(a.StillGood(time.Now())))
}

// TestAllowedAges: it is good up to its deadline, which counts from before the question.
func TestAllowedAges(t *testing.T) {
	start := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	d, err := policy.New(policy.Config{Checker: &yes{}, Now: func() time.Time { return start }, MaxAge: 2 * time.Second})
	require.NoError(t, err)
	w := world()
	a, err := d.Decide(t.Context(), w.Question())
	require.NoError(t, err)
	require.Equal(t, start.Add(2*time.Second), a.Deadline())
	require.NoError(t, a.StillGood(start))
	require.NoError(t, a.StillGood(start.Add(2*time.Second-1)))
	for name, now := range map[string]time.Time{
		"at the deadline":                 start.Add(2 * time.Second),
		"after a sleep":                   start.Add(8 * time.Hour),
		"the clock was put back":          start.Add(-time.Hour),
		"the clock was put back a little": start.Add(-time.Millisecond),
	} {
		err := a.StillGood(now)
		require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err), name)
		require.Equal(t, policy.ReasonDecisionExpired, agentid.ReasonOf(err), name)
	}
}

// TestWallClockCountsSleep: the monotonic clock stands still while a machine sleeps; the
// wall clock tells.
func TestWallClockCountsSleep(t *testing.T) {
	d, err := policy.New(policy.Config{Checker: &yes{}, MaxAge: time.Minute})
	require.NoError(t, err)
	w := world()
	a, err := d.Decide(t.Context(), w.Question())
	require.NoError(t, err)
	require.NoError(t, a.StillGood(time.Now()))
	require.Error(t, a.StillGood(time.Now().Round(0).Add(time.Hour)))
}

// TestLegsAreACopy: what a caller does to them does not reach the decision.
func TestLegsAreACopy(t *testing.T) {
	d, err := policy.New(policy.Config{Checker: &yes{}})
	require.NoError(t, err)
	w := world()
	a, err := d.Decide(t.Context(), w.Question())
	require.NoError(t, err)
	a.Legs()[0].Outcome = "forged"
	require.Equal(t, policy.OutcomeNo, a.Legs()[0].Outcome)
}
