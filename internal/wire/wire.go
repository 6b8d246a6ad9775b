// Package wire is what the broker offers to a gateway: fleet settings, the effects
// of operations, and the audit log. In one process it is a function call; between
// processes the same interfaces are served over mutual TLS.
//
// It owns the shapes and what each error means. It holds no state and no transport.
package wire

import (
	"context"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
)

// Connector is one configured downstream API of one tenant, as a gateway needs it.
type Connector struct {
	Ref  agentid.Ref
	Kind string // "payments"
	// Resource is the audience of tokens for this connector and its public URL at the
	// gateway: scheme://host[:port].
	Resource             string
	Upstream             string // base URL of the API behind it
	AllowPrivateUpstream bool   // Upstream may resolve to a private or loopback address
	AllowBearer          bool   // tokens that are not bound to a key are taken
	StrictReadAudit      bool   // reads wait until their audit record is on disk
	IntrospectionOnly    bool   // the gateway forwards nothing for it
	BearerLifetime       time.Duration
	Rates                Rates
	Credential           agentid.Secret // what the upstream wants; zero when none is set
	Version              int64          // grows with every change of a setting or of the credential
}

// Rates are the connector's request limits. A zero field means the default.
type Rates struct {
	TokenPerMinute int `json:"token_per_minute,omitempty"`
	TokenBurst     int `json:"token_burst,omitempty"`
	AgentPerMinute int `json:"agent_per_minute,omitempty"`
	AgentBurst     int `json:"agent_burst,omitempty"`
}

// SameList reports whether two lists of a Fleet are one and the same: nothing changed
// between them. It does not look into them.
func SameList(a, b []Connector) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// Fleet gives a gateway its settings. Every error means: refuse, KindUnavailable
// when the broker cannot be asked.
type Fleet interface {
	// Connectors are all connectors that this gateway serves. It is answered from
	// memory and may be called per request. The list is shared: nobody changes it, and
	// the same one comes back until something changed.
	Connectors(ctx context.Context) ([]Connector, error)
	// Key is the public key of kid of an issuer; KindUnauthenticated "token_key" when
	// it is not published.
	Key(ctx context.Context, issuer, kid string) (jose.JSONWebKey, error)
	// Floor is the newest settled revocation: its zookie and epoch, and the ledger's
	// incarnation.
	Floor(ctx context.Context) (agentid.Zookie, agentid.Epoch, string, error)
}

// Effects reserves before and settles after an operation that has an effect or
// that is counted.
type Effects interface {
	// Reserve takes what the operation needs in one durable transaction: uses, hold,
	// idempotency key and the audit begin. Any error means that nothing was taken and
	// the operation is refused: KindConflict idempotency_key_reused (the key was used
	// for another request), idempotency_in_progress or idempotency_key_expired (it is too
	// old to be a retry and too young to be new); KindForbidden uses_exhausted;
	// KindInvalid for a malformed request; KindUnavailable when the ledger cannot write.
	Reserve(ctx context.Context, r Reserve) (Reservation, error)
	// Await waits until at least one of the holds that were Ahead of the reservation
	// has resolved since the last answer, and returns those that have not: empty when
	// none is left. The fact must be read after it returns. The context's error means
	// that the wait was too long; KindNotFound reservation_unknown that the
	// reservation is not in flight.
	Await(ctx context.Context, id string) ([]Ahead, error)
	// Settle records how it went together with the audit finish, durably. It may be
	// repeated. KindNotFound reservation_unknown means that there is no such
	// reservation; any other error that it is not known to be settled: the sweeper
	// resolves it at its deadline.
	Settle(ctx context.Context, s Settlement) error
}

// Audit appends single records. An error means the record is not in the log:
// refuse what it describes.
type Audit interface {
	Append(ctx context.Context, record auditlog.Record, d Durability) error
}

// Durability says when an append returns. The zero Durability is the strict one.
type Durability int

// The durabilities.
const (
	Durable Durability = iota // on disk at return
	Relaxed                   // handed to the operating system at return, on disk within 10 ms
)

// Reserve asks for one effect. Token and Agent are required and of one tenant.
type Reserve struct {
	Token agentid.Ref `json:"token"`
	Agent agentid.Ref `json:"agent"`
	// Uses are counted on the capability and on those that it was made from: all are
	// taken, or none. Empty: nothing is counted.
	Uses []Use `json:"uses,omitempty"`
	// IdempotencyKey is the client's own; empty: the request is not retried.
	IdempotencyKey string `json:"idempotency_key,omitempty"`
	// RequestDigest is over the effective request; required with an IdempotencyKey.
	RequestDigest string `json:"request_digest,omitempty"`
	// HoldKey names what the fact is about: "acme/stripe/charge/ch_1". It begins with
	// the tenant. Empty: no hold.
	HoldKey    string          `json:"hold_key,omitempty"`
	HoldAmount int64           `json:"hold_amount,omitempty"` // minor currency units, above 0 when there is a HoldKey
	Record     auditlog.Record `json:"record"`                // the audit begin; Request is required
	// Deadline is when an effect that was never settled has either happened or never
	// will: later than every timeout of the upstream.
	Deadline time.Time `json:"deadline"`
}

// Use is one count that an effect takes one from.
type Use struct {
	Token      agentid.Ref `json:"token"`      // holds the counted capability; of the agent's tenant
	Capability string      `json:"capability"` // its digest
	Max        int64       `json:"max"`        // how often it may be used in all; at least 1
}

// MaxUses bounds the counts that one effect is taken from: the capability's own and one
// for each token that it was made from.
const MaxUses = 64

// Reservation is what Reserve took. The zero Reservation has no ID and is not one.
type Reservation struct {
	ID string `json:"id"`
	// Retry: the same key and request were seen before. Nothing was consumed again,
	// and the fact is not to be checked: the upstream replays its own answer.
	Retry bool `json:"retry,omitempty"`
	// Unchecked, with Retry: the first attempt was cut off by a crash of the broker, so
	// nobody knows whether its fact was checked and whether it went out. An upstream
	// that bounds the effect by itself replays or refuses; for any other, check again.
	Unchecked bool `json:"unchecked,omitempty"`
	// UpstreamKey is the idempotency key to send upstream: a keyed hash of tenant,
	// agent and client key, 64 hex digits. Empty when the client gave none.
	UpstreamKey string  `json:"upstream_key,omitempty"`
	Ahead       []Ahead `json:"ahead,omitempty"` // earlier holds on the same key that are unresolved
}

// Ahead is an earlier, unresolved hold.
type Ahead struct {
	ID     string `json:"id"`
	Amount int64  `json:"amount"` // minor currency units
}

// Settlement ends one reservation.
type Settlement struct {
	ID      string          `json:"id"`
	Outcome Outcome         `json:"outcome"`
	Record  auditlog.Record `json:"record"` // the audit finish; its Request is that of the begin
}

// Outcome is how an effect went. The zero Outcome is invalid.
type Outcome int

// The outcomes.
const (
	// Done: the upstream did it, and its facts show it.
	Done Outcome = iota + 1
	// Released: the upstream certainly did nothing. Uses, hold and key are given back.
	Released
	// Unknown: it may have happened. The hold stays until its deadline.
	Unknown
)

// String is "done", "released", "unknown" or "none".
func (o Outcome) String() string {
	switch o {
	case Done:
		return "done"
	case Released:
		return "released"
	case Unknown:
		return "unknown"
	default:
		return "none"
	}
}

// MarshalText implements encoding.TextMarshaler.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler: any other text than String's is the
// zero Outcome, which is refused.
func (o *Outcome) UnmarshalText(text []byte) error {
	*o = 0
	for _, known := range []Outcome{Done, Released, Unknown} {
		if known.String() == string(text) {
			*o = known
		}
	}
	return nil
}
