// Package auditlog is the append-only log of what was decided: the shape of a
// record, how text from outside is made harmless, the canonical bytes of a record,
// and how the log is written, queried and followed.
//
// It owns the audit tables and runs inside the ledger's transactions. It decides
// nothing, and no secret or body belongs into a record.
package auditlog

import (
	"time"

	"github.com/agentid-dev/agentid"
)

// Kind says what a record is about. The zero Kind is refused.
type Kind string

// The kinds.
const (
	Operation Kind = "operation" // one request at the gateway
	Issue     Kind = "issue"     // one token
	Revoke    Kind = "revoke"    // something was taken away, or given back
	Admin     Kind = "admin"     // a change of settings
	Authn     Kind = "authn"     // a caller was not who it said
)

// Phase is a record's place in its request. The zero Phase is refused.
type Phase string

// The phases. A begin without a finish is an open entry: an effect whose outcome
// the log does not know yet.
const (
	Begin  Phase = "begin"
	Finish Phase = "finish"
	Single Phase = "single"
)

// Decision is the answer that was given. The zero Decision is Deny.
type Decision int8

// The decisions.
const (
	Deny Decision = iota
	Allow
)

// String is "allow" or "deny".
func (d Decision) String() string {
	if d == Allow {
		return "allow"
	}
	return "deny"
}

// MarshalText implements encoding.TextMarshaler.
func (d Decision) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler: all but "allow" is Deny.
func (d *Decision) UnmarshalText(text []byte) error {
	*d = Deny
	if string(text) == "allow" {
		*d = Allow
	}
	return nil
}

// Leg is one question of a decision and its outcome: "principal", "no".
type Leg struct {
	Name    string `json:"name"`
	Outcome string `json:"outcome"`
}

// Outcome is how one constraint went: field "amount", kind "max", "ok".
type Outcome struct {
	Field   string `json:"field"`
	Kind    string `json:"kind"`
	Outcome string `json:"outcome"`
}

// Record is one row of the log. Ids are in the text form of agentid.Ref. Every text
// may come from outside: it is escaped and bounded when the record is appended, see
// Prepare. ID, Seq and Time are given by the log.
type Record struct {
	ID   string    `json:"id"`   // random, unique
	Seq  int64     `json:"-"`    // position in the log, from 1, without gaps
	Time time.Time `json:"time"` // when it was appended, UTC; a given one is kept

	Kind    Kind   `json:"kind"`
	Phase   Phase  `json:"phase"`
	Request string `json:"request,omitempty"` // links begin and finish; required for them

	Tenant    string   `json:"tenant,omitempty"`
	Principal string   `json:"principal,omitempty"`
	Agent     string   `json:"agent,omitempty"`
	AgentType string   `json:"agent_type,omitempty"`
	Lineage   []string `json:"lineage,omitempty"` // leaf first

	Operation    string `json:"operation,omitempty"` // "payments:refund", "tenant.put"
	Resource     string `json:"resource,omitempty"`
	InputsDigest string `json:"inputs_digest,omitempty"`
	Token        string `json:"token,omitempty"` // jti

	PolicyVersion string         `json:"policy_version,omitempty"`
	Zookie        agentid.Zookie `json:"zookie,omitempty"`
	Epoch         agentid.Epoch  `json:"epoch,omitempty"`
	Legs          []Leg          `json:"legs,omitempty"`
	Constraints   []Outcome      `json:"constraints,omitempty"`

	Decision       Decision `json:"decision"`
	Reason         string   `json:"reason,omitempty"` // stable code, empty when allowed
	Field          string   `json:"field,omitempty"`  // the input at fault
	UpstreamStatus int      `json:"upstream_status,omitempty"`

	Notes map[string]string `json:"notes,omitempty"` // few and short: "binding": "bearer"

	named *Named // what Name wrote, or nil
}
