package hub

import (
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/wire"
)

// kept is the state that events leave behind, for whoever subscribes next.
type kept struct {
	epoch       agentid.Epoch
	floor       agentid.Zookie
	incarnation string
	denials     map[agentid.Ref]wire.Denial
	pruned      time.Time
}

// pruneEvery bounds how long a denial that has run out is kept.
const pruneEvery = time.Minute

func (k *kept) begin(s wire.State) {
	*k = kept{epoch: s.Epoch, floor: s.Floor, incarnation: s.Incarnation, denials: make(map[agentid.Ref]wire.Denial, len(s.Denials))}
	for _, d := range s.Denials {
		k.deny(d)
	}
}

// deny keeps the denial of the highest epoch: the same target may be taken away twice at
// once, and the first to settle must not lift the second.
func (k *kept) deny(d wire.Denial) {
	if old, ok := k.denials[d.Target]; ok && old.Epoch > d.Epoch {
		d.Epoch = old.Epoch
	}
	k.denials[d.Target] = d
	k.epoch = max(k.epoch, d.Epoch)
}

// apply takes e in. An error means that its zookie cannot be compared: the later floor is
// not known, and e's is taken.
func (k *kept) apply(e wire.Event, newer func(a, b agentid.Zookie) (bool, error), now time.Time) error {
	k.epoch = max(k.epoch, e.Epoch)
	for _, d := range e.Denials {
		k.deny(d)
	}
	for _, ref := range e.Lift {
		if d, ok := k.denials[ref]; ok && d.Epoch <= e.Epoch {
			delete(k.denials, ref)
		}
	}
	k.prune(now)
	if e.Zookie == "" || e.Zookie == k.floor {
		return nil
	}
	if k.floor == "" {
		k.floor = e.Zookie
		return nil
	}
	later, err := newer(e.Zookie, k.floor)
	if err != nil || later {
		k.floor = e.Zookie
	}
	return err
}

func (k *kept) prune(now time.Time) {
	if now.Sub(k.pruned) < pruneEvery && now.After(k.pruned) {
		return
	}
	k.pruned = now
	for ref, d := range k.denials {
		if !d.Until.IsZero() && now.After(d.Until) {
			delete(k.denials, ref)
		}
	}
}

func (k *kept) state(now time.Time) wire.State {
	out := wire.State{Epoch: k.epoch, Floor: k.floor, Incarnation: k.incarnation, Denials: make([]wire.Denial, 0, len(k.denials))}
	for _, d := range k.denials {
		if d.Until.IsZero() || !now.After(d.Until) {
			out.Denials = append(out.Denials, d)
		}
	}
	return out
}
