package freshness

import (
	"sync"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/wire"
)

// denied is what is being taken away, and every revoked token that has not expired.
type denied struct {
	mu      sync.RWMutex
	of      map[agentid.Ref]wire.Denial
	sweepAt int // how many there are when those that have passed are looked for
}

const leastSweep = 1024

func (d *denied) get(ref agentid.Ref) (wire.Denial, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	found, ok := d.of[ref]
	return found, ok
}

// Denial gives the denial of one ref that stands now.
func (v *View) Denial(ref agentid.Ref) (wire.Denial, bool) { return v.denied.get(ref) }

// Denials is how many denials stand.
func (v *View) Denials() int {
	v.denied.mu.RLock()
	defer v.denied.mu.RUnlock()
	return len(v.denied.of)
}

// deny puts denials in force. One of a newer epoch stays.
func (v *View) deny(list []wire.Denial) {
	v.denied.mu.Lock()
	defer v.denied.mu.Unlock()
	for _, one := range list {
		have, ok := v.denied.of[one.Target]
		switch {
		case one.Target.IsZero() || ok && have.Epoch > one.Epoch:
			continue
		case !ok:
			v.slots[v.slot(one.Target)].denials.Add(1)
		}
		v.denied.of[one.Target] = one
	}
	if len(v.denied.of) >= max(leastSweep, v.denied.sweepAt) {
		v.sweep(v.cfg.Now())
		v.denied.sweepAt = 2 * len(v.denied.of)
	}
}

// lift takes away the denials that the graph upholds since an epoch; a token's stays.
func (v *View) lift(refs []agentid.Ref, epoch agentid.Epoch) {
	v.denied.mu.Lock()
	defer v.denied.mu.Unlock()
	for _, ref := range refs {
		if have, ok := v.denied.of[ref]; ok && ref.Type() != agentid.TypeToken && have.Epoch <= epoch {
			v.forget(ref)
		}
	}
}

// forget is called with the lock held.
func (v *View) forget(ref agentid.Ref) {
	delete(v.denied.of, ref)
	v.slots[v.slot(ref)].denials.Add(-1)
}

// sweep is called with the lock held.
func (v *View) sweep(now time.Time) {
	for ref, one := range v.denied.of {
		if !one.Until.IsZero() && now.After(one.Until) {
			v.forget(ref)
		}
	}
}

// clear forgets all of it.
func (v *View) clear() {
	v.denied.mu.Lock()
	defer v.denied.mu.Unlock()
	for ref := range v.denied.of {
		v.forget(ref)
	}
}
