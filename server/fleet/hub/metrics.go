package hub

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	published    *prometheus.CounterVec
	overflows    prometheus.Counter
	dropped      prometheus.Counter
	acknowledged prometheus.Counter
	waitedOut    prometheus.Counter
}

// newMetrics registers with reg, if there is one.
func newMetrics(reg prometheus.Registerer, h *Hub) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		published: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentid_fleet_events_total", Help: "Events published to gateways, by kind.",
		}, []string{"kind"}),
		overflows:    counter("agentid_fleet_queue_drops_total", "Gateways that were dropped because they lagged too far behind."),
		dropped:      counter("agentid_fleet_subscriptions_lost_total", "Gateways that lost their subscription, for any reason but their own leaving."),
		acknowledged: counter("agentid_fleet_acknowledged_total", "Acknowledgements that a revocation waited for and got."),
		waitedOut:    counter("agentid_fleet_waited_out_total", "Gateways whose lease a revocation waited out."),
	}
	if reg == nil {
		return m, nil
	}
	live := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "agentid_fleet_gateways", Help: "Gateways that are subscribed."}, func() float64 {
		h.mu.Lock()
		defer h.mu.Unlock()
		n := 0
		for s := range h.subs {
			if s.lease != Own {
				n++
			}
		}
		return float64(n)
	})
	for _, c := range []prometheus.Collector{m.published, m.overflows, m.dropped, m.acknowledged, m.waitedOut, live} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("hub: register metrics: %w", err)
		}
	}
	return m, nil
}
