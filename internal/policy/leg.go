package policy

import "slices"

// Leg is the outcome of one part of a decision, for receipts and audit.
type Leg struct {
	Name    string // one of the Leg constants below
	Outcome string // one of the Outcome constants below
}

// The legs of a decision.
const (
	LegRevoked   = "revoked"   // leg 0: a token of the chain is revoked
	LegAlive     = "alive"     // leg 1: every agent of the lineage is alive
	LegAgent     = "agent"     // leg 2: the agent has the permission
	LegAncestor  = "ancestor"  // leg 2: every attenuated ancestor has it too
	LegPrincipal = "principal" // leg 3: the principal has it
	LegBarred    = "barred"    // one of them is barred from a resource
	LegAccount   = "account"   // the connector's account is active
)

// The outcomes of a leg. For "revoked" and "barred" it is "no" that lets pass.
const (
	OutcomeYes         = "yes"
	OutcomeNo          = "no"
	OutcomeConditional = "conditional"
	OutcomeNotAsked    = "not_asked"
)

// The places of the legs in an outcomes, in the order of the Leg constants.
const (
	legRevoked = iota
	legAlive
	legAgent
	legAncestor
	legPrincipal
	legBarred
	legAccount
	legCount
)

var legNames = [legCount]string{LegRevoked, LegAlive, LegAgent, LegAncestor, LegPrincipal, LegBarred, LegAccount}

// code is an outcome in one byte. The zero code is none of them.
type code uint8

const (
	codeYes code = iota + 1
	codeNo
	codeConditional
	codeNotAsked
)

var codeNames = [...]string{codeYes: OutcomeYes, codeNo: OutcomeNo, codeConditional: OutcomeConditional, codeNotAsked: OutcomeNotAsked}

func codeOf(outcome string) code {
	switch outcome {
	case OutcomeYes:
		return codeYes
	case OutcomeNo:
		return codeNo
	case OutcomeConditional:
		return codeConditional
	default:
		return codeNotAsked
	}
}

// outcomes is one outcome for each leg.
type outcomes [legCount]code

func (o *outcomes) list() []Leg {
	out := make([]Leg, legCount)
	for i, name := range legNames {
		out[i] = Leg{name, codeNames[o[i]]}
	}
	return out
}

// open reports whether a leg waits for inputs.
func (o *outcomes) open() bool { return slices.Contains(o[:], codeConditional) }
