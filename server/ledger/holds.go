package ledger

import (
	"context"
	"database/sql"
	"slices"
	"sync"

	"github.com/agentid-dev/agentid/internal/wire"
)

// holds is what this process knows of its reservations: which holds stand, who waits on
// which hold key, and how many holds each was told of. The ledger's rows are the truth, and
// what stands here is never less than what stands in them: a hold is here before its
// transaction commits, and until the one that resolves it has. There is one writer, so no
// hold is made behind its back.
type holds struct {
	mu      sync.Mutex
	stands  map[string][]standing    // by hold key, oldest first; no empty list
	flights map[string]flight        // by reservation id
	waiting map[string]chan struct{} // by hold key; closed when a hold on it resolves
}

// standing is a hold that is not resolved.
type standing struct {
	seq    int64
	id     string
	amount int64
}

type flight struct {
	seq     int64
	holdKey string
	ahead   int // how many unresolved earlier holds it was last told of
	request string
	owner   bool // it is no retry
}

func newHolds() *holds {
	return &holds{stands: map[string][]standing{}, flights: map[string]flight{}, waiting: map[string]chan struct{}{}}
}

// loadHolds reads what stands. It is called once, before the first reservation.
func (l *Ledger) loadHolds(ctx context.Context) error {
	return rows(ctx, l.reader(), func(r *sql.Rows) error {
		var seq, amount int64
		var nonce []byte
		var key string
		if err := r.Scan(&seq, &nonce, &key, &amount); err != nil {
			return err
		}
		l.holds.stand(standing{seq: seq, id: reservationID(seq, nonce), amount: amount}, key)
		return nil
	}, `SELECT seq, nonce, hold_key, hold_amount FROM effects WHERE due IS NOT NULL AND stands = 1 AND hold_key <> '' ORDER BY seq`)
}

// stand adds a hold, the newest of its key, and gives those that stand before it. An
// empty key holds nothing.
func (h *holds) stand(s standing, holdKey string) []wire.Ahead {
	if holdKey == "" {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	ahead := before(h.stands[holdKey], s.seq)
	h.stands[holdKey] = append(h.stands[holdKey], s)
	return ahead
}

// before are the holds of a list that are older than seq.
func before(list []standing, seq int64) []wire.Ahead {
	var out []wire.Ahead
	for _, s := range list {
		if s.seq < seq {
			out = append(out, wire.Ahead{ID: s.id, Amount: s.amount})
		}
	}
	return out
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
	left := slices.DeleteFunc(h.stands[holdKey], func(s standing) bool { return s.id == id })
	if len(left) > 0 {
		h.stands[holdKey] = left
	} else {
		delete(h.stands, holdKey)
	}
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

// wait gives the flight, the holds that stand before it, and a channel that closes at the
// next change on its key.
func (h *holds) wait(id string) (flight, []wire.Ahead, <-chan struct{}, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f, ok := h.flights[id]
	if !ok {
		return flight{}, nil, nil, false
	}
	c, have := h.waiting[f.holdKey]
	if !have {
		c = make(chan struct{})
		h.waiting[f.holdKey] = c
	}
	return f, before(h.stands[f.holdKey], f.seq), c, true
}

// flight is a reservation in flight.
func (h *holds) flight(id string) (flight, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f, ok := h.flights[id]
	return f, ok
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
		f, ahead, changed, ok := l.holds.wait(id)
		if !ok {
			return nil, errReservationUnknown
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
