//go:build long

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// soakFor shortens or lengthens the soak: AGENTID_SOAK=10m.
const soakFor = "AGENTID_SOAK"

// TestSoakAtHalfLoad: an hour of the mixture; neither memory nor goroutines grow. Both are
// judged by the slope over the second half, by least squares. What is sure of it, three
// standard errors below it, may in an hour not come to more than 5 % of the size: a leak
// of 100 bytes for each of the 200 requests a second is 72 MB in an hour, three times that.
func TestSoakAtHalfLoad(t *testing.T) {
	step := time.Hour
	if text := os.Getenv(soakFor); text != "" {
		var err error
		step, err = time.ParseDuration(text)
		require.NoError(t, err, soakFor)
	}
	r := soak(t, 200, step)
	artifacts := filepath.Join("..", "..", "artifacts")
	require.NoError(t, os.MkdirAll(artifacts, 0o755))
	data, err := json.MarshalIndent(r, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(artifacts, "soak.json"), append(data, '\n'), 0o600))
	resident, goroutines, ok := r.Points[0].Slopes()
	require.True(t, ok, "the step is too short for a slope: %d samples", len(r.Points[0].Memory))
	const mega = 1e6
	t.Logf("resident: %.1f MB, %+.2f ± %.2f MB per hour; goroutines: %.0f, %+.1f ± %.1f per hour; over %.2f h",
		resident.Level/mega, resident.PerHour/mega, resident.StdErr/mega, goroutines.Level, goroutines.PerHour, goroutines.StdErr, resident.Hours)
	require.Empty(t, r.Faults)
	const most = 0.05
	require.Less(t, resident.Sure(), most*resident.Level, "the resident set grows")
	require.Less(t, goroutines.Sure(), most*goroutines.Level, "goroutines grow")
}
