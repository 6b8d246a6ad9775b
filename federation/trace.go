package federation

import (
	"github.com/agentid-dev/agentid"
)

// Step is one check on the way from a token to what it resolves to. The zero Step is none.
type Step string

// The steps, in their order. A source goes as far as StepClaims.
const (
	StepToken     Step = "token"     // it reads as what the source takes
	StepIssuer    Step = "issuer"    // it names an issuer that is configured
	StepKey       Step = "key"       // the issuer's keys are there, and hold the one it names
	StepSignature Step = "signature" // the signature is by that key
	StepAudience  Step = "audience"  // it is for us alone
	StepTime      Step = "time"      // it is valid now, and not for too long
	StepClaims    Step = "claims"    // it has the claims that its kind must have
	StepRule      Step = "rule"      // a rule admits it
	StepPrincipal Step = "principal" // whom it acts for
)

// Check is the outcome of one step.
type Check struct {
	Step   Step   `json:"step"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"` // what was found, or why not; for the operator
	Reason string `json:"reason,omitempty"` // code of the refusal
}

// Trace is the steps that were taken, in order; only the last may have failed. The zero
// Trace is ready; a nil one records nothing.
type Trace struct {
	Checks []Check `json:"checks"`
}

// Pass records a step that held, with what was found.
func (t *Trace) Pass(step Step, detail string) {
	if t != nil {
		t.Checks = append(t.Checks, Check{Step: step, OK: true, Detail: detail})
	}
}

// Fail records the step that did not hold, and returns err.
func (t *Trace) Fail(step Step, err error) error {
	if t != nil {
		e := agentid.AsError(err)
		t.Checks = append(t.Checks, Check{Step: step, Reason: e.Reason, Detail: e.Error()})
	}
	return err
}

// Failed is the step that did not hold, "" when all did.
func (t *Trace) Failed() Step {
	if t == nil || len(t.Checks) == 0 || t.Checks[len(t.Checks)-1].OK {
		return ""
	}
	return t.Checks[len(t.Checks)-1].Step
}

// Append adds the steps of another trace.
func (t *Trace) Append(other *Trace) {
	if t != nil && other != nil {
		t.Checks = append(t.Checks, other.Checks...)
	}
}

// Reasons of refusals that sources share, besides those of package keyset. They are for
// the log and the dry run: a caller gets the OAuth error alone.
const (
	ReasonIssuer   = "issuer_unknown"    // no such issuer is configured
	ReasonAudience = "audience_mismatch" // not for us alone
	ReasonExpired  = "token_expired"     // expired, not valid yet, or valid for too long
	ReasonClaim    = "claim_mismatch"    // a claim is missing or is not as it must be
)

// Refuse makes the error of a check that did not hold; field names the claim.
func Refuse(reason, field, message string, cause error) *agentid.Error {
	return &agentid.Error{Kind: agentid.KindUnauthenticated, Reason: reason, Field: field, Message: message, Cause: cause}
}
