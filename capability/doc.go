// Package capability says what a token means: capabilities with their typed
// constraints, the templates that they are made from, the claims that carry them,
// and how a token is signed and verified.
//
// It owns the constraint lattice (Parse, Within, Meet, Check), the strict reading
// of RFC 9396 authorization_details, and the RFC 9068 profile of our tokens. It is
// pure: no clock, no network, no store, no broker key. It does not know which
// operations exist or which inputs they have (connectors), whether policy allows
// them (internal/policy), or who may be given a token (server).
package capability

// Names on the wire.
const (
	DetailType   = "agentid_capability" // authorization_details type of a capability
	TemplateType = "agentid_template"   // authorization_details type of a template call
	ContextClaim = "https://agentid.dev/claims/context"
	TokenType    = "at+jwt" // RFC 9068 section 2.1
)

// Reason codes of this package.
const (
	ReasonDetails = "invalid_authorization_details" // KindInvalid: malformed; the field says where
	ReasonExceeds = "capability_exceeds_parent"     // KindForbidden: asks for more than its parent has
	ReasonEmpty   = "constraint_empty"              // KindForbidden: nothing satisfies both sides
)

// Bounds on what is parsed. They keep a token in a header and a decision fast.
const (
	MaxInteger      = 1 << 53 // the largest number, exact in every JSON reader
	MaxCapabilities = 32
	MaxOperations   = 32
	MaxFields       = 32   // constrained inputs of one capability
	MaxElements     = 64   // elements of one set, networks of one list, facts of one field
	MaxText         = 1024 // bytes of one string
	maxRequestBytes = 32 << 10
)

// Money is an amount in minor units (cents) of a currency, which is its ISO 4217
// code in lower case: {4200, "usd"} is 42.00 US dollars.
type Money struct {
	Amount   int64
	Currency string
}

// Inputs are what an operation was asked with, by the name that its connector
// declares. A value is a string, an int64, a Money, a time.Time or a netip.Addr.
type Inputs map[string]any

// Facts are what the upstream says now, by name: "charge.refundable". A value is a
// Money or an int64.
type Facts map[string]any
