package policy

import (
	"github.com/agentid-dev/agentid"
)

// Stage says where a question is asked. The zero Stage is refused.
type Stage int

// The stages.
const (
	// StageIssue is asked before a token is signed: inputs are not known, so a
	// conditional answer on leg 2 or 3 is acceptable, because StageEnforce asks again.
	StageIssue Stage = iota + 1
	// StageEnforce is asked before an operation goes upstream: only a full answer passes.
	StageEnforce
	// StageLive asks legs 0 and 1 only and names no operation: introspection.
	StageLive
)

// Member is one agent of a lineage. Leg 2 is asked for the leaf and for every Attenuated
// ancestor: one whose rights bound the leaf's.
type Member struct {
	Agent      agentid.Ref
	Attenuated bool
}

// Question is everything that one decision depends on. All refs are of one tenant. It is
// not changed once it was asked.
type Question struct {
	Stage Stage
	// Subject, from the same decider, stands for Lineage, Principal, OwnAuthority and
	// Tokens, which are then empty. Without one the decider makes it.
	Subject      *Subject
	Lineage      []Member       // leaf first, then its ancestors; 1 to MaxDepth+1
	Principal    agentid.Ref    // the one it acts for; a service principal when autonomous
	OwnAuthority bool           // the agent type holds its own authority: leg 3 is not asked
	Tokens       []agentid.Ref  // the token and those it was made from; empty only at StageIssue
	Operation    string         // "payments:refund"; empty only at StageLive
	Permission   string         // "refund"; empty only at StageLive
	Barred       string         // "barred_refund"; empty: cannot be barred
	Resources    []agentid.Ref  // the resource and then its ancestors: one must grant, none may bar
	Account      agentid.Ref    // the connector's account: must be active
	Inputs       map[string]any // caveat context: string, int64, bool, []string
	AtLeast      agentid.Zookie // the newest of the token's zookie and the revocation floor
}

// Limits of a question. What is beyond them is refused before anything is asked.
const (
	MaxDepth     = 32   // ancestors above the leaf
	MaxTokens    = 34   // a token and those that it was made from
	MaxResources = 8    // a resource and its ancestors
	MaxInputs    = 64   // fields of the caveat context
	MaxContext   = 4096 // bytes of the caveat context, as SpiceDB counts them
)
