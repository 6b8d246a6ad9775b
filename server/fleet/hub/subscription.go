package hub

import (
	"errors"
	"sync"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Lease says how a subscriber is held to what it acknowledged. The zero Lease is refused.
type Lease int

// The leases.
const (
	// Leased: it is reached over a stream that may break, and renews. When it does not
	// answer, it is waited out.
	Leased Lease = iota + 1
	// Standing: a function call in this process. Events are applied in Publish, one at a
	// time: Apply must be quick, and must not call the hub.
	Standing
	// Own is Standing for what the broker itself remembers, where no gateway shares it: a
	// revocation relies on it as on any other, and it is not counted as a gateway.
	Own
)

// here reports whether events are applied in Publish.
func (l Lease) here() bool { return l == Standing || l == Own }

// Why a subscriber was dropped. It subscribes again.
var (
	errRestarted = errors.New("the broker began a new incarnation")
	errOverflow  = errors.New("the subscriber is too far behind")
	errSlow      = errors.New("the subscriber took longer than its lease to acknowledge")
	errClosed    = errors.New("the subscription was closed")
)

// Subscription is one gateway. Its methods are safe for concurrent use.
type Subscription struct {
	hub   *Hub
	name  string
	to    wire.Subscriber
	lease Lease
	stop  chan struct{} // closed when it is dropped
	once  sync.Once
	wakes chan struct{}
	inbox inbox

	// Guarded by hub.mu.
	acked   uint64
	pending []delivery    // published and not acknowledged, oldest first
	until   time.Duration // boot time until which it may trust what it remembers; 0: it holds no lease
	needs   uint64        // was waited out for this event: no lease before it is acknowledged
	dropped error
	broken  error // a standing subscriber that could be given neither an event nor a state
}

// inbox are the deliveries that its subscriber has not begun with, oldest first. It has a
// lock of its own: a thousand subscribers that come for theirs do not queue for the hub's.
type inbox struct {
	mu   sync.Mutex
	list []delivery
}

func (i *inbox) put(d delivery) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.list = append(i.list, d)
}

func (i *inbox) take() (delivery, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.list) == 0 {
		return delivery{}, false
	}
	first := i.list[0]
	if i.list = i.list[1:]; len(i.list) == 0 {
		i.list = nil // gives the array back
	}
	return first, true
}

type delivery struct {
	event   wire.Event
	at      time.Duration // boot time of its publication
	ticket  *Ticket
	flushes []*Ticket // wait for this event without being of it
}

// through tells whoever waits for this delivery that it need not be waited for any more.
// The caller holds hub.mu.
func (d *delivery) through() {
	d.ticket.through()
	for _, t := range d.flushes {
		t.through()
	}
}

// Subscribe gives s a State and from then on every event, without a gap. It returns when
// Reset has; an error is that of Reset. A leased subscriber holds no lease until it renews.
func (h *Hub) Subscribe(name string, s wire.Subscriber, lease Lease) (*Subscription, error) {
	if s == nil || name == "" || (lease != Leased && !lease.here()) {
		return nil, errors.New("hub: want a name, a subscriber and a lease")
	}
	sub := &Subscription{hub: h, name: name, to: s, lease: lease, stop: make(chan struct{}), wakes: make(chan struct{}, 1)}
	h.mu.Lock()
	begin := h.snapshot()
	sub.acked = begin.Seq
	if lease.here() { // under the lock: no event comes before its state
		defer h.mu.Unlock()
		if err := s.Reset(begin); err != nil {
			return nil, err
		}
		h.subs[sub] = struct{}{}
		return sub, nil
	}
	h.subs[sub] = struct{}{}
	h.mu.Unlock()
	if err := s.Reset(begin); err != nil {
		sub.leave(err, false)
		return nil, err
	}
	go sub.deliver()
	return sub, nil
}

// publish takes one event, at boot time now. The caller holds h.mu.
func (s *Subscription) publish(e wire.Event, now time.Duration, t *Ticket) {
	h := s.hub
	if s.lease.here() {
		s.apply(e, t)
		return
	}
	if len(s.pending) >= h.cfg.Queue {
		h.metrics.overflows.Inc()
		h.drop(s, errOverflow)
		return
	}
	d := delivery{event: e, at: now, ticket: t}
	s.pending = append(s.pending, d)
	s.inbox.put(d)
	t.open++
}

// wake tells the subscriber's goroutine to look into its inbox.
func (s *Subscription) wake() {
	select {
	case s.wakes <- struct{}{}:
	default:
	}
}

// apply gives a standing subscriber one event, or all state when it cannot take it. The
// caller holds h.mu.
func (s *Subscription) apply(e wire.Event, t *Ticket) {
	applied, err := s.to.Apply(e)
	if err == nil && s.broken == nil {
		t.add(applied)
		return
	}
	if s.broken = s.to.Reset(s.hub.snapshot()); s.broken != nil {
		s.hub.cfg.Logger.Error("a gateway in this process cannot be told what was taken away", "gateway", s.name, "error", errors.Join(err, s.broken))
	}
}

// deliver hands events over, one at a time, until the subscription ends.
func (s *Subscription) deliver() {
	for {
		next, ok := s.inbox.take()
		if !ok {
			select {
			case <-s.stop:
				return
			case <-s.wakes:
				continue
			}
		}
		select {
		case <-s.stop:
			return
		default:
		}
		applied, err := s.to.Apply(next.event)
		if err != nil {
			s.leave(err, false)
			return
		}
		s.ack(next, applied)
	}
}

func (s *Subscription) ack(d delivery, a wire.Applied) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.dropped != nil {
		return
	}
	d.ticket.add(a)
	s.acknowledge(d.event.Seq)
}

// acknowledge forgets what was pending up to seq. The caller holds h.mu.
func (s *Subscription) acknowledge(seq uint64) {
	if seq <= s.acked {
		return
	}
	s.acked = seq
	n := 0
	for n < len(s.pending) && s.pending[n].event.Seq <= seq {
		s.pending[n].through()
		n++
	}
	s.pending = s.pending[n:]
	if len(s.pending) == 0 {
		s.pending = nil // gives the array back
	}
}

// Renew extends the lease and says by how much, counted from when the gateway sent its
// request. The gateway counts on a clock that runs while it sleeps; the broker waits
// Drift longer. It is never longer than Lease after the oldest event that is not
// acknowledged was published, so that no revocation waits for more. Nothing is granted
// before an event is acknowledged that the subscriber was waited out for.
//
// KindConflict "subscription_dropped": subscribe again.
func (s *Subscription) Renew() (time.Duration, error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.dropped != nil {
		return 0, agentid.Errorf(agentid.KindConflict, "subscription_dropped", "the subscription ended: subscribe again").WithCause(s.dropped)
	}
	if s.lease.here() {
		return h.cfg.Lease, nil
	}
	now, granted := h.cfg.BootTime(), h.cfg.Lease
	if len(s.pending) > 0 {
		granted = min(granted, s.pending[0].at+h.cfg.Lease-now)
	}
	if granted <= 0 {
		h.drop(s, errSlow)
		return 0, agentid.Errorf(agentid.KindConflict, "subscription_dropped", "the subscription ended: subscribe again").WithCause(errSlow)
	}
	if s.acked < s.needs {
		return 0, nil
	}
	s.until = max(s.until, now+granted)
	return granted, nil
}

// Close ends the subscription. Its lease counts until it has run out.
func (s *Subscription) Close() { s.leave(errClosed, false) }

// Release ends the subscription of a gateway that said it trusts nothing any more: its
// lease is not waited for.
func (s *Subscription) Release() { s.leave(errClosed, true) }

// Done is closed when the subscription has ended, for whatever reason.
func (s *Subscription) Done() <-chan struct{} { return s.stop }

// Err is why the subscription ended; nil while it lasts.
func (s *Subscription) Err() error {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.dropped
}

func (s *Subscription) leave(why error, released bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if released {
		s.until = 0
	}
	s.hub.drop(s, why)
}

// drop ends a subscription. The caller holds h.mu.
func (h *Hub) drop(s *Subscription, why error) {
	if s.dropped != nil {
		return
	}
	s.dropped = why
	delete(h.subs, s)
	if s.until > 0 && s.until+h.cfg.Drift > h.cfg.BootTime() {
		h.gone = append(h.gone, departed{s.name, s.until + h.cfg.Drift})
	}
	for i := range s.pending {
		s.pending[i].through()
	}
	s.pending = nil
	s.once.Do(func() { close(s.stop) })
	if !errors.Is(why, errClosed) {
		h.metrics.dropped.Inc()
		h.cfg.Logger.Warn("a gateway lost its subscription", "gateway", s.name, "error", why)
	}
	h.wake()
}
