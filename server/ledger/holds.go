package ledger

import (
	"context"
	"sync"

	"github.com/agentid-dev/agentid/internal/wire"
)

// holds is what this process knows of its reservations in flight: who waits on which
// hold key, and how many holds each was told of. The ledger's rows are the truth.
type holds struct {
	mu      sync.Mutex
	flights map[string]flight        // by reservation id
	waiting map[string]chan struct{} // by hold key; closed when a hold on it resolves
}

type flight struct {
	seq     int64
	holdKey string
	ahead   int // how many unresolved earlier holds it was last told of
	request string
}

func newHolds() *holds {
	return &holds{flights: map[string]flight{}, waiting: map[string]chan struct{}{}}
}

func (h *holds) add(id string, f flight) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.flights[id] = f
}

// resolved ends a reservation and wakes those who wait on its hold key.
func (h *holds) resolved(id, holdKey string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.flights, id)
	if c, ok := h.waiting[holdKey]; ok {
		close(c)
		delete(h.waiting, holdKey)
	}
}

// ended ends a reservation whose hold stands on.
func (h *holds) ended(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.flights, id)
}

// wait gives the flight and a channel that closes at the next change on its key.
func (h *holds) wait(id string) (flight, <-chan struct{}, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f, ok := h.flights[id]
	if !ok {
		return flight{}, nil, false
	}
	c, have := h.waiting[f.holdKey]
	if !have {
		c = make(chan struct{})
		h.waiting[f.holdKey] = c
	}
	return f, c, true
}

// request is the audit request of a reservation in flight.
func (h *holds) request(id string) (string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f, ok := h.flights[id]
	return f.request, ok
}

func (h *holds) told(id string, ahead int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f, ok := h.flights[id]; ok {
		f.ahead = ahead
		h.flights[id] = f
	}
}

// Await implements wire.Effects. Earlier holds only ever resolve, so fewer of them than
// the caller was told of means news; those that resolved between Reserve and Await
// count as news too.
func (l *Ledger) Await(ctx context.Context, id string) ([]wire.Ahead, error) {
	for {
		f, changed, ok := l.holds.wait(id) // before the read: nothing is missed
		if !ok {
			return nil, errReservationUnknown
		}
		ahead, err := readAhead(ctx, l.reader(), f.holdKey, f.seq)
		if err != nil {
			return nil, err
		}
		if len(ahead) < f.ahead || len(ahead) == 0 {
			l.holds.told(id, len(ahead))
			return ahead, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}
