package openloop

import hdr "github.com/HdrHistogram/hdrhistogram-go"

// Result is what one stretch of load came to.
type Result struct {
	Seconds  float64       `json:"seconds"` // from the first arrival to the last answer
	Sent     int64         `json:"sent"`
	Dropped  int64         `json:"dropped"` // arrivals that found no free sender
	Lateness Percentiles   `json:"lateness_us"`
	All      Op            `json:"all"`
	Ops      map[string]Op `json:"ops"`
}

// Op is one operation's figures.
type Op struct {
	Count   int64            `json:"count"`
	Failed  int64            `json:"failed"`
	Classes map[string]int64 `json:"classes"`
	Latency Percentiles      `json:"latency_us"` // from the intended send time
	Service Percentiles      `json:"service_us"` // from the actual send time
}

// Percentiles are a histogram in microseconds. Curve is for plots: pairs of percentile
// and value, denser towards the tail.
type Percentiles struct {
	Mean  float64      `json:"mean"`
	P50   int64        `json:"p50"`
	P90   int64        `json:"p90"`
	P99   int64        `json:"p99"`
	P999  int64        `json:"p999"`
	Max   int64        `json:"max"`
	Curve [][2]float64 `json:"curve,omitempty"`
}

// Throughput is answers per second.
func (r *Result) Throughput() float64 {
	if r.Seconds <= 0 {
		return 0
	}
	return float64(r.All.Count) / r.Seconds
}

// curvePoints are the percentiles of Percentiles.Curve.
var curvePoints = []float64{0, 10, 25, 50, 60, 70, 75, 80, 85, 90, 92.5, 95, 97.5, 98, 99, 99.5, 99.75, 99.9, 99.95, 99.99, 100}

func summarise(h *hdr.Histogram) Percentiles {
	if h.TotalCount() == 0 {
		return Percentiles{}
	}
	p := Percentiles{
		Mean: h.Mean(), P50: h.ValueAtQuantile(50), P90: h.ValueAtQuantile(90), P99: h.ValueAtQuantile(99),
		P999: h.ValueAtQuantile(99.9), Max: h.Max(),
	}
	for _, q := range curvePoints {
		p.Curve = append(p.Curve, [2]float64{q, float64(h.ValueAtQuantile(q))})
	}
	return p
}
