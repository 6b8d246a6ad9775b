// Package hub brings what was taken away, and every change of the graph, to all
// gateways, and knows when all of them act on it.
//
// It owns the numbering of events, the queue of each subscriber, what a subscriber
// begins with, and the broker's side of the leases: a gateway that does not acknowledge
// is waited out, because it has stopped trusting what it remembers by itself. What an
// event does at a gateway is gateway/freshness's; why one is published is
// server/revocation's. It holds no transport.
package hub

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/boottime"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Defaults of Config.
const (
	DefaultLease = 2 * time.Second
	DefaultDrift = 200 * time.Millisecond
	DefaultQueue = 4096
)

// Config configures New. Newer is required.
type Config struct {
	// Start is what the ledger knew at the start: epoch, floor, incarnation, and every
	// denial that stands. Seq is not used.
	Start wire.State
	// Newer says whether zookie a is later than b. An error: they cannot be compared.
	Newer func(a, b agentid.Zookie) (bool, error)
	// Lease is how long a gateway may trust what it remembers after it asked.
	Lease time.Duration // default: DefaultLease
	// Drift is how much longer the broker waits: the gateway's clock may be slower.
	Drift time.Duration // default: DefaultDrift
	// Queue is how many events a subscriber may lag behind before it is dropped.
	Queue int // default: DefaultQueue
	// Remote: gateways run apart from this process, so one may hold a lease that an
	// earlier life of the broker gave it. It is waited out like any other.
	Remote bool
	// Ahead is called when a gateway knows of a revocation that the ledger does not: the
	// ledger was restored from an older backup. It may be nil.
	Ahead    func(incarnation string, epoch agentid.Epoch)
	BootTime func() time.Duration // default: boottime.Now
	Now      func() time.Time     // default: time.Now
	Metrics  prometheus.Registerer
	Logger   *slog.Logger
}

// Hub publishes events to subscribers. It is safe for concurrent use.
type Hub struct {
	cfg     Config
	metrics *metrics

	mu    sync.Mutex
	seq   uint64
	state kept
	subs  map[*Subscription]struct{}
	gone  []departed
	moved chan struct{} // closed at each departure
}

// departed is a subscriber that left and may hold its lease still.
type departed struct {
	name  string
	until time.Duration // boot time after which it trusts nothing, margin included
}

// New checks cfg.
func New(cfg Config) (*Hub, error) {
	if cfg.Newer == nil {
		return nil, errors.New("hub: newer is required")
	}
	if cfg.Lease < 0 || cfg.Drift < 0 || cfg.Queue < 0 {
		return nil, errors.New("hub: lease, drift and queue are not negative")
	}
	if cfg.Lease == 0 {
		cfg.Lease = DefaultLease
	}
	if cfg.Drift == 0 {
		cfg.Drift = DefaultDrift
	}
	if cfg.Queue == 0 {
		cfg.Queue = DefaultQueue
	}
	if cfg.BootTime == nil {
		cfg.BootTime = boottime.Now
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Hub{cfg: cfg, subs: map[*Subscription]struct{}{}, moved: make(chan struct{})}
	h.state.begin(cfg.Start)
	if cfg.Remote {
		h.gone = append(h.gone, departed{"an earlier life", cfg.BootTime() + cfg.Lease + cfg.Drift})
	}
	var err error
	h.metrics, err = newMetrics(cfg.Metrics, h)
	return h, err
}

// Publish numbers e and gives it to every subscriber. To a standing one it is applied
// when Publish returns; for the others it is queued, so that no caller is ever held up by
// a gateway. The ticket need not be waited for.
func (h *Hub) Publish(e wire.Event) *Ticket {
	t := h.publish(e)
	for _, s := range t.subs { // without the lock, which each of them takes to acknowledge
		s.wake()
	}
	return t
}

func (h *Hub) publish(e wire.Event) *Ticket {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq++
	e.Seq = h.seq
	if err := h.state.apply(e, h.cfg.Newer, h.cfg.Now()); err != nil {
		h.cfg.Logger.Error("the floor of the fleet could not be raised", "zookie", string(e.Zookie), "error", err)
	}
	h.metrics.published.WithLabelValues(e.Kind.String()).Inc()
	now := h.cfg.BootTime()
	t := h.ticket(now)
	for s := range h.subs {
		s.publish(e, now, t)
	}
	return t
}

// Flush waits until every subscriber acts on all that was published so far.
func (h *Hub) Flush(ctx context.Context) (Outcome, error) {
	h.mu.Lock()
	t := h.ticket(h.cfg.BootTime())
	for _, s := range t.subs {
		if n := len(s.pending); n > 0 {
			s.pending[n-1].flushes = append(s.pending[n-1].flushes, t)
			t.open++
		}
	}
	h.mu.Unlock()
	return t.Wait(ctx)
}

// Begin starts anew: after a restore, with another incarnation. Every subscriber loses
// what it remembers and subscribes again.
func (h *Hub) Begin(start wire.State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state.begin(start)
	for s := range h.subs {
		if s.lease.here() {
			s.broken = s.to.Reset(h.snapshot())
			continue
		}
		h.drop(s, errRestarted)
	}
}

// State is what a subscriber would begin with now.
func (h *Hub) State() wire.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.snapshot()
}

// Seen is told what a gateway knew last, before it subscribes. KindConflict
// "broker_restored": it knows of a revocation that this ledger does not.
func (h *Hub) Seen(incarnation string, epoch agentid.Epoch) error {
	h.mu.Lock()
	behind := incarnation == h.state.incarnation && epoch > h.state.epoch
	h.mu.Unlock()
	if !behind {
		return nil
	}
	if h.cfg.Ahead != nil {
		h.cfg.Ahead(incarnation, epoch)
	}
	return agentid.Errorf(agentid.KindConflict, "broker_restored", "the broker was restored from an older backup: subscribe again")
}

// snapshot is what a subscriber begins with. The caller holds h.mu.
func (h *Hub) snapshot() wire.State {
	s := h.state.state(h.cfg.Now())
	s.Seq = h.seq
	return s
}

// wake tells whoever waits to look again. The caller holds h.mu.
func (h *Hub) wake() {
	close(h.moved)
	h.moved = make(chan struct{})
}
