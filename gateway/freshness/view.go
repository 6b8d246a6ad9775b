package freshness

import (
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/boottime"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/revision"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Config makes a View. Every field has a default.
type Config struct {
	Now func() time.Time // time.Now; says when a revoked token's denial can be forgotten
	// BootTime is a clock that runs during sleep and is never set: CLOCK_BOOTTIME.
	BootTime func() time.Duration
	// Settings reads connectors and keys again, before EventSettings is acknowledged; nil:
	// nothing is to be read. Its error makes the subscriber begin again.
	Settings func() error
	// Order compares zookies; revision.New() by default.
	Order *revision.Order
}

// ColdAge is how long a decision that was made without trust may be used: no longer than
// a revoke waits for a gateway that it does not hear from.
const ColdAge = 2 * time.Second

// standing is the lease of a View in the broker's own process.
const standing = math.MaxInt64

// slots is how many generations there are; a power of two. Two refs on one slot only
// make more answers stale than need be.
const slots = 1 << 16

// slot counts the changes of the refs that fall on it, and the denials that stand on them.
type slot struct {
	changes atomic.Uint64
	denials atomic.Int64
}

// View is one gateway's knowledge. It is safe for concurrent use; events come one at a time.
type View struct {
	cfg  Config
	seed maphash.Seed

	slots *[slots]slot
	era   atomic.Uint64 // moves with everything
	lease atomic.Int64  // boottime until which the View may be trusted; standing: always
	begun atomic.Bool   // a State is in force and no event is missing
	floor atomic.Pointer[Floor]
	heard atomic.Pointer[agentid.Zookie] // see Applied

	denied   denied
	register register

	mu  sync.Mutex // of Apply, Reset and Drop
	seq uint64
}

var (
	_ wire.Subscriber  = (*View)(nil)
	_ policy.Freshness = (*View)(nil)
)

// Floor is below what no answer may be: the newest settled revocation.
type Floor struct {
	Zookie      agentid.Zookie
	Epoch       agentid.Epoch
	Incarnation string // of the ledger; tokens of another one are refused
}

// New makes a cold View.
func New(cfg Config) *View {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.BootTime == nil {
		cfg.BootTime = boottime.Now
	}
	if cfg.Order == nil {
		cfg.Order = revision.New()
	}
	v := &View{cfg: cfg, seed: maphash.MakeSeed(), slots: new([slots]slot)}
	v.denied.of = map[agentid.Ref]wire.Denial{}
	v.register.ops = map[*Operation]struct{}{}
	return v
}

// Standing says that there is no lease: the broker is in this process, and calls Apply
// before it goes on.
func (v *View) Standing() { v.lease.Store(standing) }

// Extend trusts what was heard until an instant of BootTime. It never shortens. The caller
// counts from when it sent the renewal, not from when it was granted.
func (v *View) Extend(until time.Duration) {
	for {
		have := v.lease.Load()
		if have >= int64(until) || v.lease.CompareAndSwap(have, int64(until)) {
			return
		}
	}
}

// Drop makes the View cold at once: the stream is broken, or lags. Reset and, with a
// lease, Extend make it warm again.
func (v *View) Drop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.drop()
}

func (v *View) drop() {
	v.begun.Store(false)
	if v.lease.Load() != standing {
		v.lease.Store(0)
	}
	v.era.Add(1)
}

// Warm reports whether the View may be trusted now.
func (v *View) Warm() bool {
	_, warm := v.trusted()
	return warm
}

// trusted gives the end of the trust, or that there is none.
func (v *View) trusted() (until time.Duration, warm bool) {
	lease := v.lease.Load()
	switch {
	case !v.begun.Load():
		return 0, false
	case lease == standing:
		return standing, true
	}
	return time.Duration(lease), v.cfg.BootTime() < time.Duration(lease)
}

// Floor is the newest settled revocation that was heard of; false before the first Reset.
func (v *View) Floor() (Floor, bool) {
	if f := v.floor.Load(); f != nil {
		return *f, true
	}
	return Floor{}, false
}

// Applied implements policy.Freshness.
func (v *View) Applied() agentid.Zookie {
	if z := v.heard.Load(); z != nil {
		return *z
	}
	return ""
}

// Rests implements policy.Freshness.
func (v *View) Rests(refs []agentid.Ref) policy.Rests {
	out := make(policy.Rests, len(refs))
	for i, ref := range refs {
		out[i] = v.slot(ref)
	}
	return out
}

func (v *View) slot(ref agentid.Ref) uint32 {
	return uint32(maphash.Comparable(v.seed, ref) % slots)
}

// Mark implements policy.Freshness.
func (v *View) Mark(on policy.Rests) policy.Mark {
	// Trust is looked at first: what is counted afterwards can only be newer.
	until, warm := v.trusted()
	if !warm {
		until = v.cfg.BootTime() + ColdAge
	}
	return policy.Mark{Sum: v.sum(on), Warm: warm, Until: until}
}

// sum adds counters that only grow: it is the same again only if none of them moved.
func (v *View) sum(on policy.Rests) uint64 {
	sum := v.era.Load()
	for _, i := range on {
		sum += v.slots[i%slots].changes.Load()
	}
	return sum
}

// Moved implements policy.Freshness.
func (v *View) Moved(on policy.Rests, m policy.Mark) bool {
	if m.Warm && !v.begun.Load() || v.sum(on) != m.Sum {
		return true
	}
	return m.Until != standing && v.cfg.BootTime() >= m.Until
}

// Denied implements policy.Freshness.
func (v *View) Denied(on policy.Rests, refs []agentid.Ref) (agentid.Ref, bool) {
	if len(on) != len(refs) {
		on = v.Rests(refs)
	}
	for i, s := range on {
		if v.slots[s%slots].denials.Load() == 0 {
			continue
		}
		if _, ok := v.denied.get(refs[i]); ok {
			return refs[i], true
		}
	}
	return agentid.Ref{}, false
}
