package policy

import (
	"time"

	"github.com/agentid-dev/agentid"
)

// Rests is what decisions of one subject rest on, in the form of one Freshness. It is
// worked out once for a token and never changed.
type Rests []uint32

// Mark is a moment before a question: what was known by then. The zero Mark is cold and
// has ended.
type Mark struct {
	// Sum counts the changes of everything that a Rests names. Two marks of one Rests with
	// the same Sum have no change between them.
	Sum uint64
	// Warm: every change is heard of in time, so that what is remembered may be used.
	Warm bool
	// Until is when that trust ends, or a decision made without it: an instant of a clock
	// that runs during sleep.
	Until time.Duration
}

// Freshness tells whether a decision still rests on what it was made on.
// gateway/freshness.View is one. Implementations are safe for concurrent use and answer
// from memory.
type Freshness interface {
	// Rests names what decisions rest on: a change of any of these refs counts.
	Rests(refs []agentid.Ref) Rests
	// Mark is taken before anything is asked.
	Mark(on Rests) Mark
	// Moved reports whether something changed since the mark, or its trust has ended: the
	// decision is then to be made anew.
	Moved(on Rests, m Mark) bool
	// Denied gives the first of refs that is being taken away, or is a revoked token. on
	// is what Rests made of the same refs. It is complete while marks are warm.
	Denied(on Rests, refs []agentid.Ref) (agentid.Ref, bool)
	// Applied is the newest revision of which every change up to it has been counted;
	// empty when none is known.
	Applied() agentid.Zookie
}

// Taken is the error for something that is being taken away, as Denied gives it: the
// same that the graph's answer leads to once it says so.
func Taken(ref agentid.Ref) error {
	switch ref.Type() {
	case agentid.TypeToken:
		return deny(ReasonTokenRevoked, "the token, or one that it was made from, is revoked")
	case agentid.TypeConnector:
		return deny(ReasonAccountInactive, "the connector's account is not active")
	default:
		return deny(ReasonAgentNotLive, "the agent or one of its ancestors is not live")
	}
}
