package stages_test

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/capability/clientauth"
)

var update = flag.Bool("update", false, "write allocations.json anew")

const baseline = "allocations.json"

// slack is what a stage may allocate above its baseline: a tenth, and three for the work
// of goroutines beside it (group commit, connections) and differences between releases of Go.
func slack(allocations float64) float64 { return allocations*1.1 + 3 }

// TestAllocationsDoNotGrow is the one comparison of figures in every run of the tests.
func TestAllocationsDoNotGrow(t *testing.T) {
	w := newWorld(t)
	known := map[string]float64{}
	if !*update {
		data, err := os.ReadFile(baseline)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(data, &known))
	}
	measured := map[string]float64{}
	for _, s := range stages() {
		do := s.make(t, w)
		require.NoError(t, do(), s.name)
		var failed error
		const runs = 100
		n := testing.AllocsPerRun(runs, func() {
			if err := do(); err != nil {
				failed = err
			}
		})
		require.NoError(t, failed, s.name)
		measured[s.name] = n
		if *update {
			continue
		}
		most, ok := known[s.name]
		require.True(t, ok, "%s has no baseline: go test ./loadtest/stages -update", s.name)
		if n > slack(most) {
			t.Errorf("%s allocates %.0f times, and %.0f is what it may: make it lean again, or go test ./loadtest/stages -update and say why", s.name, n, most)
		}
	}
	if *update {
		data, err := json.MarshalIndent(measured, "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(baseline, append(data, '\n'), 0o644))
	}
}

// TestTheComparisonFires: a stage that allocates more than it may is told.
func TestTheComparisonFires(t *testing.T) {
	require.Greater(t, testing.AllocsPerRun(10, func() { grow(20) }), slack(5))
	require.LessOrEqual(t, testing.AllocsPerRun(10, func() { grow(5) }), slack(5))
}

var kept []*[64]byte

func grow(n int) {
	kept = make([]*[64]byte, 0, n)
	for range n {
		kept = append(kept, new([64]byte))
	}
}

func verifyAssertion(tb testing.TB, w *world, assertion string) func() error {
	private := jose.JSONWebKey{Key: w.agent.Key}
	public := private.Public()
	return func() error {
		_, err := clientauth.Verify(tb.Context(), assertion, clientauth.Expect{
			Issuer: issuer, Now: time.Now(),
			Keys: func(context.Context, string, string) (jose.JSONWebKey, error) {
				return public, nil
			},
		})
		return err
	}
}
