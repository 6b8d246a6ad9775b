package freshness

import (
	"fmt"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Apply implements wire.Subscriber. A gap in the numbers, a kind that is not known and
// settings that cannot be read make the View cold and are errors: it begins again with
// Reset. An event that was applied before does nothing.
func (v *View) Apply(e wire.Event) (wire.Applied, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case !v.begun.Load():
		return wire.Applied{}, v.lost("an event before the first state, or after a gap")
	case e.Seq <= v.seq:
		return wire.Applied{}, nil
	case e.Seq != v.seq+1:
		return wire.Applied{}, v.lost(fmt.Sprintf("event %d came after event %d", e.Seq, v.seq))
	}
	var out wire.Applied
	switch e.Kind {
	case wire.EventDeny:
		// The denial stands before the generations move, and they move before what is
		// under way is looked through: who marked later sees the denial, who marked earlier
		// finds its mark moved, and who was past that is in the register.
		v.deny(e.Denials)
		for _, d := range e.Denials {
			v.raise(d.Target)
		}
		v.move(e)
		out = v.register.cancel(e.Denials)
	case wire.EventSettled:
		v.settle(e)
		v.move(e)
		v.lift(e.Lift, e.Epoch)
	case wire.EventChanged:
		v.move(e)
	case wire.EventSettings:
		if v.cfg.Settings != nil {
			if err := v.cfg.Settings(); err != nil {
				v.drop()
				return wire.Applied{}, agentid.Unavailable("settings_unavailable", err)
			}
		}
		v.move(e)
	default:
		return wire.Applied{}, v.lost("an event of kind " + e.Kind.String())
	}
	v.seq = e.Seq
	return out, nil
}

// lost makes the View cold.
func (v *View) lost(why string) error {
	v.drop()
	return agentid.Errorf(agentid.KindConflict, "stream_gap", "begin again with a state: %s", why)
}

// move counts the changes of an event, then says that they are counted.
func (v *View) move(e wire.Event) {
	if e.All {
		v.era.Add(1)
	}
	for _, ref := range e.Raise {
		v.upheld(ref)
		v.raise(ref)
	}
	v.hear(e.Zookie)
}

// tokenLife is longer than any token lives.
const tokenLife = 2 * time.Hour

// upheld puts a token into the deny set whose edge was written by another way than a
// revocation's: leg 0 is not asked of the graph while the set is trusted.
func (v *View) upheld(ref agentid.Ref) {
	if ref.Type() != agentid.TypeToken {
		return
	}
	if _, ok := v.denied.get(ref); !ok {
		v.deny([]wire.Denial{{Target: ref, Until: v.cfg.Now().Add(tokenLife)}})
	}
}

// raise moves the generation that answers on a ref rest on: an agent's or a token's own,
// or that of the tenant.
func (v *View) raise(ref agentid.Ref) {
	switch ref.Type() {
	case agentid.TypeAgent, agentid.TypeToken, agentid.TypeTenant:
		v.slots[v.slot(ref)].changes.Add(1)
	default:
		tenant, err := agentid.TenantRef(ref.Tenant())
		if err != nil {
			v.era.Add(1) // of no tenant: it could be anything
			return
		}
		v.slots[v.slot(tenant)].changes.Add(1)
	}
}

// hear raises Applied.
func (v *View) hear(z agentid.Zookie) {
	if z == "" {
		return
	}
	newest := v.cfg.Order.Newer(v.Applied(), z)
	v.heard.Store(&newest)
}

// settle raises the floor. Intents settle in any order: epoch and zookie are each the
// newest that was settled.
func (v *View) settle(e wire.Event) {
	f := *v.floor.Load()
	f.Epoch = max(f.Epoch, e.Epoch)
	if e.Zookie != "" {
		f.Zookie = v.cfg.Order.Newer(f.Zookie, e.Zookie)
	}
	v.floor.Store(&f)
}

// Reset implements wire.Subscriber. What is under way and rests on a denial of the state
// is cancelled, as the event that was missed would have done.
func (v *View) Reset(s wire.State) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s.Incarnation == "" {
		return agentid.Invalidf("incarnation", "must not be empty")
	}
	v.begun.Store(false)
	v.clear()
	v.deny(s.Denials)
	v.floor.Store(&Floor{Zookie: s.Floor, Epoch: s.Epoch, Incarnation: s.Incarnation})
	v.heard.Store(&s.Floor)
	v.era.Add(1)
	v.register.cancel(s.Denials)
	v.seq = s.Seq
	v.begun.Store(true)
	return nil
}
