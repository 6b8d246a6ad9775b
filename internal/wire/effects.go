package wire

import (
	"context"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
)

// Effects reserves before an effect and settles after it.
type Effects interface {
	// Reserve does in one transaction: bind the idempotency key, consume the use,
	// insert the hold, write the audit begin. Errors deny and leave nothing behind:
	// uses_exhausted (KindForbidden), idempotency_key_reused and
	// idempotency_in_progress (KindConflict), KindUnavailable.
	Reserve(ctx context.Context, r Reserve) (Reservation, error)
	// Await waits until one of the earlier holds on the same key resolves, or ctx
	// ends, and returns those that are still unresolved.
	Await(ctx context.Context, reservation string) ([]Ahead, error)
	// Settle ends a reservation and writes the audit finish. It may be repeated.
	Settle(ctx context.Context, s Settlement) error
}

// Reserve is the request of Effects.Reserve.
type Reserve struct {
	Token, Agent     agentid.Ref
	CapabilityDigest string // the use is counted by (Token, CapabilityDigest)
	UsesMax          int64  // 0: not counted
	IdempotencyKey   string // the client's; required
	RequestDigest    string // of the effective request; the key is bound to it
	HoldKey          string // "acme/stripe/charge/ch_1"; empty: no hold
	HoldAmount       int64  // minor units
	Record           auditlog.Record
	Deadline         time.Time // when an unknown outcome is known to the upstream, or never will be
}

// Reservation is the answer of Effects.Reserve.
type Reservation struct {
	ID          string
	Retry       bool   // this key and body were seen before: nothing was consumed; look at no fact
	UpstreamKey string // keyed hash of (tenant, agent, IdempotencyKey), for the upstream
	Ahead       []Ahead
}

// Ahead is an earlier hold on the same key whose outcome is not known yet.
type Ahead struct {
	ID     string
	Amount int64
}

// Outcome is how an effect ended. The zero value is refused.
type Outcome int

// The outcomes.
const (
	Done     Outcome = iota + 1 // the upstream did it
	Released                    // the upstream certainly did nothing: hold and use are given back
	Unknown                     // not known: the hold stays until its deadline
)

// Settlement is the request of Effects.Settle.
type Settlement struct {
	ID      string
	Outcome Outcome
	Record  auditlog.Record
}
