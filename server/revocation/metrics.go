package revocation

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentid-dev/agentid"
)

type metrics struct {
	total   *prometheus.CounterVec
	seconds prometheus.Histogram
}

// newMetrics registers with reg, if there is one.
func newMetrics(reg prometheus.Registerer, l Ledger) (*metrics, error) {
	m := &metrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentid_revocations_total", Help: "Revocations by the kind of target and outcome: done, open when it is to be replayed, refused when nothing was begun.",
		}, []string{"target", "outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "agentid_revocation_seconds", Help: "How long a revocation took until it was acknowledged.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
	}
	if reg == nil {
		return m, nil
	}
	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "agentid_revocations_open", Help: "Intents that are begun and not settled: denied, and replayed until they are."}, func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		open, err := l.OpenRevocations(ctx)
		if err != nil {
			return math.NaN()
		}
		return float64(len(open))
	})
	for _, c := range []prometheus.Collector{m.total, m.seconds, open} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("revocation: register metrics: %w", err)
		}
	}
	return m, nil
}

// Count counts a revocation that its caller carried out step by step.
func (r *Revoker) Count(target string, took time.Duration, err error) {
	r.metrics.done(target, took, err)
}

// done counts one revocation.
func (m *metrics) done(target string, took time.Duration, err error) {
	if err != nil {
		outcome := "refused"
		if k := agentid.KindOf(err); k == agentid.KindUnavailable || k == agentid.KindInternal {
			outcome = "open"
		}
		m.total.WithLabelValues(target, outcome).Inc()
		return
	}
	m.total.WithLabelValues(target, "done").Inc()
	m.seconds.Observe(took.Seconds())
}
