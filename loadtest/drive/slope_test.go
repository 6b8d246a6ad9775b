package drive

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func memoryOf(size func(second float64) float64) *Point {
	p := &Point{}
	for i := range 120 {
		s := float64(i * 30)
		p.Memory = append(p.Memory, Memory{Seconds: s, Resident: int64(size(s)), Goroutines: 100})
	}
	return p
}

func TestALeakIsTold(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	noise := func() float64 { return r.NormFloat64() * 2e6 }
	resident, goroutines, ok := memoryOf(func(s float64) float64 { return 100e6 + s*1e4 + noise() }).Slopes()
	require.True(t, ok)
	require.InDelta(t, 36e6, resident.PerHour, 10e6, "10 kB a second")
	require.Positive(t, resident.Sure())
	require.Zero(t, goroutines.PerHour)
	require.InDelta(t, 0.5, resident.Hours, 0.02)
}

func TestWhatFillsCachesAndWhatWaversIsNoLeak(t *testing.T) {
	filling, _, ok := memoryOf(func(s float64) float64 { return 100e6 + min(s, 1200)*1e5 }).Slopes()
	require.True(t, ok)
	require.Zero(t, filling.PerHour, "it stands still in the second half")
	sure := 0
	for seed := range uint64(100) { // a heap that wanders about one size
		r, at := rand.New(rand.NewPCG(seed, 3)), 0.0
		wavering, _, _ := memoryOf(func(float64) float64 { at = 0.7*at + r.NormFloat64()*3e6; return 200e6 + at }).Slopes()
		if wavering.Sure() > 0 {
			sure++
		}
	}
	require.LessOrEqual(t, sure, 3)
}

func TestTooFewSamplesHaveNoSlope(t *testing.T) {
	p := memoryOf(func(float64) float64 { return 1 })
	p.Memory = p.Memory[:2*enough-2]
	_, _, ok := p.Slopes()
	require.False(t, ok)
}
