package policy

import (
	"time"

	"github.com/agentid-dev/agentid"
)

// Allowed is the proof that a Question was answered with yes. Only Decider makes one;
// the zero Allowed is invalid and covers nothing. It is a value that is copied, never
// changed.
type Allowed struct {
	valid     bool
	legs      outcomes
	operation string
	resource  agentid.Ref
	zookie    agentid.Zookie
	made      time.Time
	deadline  time.Time

	fresh Freshness // nil: nothing is known of changes
	on    Rests
	mark  Mark
}

// Valid reports whether a came from a decision. It says nothing of its age.
func (a Allowed) Valid() bool { return a.valid }

// Zookie is the revision that the decision was made at.
func (a Allowed) Zookie() agentid.Zookie { return a.zookie }

// Legs are the outcomes of all legs, in the order of the Leg constants; nil for an
// invalid one.
func (a Allowed) Legs() []Leg {
	if !a.valid {
		return nil
	}
	return a.legs.list()
}

// Deadline is when the decision stops being usable; the zero time for an invalid one.
func (a Allowed) Deadline() time.Time { return a.deadline }

// Covers reports whether the decision was on exactly this operation and resource: the
// first of the question's Resources. A StageLive decision covers no operation.
func (a Allowed) Covers(operation string, resource agentid.Ref) bool {
	return a.valid && operation != "" && !resource.IsZero() && a.operation == operation && a.resource == resource
}

// StillGood is looked at before a byte goes upstream and before a token is signed. It
// fails with KindUnavailable, reason decision_expired, once the deadline has passed on
// the wall clock, which runs during sleep, or on the monotonic one, which no step moves;
// when the wall clock stands before the decision; and, where changes are heard of, once
// anything that the decision rests on has changed, or the lease that it was made under has
// ended. The caller may decide anew.
func (a Allowed) StillGood(now time.Time) error {
	if !a.valid {
		return agentid.Errorf(agentid.KindForbidden, ReasonPolicyDenied, "there is no decision")
	}
	if !within(now, a.made, a.deadline) || a.fresh != nil && a.fresh.Moved(a.on, a.mark) {
		return agentid.Unavailable(ReasonDecisionExpired, nil)
	}
	return nil
}

// within reports whether now is before until on both clocks, and not before made on the
// wall clock.
func within(now, made, until time.Time) bool {
	wall := now.Round(0)
	return now.Before(until) && wall.Before(until.Round(0)) && !wall.Before(made.Round(0))
}
