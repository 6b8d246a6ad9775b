package policy

import (
	"context"
	"time"

	"github.com/agentid-dev/agentid"
)

// Check is one question to the graph: does Subject have Permission on Resource? Checks
// are comparable; checks of one bulk share one *Inputs, which may be nil.
type Check struct {
	Resource   agentid.Ref
	Permission string
	Subject    agentid.Ref
	Inputs     *Inputs
}

// Verdict is the graph's answer to one Check. The zero Verdict, and any that is not
// named here, is a no.
type Verdict int

// The verdicts.
const (
	VerdictYes         Verdict = iota + 1 // has the permission
	VerdictNo                             // definitely has not
	VerdictConditional                    // depends on context that was not given
)

// Answer echoes the Check that it answers; the decider matches by that, never by
// position. A non-nil Err means that this check was not answered, and denies all.
type Answer struct {
	Check   Check
	Verdict Verdict
	Missing []string // the context fields that a conditional answer waits for
	Err     error

	// Expires is when the answer may change by time alone, at the earliest: Never when
	// nothing that it came from expires, zero when that is not known.
	Expires time.Time
	// Fixed: no caveat was looked at, so that the answer is the same for any inputs.
	Fixed bool
}

// Never is the Expires of an answer that time does not change.
var Never = time.Unix(1<<40, 0)

// Checker asks the graph. All checks of one call are answered at one revision, at least
// as new as atLeast; the empty zookie asks for the newest that the graph has. It returns
// the revision that was answered at.
//
// An error denies and is not retried: KindForbidden with reason zookie_invalid for a
// zookie that this graph did not make, KindInvalid for inputs that a caveat cannot take;
// anything else is taken as the graph being unavailable. A zookie of a revision that the
// graph has collected since is no error: it is answered at a newer one, as any is.
// Implementations are safe for concurrent use.
type Checker interface {
	CheckBulk(ctx context.Context, atLeast agentid.Zookie, checks []Check) (agentid.Zookie, []Answer, error)
}

// Reasons of the errors that Decide returns.
const (
	ReasonTokenRevoked     = "token_revoked"
	ReasonAgentNotLive     = "agent_not_live"
	ReasonAccountInactive  = "account_inactive"
	ReasonBarred           = "barred"
	ReasonPolicyDenied     = "policy_denied"
	ReasonPrincipalDenied  = "principal_denied"
	ReasonMissingContext   = "missing_context"
	ReasonLineageTooDeep   = "lineage_too_deep"
	ReasonZookieInvalid    = "zookie_invalid"
	ReasonGraphUnavailable = "graph_unavailable"
	ReasonDecisionExpired  = "decision_expired"
)

// ZookieInvalid is the error of a Checker for a zookie that it cannot honour.
func ZookieInvalid(cause error) error {
	return agentid.Errorf(agentid.KindForbidden, ReasonZookieInvalid, "the token's revision is not one of this graph").WithCause(cause)
}
