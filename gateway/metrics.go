package gateway

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count outcomes by operation and reason, and time what the gateway adds. Label
// values are names of manifests and reason codes: both are bounded.
type metrics struct {
	requests *prometheus.CounterVec
	added    *prometheus.HistogramVec
	upstream *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	buckets := []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentid_gateway_requests_total", Help: "Requests by operation and outcome: allowed, or the reason of the refusal.",
		}, []string{"operation", "outcome"}),
		added: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "agentid_gateway_added_seconds", Help: "Time until the request goes upstream, with lookups.", Buckets: buckets,
		}, []string{"operation"}),
		upstream: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "agentid_gateway_upstream_seconds", Help: "Time until the upstream's header is there.", Buckets: buckets,
		}, []string{"operation"}),
	}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(m.requests), reg.Register(m.added), reg.Register(m.upstream))
}

func (m *metrics) done(operation, outcome string) {
	if operation == "" {
		operation = "none"
	}
	m.requests.WithLabelValues(operation, outcome).Inc()
}

func (m *metrics) forwarded(operation string, added, upstream time.Duration) {
	m.added.WithLabelValues(operation).Observe(added.Seconds())
	m.upstream.WithLabelValues(operation).Observe(upstream.Seconds())
}
