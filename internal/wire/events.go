package wire

import (
	"time"

	"github.com/agentid-dev/agentid"
)

// EventKind says what a gateway has to do. The zero kind is invalid: a gateway that
// meets it, or one that it does not know, drops what it remembers and begins again.
type EventKind int

// The kinds of events.
const (
	// EventDeny: something is being taken away. Its Denials stand from the moment that
	// the event is applied; operations under way that rest on them are cancelled.
	EventDeny EventKind = iota + 1
	// EventSettled: the graph says so now, at Zookie. Generations move, the floor is
	// raised, and only then the denials in Lift give way to the graph.
	EventSettled
	// EventChanged: the graph was written at Zookie. Generations move.
	EventChanged
	// EventSettings: connectors, credentials or token keys changed: they are read again
	// before the event is acknowledged.
	EventSettings
)

// String is "deny", "settled", "changed", "settings" or "none".
func (k EventKind) String() string {
	switch k {
	case EventDeny:
		return "deny"
	case EventSettled:
		return "settled"
	case EventChanged:
		return "changed"
	case EventSettings:
		return "settings"
	default:
		return "none"
	}
}

// MarshalText implements encoding.TextMarshaler.
func (k EventKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler: any other text than String's is the
// zero kind, which loses the subscriber.
func (k *EventKind) UnmarshalText(text []byte) error {
	*k = 0
	for _, known := range []EventKind{EventDeny, EventSettled, EventChanged, EventSettings} {
		if known.String() == string(text) {
			*k = known
		}
	}
	return nil
}

// Denial is one thing that is taken away: a token, an agent (with its subtree), a
// principal, a tenant, an agent type or a connector.
type Denial struct {
	Target agentid.Ref   `json:"target"`
	Epoch  agentid.Epoch `json:"epoch"`
	// Until is when it can be forgotten: a token's expiry with skew and margin. Zero:
	// not before it is lifted.
	Until time.Time `json:"until,omitzero"`
}

// Event is one step of what a gateway must know. The events of one subscription are
// numbered without a gap; applying one twice is harmless.
type Event struct {
	Seq   uint64        `json:"seq"`
	Kind  EventKind     `json:"kind"`
	Epoch agentid.Epoch `json:"epoch,omitempty"` // of the revocation; 0 when nothing was taken away by intent

	Denials []Denial      `json:"denials,omitempty"` // EventDeny
	Lift    []agentid.Ref `json:"lift,omitempty"`    // EventSettled: what the graph upholds from here on; a token is never lifted, nor a denial of a higher epoch than the event's

	// Raise are the refs whose generation moves: an agent's or a token's own, or a
	// tenant's, which everything else in it depends on. All: every generation moves.
	Raise  []agentid.Ref  `json:"raise,omitempty"`
	All    bool           `json:"all,omitempty"`
	Zookie agentid.Zookie `json:"zookie,omitempty"` // no answer may be older from here on
}

// State is what a gateway begins with, and begins again with after a gap.
type State struct {
	Seq         uint64         `json:"seq"` // of the last event that is contained
	Epoch       agentid.Epoch  `json:"epoch"`
	Floor       agentid.Zookie `json:"floor,omitempty"`
	Incarnation string         `json:"incarnation"`
	Denials     []Denial       `json:"denials,omitempty"` // open intents, and revoked tokens that have not expired
}

// Applied is what an event did at one gateway to operations under way.
type Applied struct {
	Cancelled int `json:"cancelled"` // given up before anything that cannot be taken back had gone out
	OnWire    int `json:"on_wire"`   // had gone upstream: they end as the upstream ends them
	// Requests are the ids of those on the wire, at most MaxOnWire.
	Requests []string `json:"requests,omitempty"`
}

// MaxOnWire bounds the request ids that one Applied names.
const MaxOnWire = 100

// Subscriber is a gateway as the broker sees it. Apply returns when the event is in
// force for every request that starts afterwards; an error means that the subscriber
// is lost and begins again with a State. Reset puts State in force: every remembered
// answer is dropped first. Events come one at a time, in order.
type Subscriber interface {
	Apply(e Event) (Applied, error)
	Reset(s State) error
}
