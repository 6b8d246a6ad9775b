package link

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	subscriptions prometheus.Counter
	lost          prometheus.Counter
	events        *prometheus.CounterVec
	renewals      *prometheus.CounterVec
	batches       prometheus.Histogram
	effects       prometheus.Histogram
}

// newMetrics registers with reg, if there is one.
func newMetrics(reg prometheus.Registerer, l *Link) (*metrics, error) {
	sizes := []float64{1, 2, 4, 8, 16, 32, 64, 128, 256}
	m := &metrics{
		subscriptions: prometheus.NewCounter(prometheus.CounterOpts{Name: "agentid_link_subscriptions_total", Help: "Times that the broker's events were subscribed to."}),
		lost:          prometheus.NewCounter(prometheus.CounterOpts{Name: "agentid_link_lost_total", Help: "Times that the stream broke or had a gap: all that was remembered was dropped."}),
		events:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: "agentid_link_events_total", Help: "Events applied, by kind."}, []string{"kind"}),
		renewals:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "agentid_link_renewals_total", Help: "Lease renewals, by outcome."}, []string{"outcome"}),
		batches:       prometheus.NewHistogram(prometheus.HistogramOpts{Name: "agentid_link_audit_batch_records", Help: "Audit records in one call.", Buckets: sizes}),
		effects:       prometheus.NewHistogram(prometheus.HistogramOpts{Name: "agentid_link_effects_batch_calls", Help: "Reservations and settlements in one call.", Buckets: sizes}),
	}
	if reg == nil {
		return m, nil
	}
	warm := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "agentid_link_warm", Help: "1 while the gateway holds a lease and trusts what it remembers."}, func() float64 {
		if l.view.Warm() {
			return 1
		}
		return 0
	})
	var all []error
	for _, c := range []prometheus.Collector{m.subscriptions, m.lost, m.events, m.renewals, m.batches, m.effects, warm} {
		all = append(all, reg.Register(c))
	}
	return m, errors.Join(all...)
}
