// Package api is the shape of the internal API between a broker and the gateways that
// run apart from it: paths, headers, bodies, how an error travels, and how an upstream
// credential is sealed to the one gateway that serves its connector.
//
// It owns what is written on the wire, and its version. The server side is
// server/internalapi, the client side gateway/link; the interfaces that both stand for
// are those of internal/wire.
package api

import (
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Version of the protocol. A gateway of another version is refused: the two sides of a
// revocation must mean the same by every event.
const Version = "2"

// The headers of every call; over gRPC they are metadata of the same names.
const (
	HeaderVersion     = "agentid-protocol"
	HeaderCluster     = "agentid-cluster"
	HeaderIncarnation = "agentid-incarnation" // absent on the calls that learn it: GET events, GET settings
	HeaderEpoch       = "agentid-epoch"       // GET events: the newest epoch that the gateway knows of that incarnation
)

// The paths.
const (
	PathEvents   = "/internal/v1/events"        // GET: NDJSON of Line, without an end
	PathRenew    = "/internal/v1/renew"         // POST Renew → Renewed
	PathLeave    = "/internal/v1/leave"         // POST Leave → nothing
	PathSettings = "/internal/v1/settings"      // GET → Settings
	PathEffects  = "/internal/v1/effects"       // POST Effects → Effected
	PathAwait    = "/internal/v1/effects/await" // POST Await → Awaited
	PathAudit    = "/internal/v1/audit"         // POST Batch → nothing
)

// Bounds of bodies and batches.
const (
	MaxRequest  = 4 << 20  // bytes of a request's body
	MaxResponse = 16 << 20 // bytes of a response's body, and of one line of the stream
	MaxBatch    = 256      // audit records of one batch
	MaxCalls    = 64       // calls in one Effects
)

// Timings that both sides count on.
const (
	// Beat is the longest silence on the stream; after three of them it is taken for broken.
	Beat = time.Second
	// AwaitFor is how long one call of Await waits at most; the client asks again.
	AwaitFor = 10 * time.Second
)

// Line is one line of the event stream. Exactly one field is set: Begin comes first and
// alone, then events and beats in any number.
type Line struct {
	Begin *Begin      `json:"begin,omitempty"`
	Event *wire.Event `json:"event,omitempty"`
	Beat  bool        `json:"beat,omitempty"`
}

// Begin is the state that a subscription begins with. The lease counts only from the
// first Renew.
type Begin struct {
	Subscription string     `json:"subscription"`
	State        wire.State `json:"state"`
}

// Renew acknowledges events and asks for the lease to go on. The gateway counts what is
// granted from the instant before it sent this, on a clock that runs during sleep.
type Renew struct {
	Subscription string `json:"subscription"`
	Acked        uint64 `json:"acked"` // every event up to this one is in force
	// Applied is what the events that were acknowledged since the last Renew did, by
	// their numbers.
	Applied map[uint64]wire.Applied `json:"applied,omitempty"`
}

// Renewed grants a lease.
type Renewed struct {
	Lease time.Duration `json:"lease"` // nanoseconds; 0: none, subscribe again
}

// Leave ends the subscription of a gateway that trusts nothing any more: no revocation
// waits for its lease.
type Leave struct {
	Subscription string `json:"subscription"`
}

// Settings are what one gateway needs to serve.
type Settings struct {
	Issuer     string             `json:"issuer"` // the broker's base URL
	Keys       jose.JSONWebKeySet `json:"keys"`
	Connectors []Connector        `json:"connectors"`
}

// Connector is a wire.Connector whose credential is sealed.
type Connector struct {
	Ref                  agentid.Ref   `json:"ref"`
	Kind                 string        `json:"kind"`
	Resource             string        `json:"resource"`
	Upstream             string        `json:"upstream"`
	AllowPrivateUpstream bool          `json:"allow_private_upstream,omitempty"`
	AllowBearer          bool          `json:"allow_bearer,omitempty"`
	StrictReadAudit      bool          `json:"strict_read_audit,omitempty"`
	IntrospectionOnly    bool          `json:"introspection_only,omitempty"`
	BearerLifetime       time.Duration `json:"bearer_lifetime,omitempty"` // nanoseconds
	Rates                wire.Rates    `json:"rates"`
	Sealed               string        `json:"sealed_credential,omitempty"` // JWE, see Seal
	Version              int64         `json:"version"`
}

// Effects are the calls of a moment. They have nothing to do with each other: each is done
// or refused by itself, in any order. One that is malformed refuses all, before any is done.
type Effects struct {
	Calls []Effect `json:"calls"` // 1 to MaxCalls
}

// Effect is one call; exactly one field is set.
type Effect struct {
	Reserve *wire.Reserve    `json:"reserve,omitempty"`
	Settle  *wire.Settlement `json:"settle,omitempty"`
}

// Effected answers Effects, call by call.
type Effected struct {
	Results []EffectResult `json:"results"`
}

// EffectResult is what became of one call: a Problem, the Reservation, or for a settlement
// neither.
type EffectResult struct {
	Problem     *Problem          `json:"problem,omitempty"`
	Reservation *wire.Reservation `json:"reservation,omitempty"`
}

// Await asks which holds ahead of a reservation stand.
type Await struct {
	ID string `json:"id"`
}

// Awaited answers Await. Again: nothing changed within AwaitFor.
type Awaited struct {
	Ahead []wire.Ahead `json:"ahead"`
	Again bool         `json:"again,omitempty"`
}

// Batch is audit records that are appended together, or not at all.
type Batch struct {
	Durable bool              `json:"durable"` // on disk at return; else within 10 ms
	Records []auditlog.Record `json:"records"` // 1 to MaxBatch
}
