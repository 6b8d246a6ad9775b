package policy

import (
	"slices"
	"time"

	"github.com/agentid-dev/agentid"
)

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

// Allowed is the proof that a Question was answered with yes. Only Decider makes one;
// the zero Allowed is invalid and covers nothing.
type Allowed struct{ grant *grant }

// grant is never changed once it is made.
type grant struct {
	operation string
	resource  agentid.Ref
	zookie    agentid.Zookie
	legs      []Leg
	made      time.Time
	deadline  time.Time
}

// Valid reports whether a came from a decision. It says nothing of its age.
func (a Allowed) Valid() bool { return a.grant != nil }

// Zookie is the revision that the decision was made at.
func (a Allowed) Zookie() agentid.Zookie {
	if a.grant == nil {
		return ""
	}
	return a.grant.zookie
}

// Legs are the outcomes of all legs, in the order of the Leg constants.
func (a Allowed) Legs() []Leg {
	if a.grant == nil {
		return nil
	}
	return slices.Clone(a.grant.legs)
}

// Deadline is when the decision stops being usable; the zero time for an invalid one.
func (a Allowed) Deadline() time.Time {
	if a.grant == nil {
		return time.Time{}
	}
	return a.grant.deadline
}

// Covers reports whether the decision was on exactly this operation and resource: the
// first of the question's Resources. A StageLive decision covers no operation.
func (a Allowed) Covers(operation string, resource agentid.Ref) bool {
	return a.grant != nil && operation != "" && !resource.IsZero() &&
		a.grant.operation == operation && a.grant.resource == resource
}

// StillGood is looked at before a byte goes upstream and before a token is signed. It
// fails with KindUnavailable, reason decision_expired, once the deadline has passed on
// the wall clock, which runs during sleep, or on the monotonic one, which no step moves,
// and when the wall clock stands before the decision. The caller may decide anew.
func (a Allowed) StillGood(now time.Time) error {
	if a.grant == nil {
		return agentid.Errorf(agentid.KindForbidden, ReasonPolicyDenied, "there is no decision")
	}
	wall := now.Round(0)
	if !now.Before(a.grant.deadline) || !wall.Before(a.grant.deadline.Round(0)) || wall.Before(a.grant.made.Round(0)) {
		return agentid.Unavailable(ReasonDecisionExpired, nil)
	}
	return nil
}
