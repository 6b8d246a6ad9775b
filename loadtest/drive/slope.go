package drive

import (
	"math"
	"slices"
)

// Slope is how a size goes over time, by least squares over the second half of a step:
// the first half fills caches, and the heap finds its size.
type Slope struct {
	PerHour float64 `json:"per_hour"` // in the size's own unit
	// StdErr is the standard error of PerHour. Samples of a heap hang together, so it is
	// widened by what their residuals say about that.
	StdErr float64 `json:"std_err"`
	Level  float64 `json:"level"` // the median of the second half
	Hours  float64 `json:"hours"` // from its first sample to its last
}

// enough is the least number of samples that a slope is taken of.
const enough = 10

// slope is of sizes at seconds. It reports false for too few samples.
func slope(seconds, sizes []float64) (Slope, bool) {
	half := len(sizes) / 2
	x, y := seconds[half:], sizes[half:]
	if len(x) < enough || x[len(x)-1] <= x[0] {
		return Slope{}, false
	}
	n := float64(len(x))
	mx, my := mean(x), mean(y)
	var sxx, sxy float64
	for i := range x {
		sxx += (x[i] - mx) * (x[i] - mx)
		sxy += (x[i] - mx) * (y[i] - my)
	}
	b := sxy / sxx
	var sum, lagged float64
	previous := 0.0
	for i := range x {
		r := y[i] - my - b*(x[i]-mx)
		sum += r * r
		lagged += r * previous
		previous = r
	}
	wide := 1.0
	if sum > 0 {
		rho := min(max(lagged/sum, 0), 0.95) // of each residual with the one before it
		wide = math.Sqrt((1 + rho) / (1 - rho))
	}
	const hour = 3600
	sorted := slices.Sorted(slices.Values(y))
	return Slope{
		PerHour: b * hour, StdErr: wide * math.Sqrt(sum/(n-2)/sxx) * hour, Level: sorted[len(sorted)/2], Hours: (x[len(x)-1] - x[0]) / hour,
	}, true
}

func mean(all []float64) float64 {
	sum := 0.0
	for _, v := range all {
		sum += v
	}
	return sum / float64(len(all))
}

// Sure is the least growth per hour that is not chance: three standard errors below the
// slope that was found. Of a hundred steps that grow by nothing, none is expected above 0.
func (s Slope) Sure() float64 { return s.PerHour - 3*s.StdErr }

// Slopes of the server over one step.
func (p *Point) Slopes() (resident, goroutines Slope, ok bool) {
	seconds, bytes, count := make([]float64, len(p.Memory)), make([]float64, len(p.Memory)), make([]float64, len(p.Memory))
	for i, m := range p.Memory {
		seconds[i], bytes[i], count[i] = m.Seconds, float64(m.Resident), float64(m.Goroutines)
	}
	resident, ok = slope(seconds, bytes)
	goroutines, also := slope(seconds, count)
	return resident, goroutines, ok && also
}
