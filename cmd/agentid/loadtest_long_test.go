//go:build long

package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSoakAtHalfLoad: an hour of the mixture; neither memory nor goroutines grow.
func TestSoakAtHalfLoad(t *testing.T) {
	r := soak(t, 200, time.Hour)
	require.Empty(t, r.Faults)
	memory := r.Points[0].Memory
	third := len(memory) / 3
	most := 0
	for _, m := range memory[third : 2*third] {
		most = max(most, m.Goroutines)
	}
	for _, m := range memory[2*third:] {
		require.LessOrEqual(t, m.Goroutines, 2*most+50, "at %.0f s", m.Seconds)
	}
}
