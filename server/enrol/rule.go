package enrol

import (
	"encoding/json"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/sources"
	"github.com/agentid-dev/agentid/server/ledger"
)

// Reasons of refusals, KindUnauthenticated; for the log and the dry run.
const (
	ReasonNoRule    = "rule_none"      // no rule of the issuer admits it
	ReasonAmbiguous = "rule_ambiguous" // more than one rule does
	ReasonTenant    = "tenant_missing" // the root issuer knows no workloads
)

// ParseClaims reads the claims of a rule: KindInvalid, naming the claim.
func ParseClaims(raw json.RawMessage) (federation.Requirements, error) {
	claims := map[string]federation.Match{}
	if err := json.Unmarshal(raw, &claims); err != nil {
		return federation.Requirements{}, agentid.Invalidf("claims", "%s", err.Error())
	}
	return federation.Require(claims) //nolint:wrapcheck // names the field
}

// CheckRule judges a rule against its issuer before it is written: KindInvalid, naming the
// field.
func CheckRule(r ledger.EnrolmentRule, issuer sources.Setting) error {
	required, err := ParseClaims(r.Claims)
	if err != nil {
		return err
	}
	return sources.CheckRule(issuer, r.Audience, required) //nolint:wrapcheck // names the field
}

// choose finds the one rule that admits an identity. Where two do, none does: which agent
// it is must not depend on the order of names.
func choose(rules []rule, id federation.Identity, named func(of rule) []string, t *federation.Trace) (ledger.EnrolmentRule, error) {
	var found []*ledger.EnrolmentRule
	var last error
	for i := range rules {
		if err := rules[i].admits(id, named(rules[i])); err != nil {
			last = err
			continue
		}
		found = append(found, &rules[i].stored)
	}
	switch {
	case len(found) == 1:
		t.Pass(federation.StepRule, found[0].Ref.Name())
		return *found[0], nil
	case len(found) > 1:
		return ledger.EnrolmentRule{}, t.Fail(federation.StepRule, refuse(ReasonAmbiguous, "the rules "+found[0].Ref.Name()+" and "+found[1].Ref.Name()+" both admit it", nil))
	case len(rules) == 1:
		return ledger.EnrolmentRule{}, t.Fail(federation.StepRule, refuse(ReasonNoRule, "the rule "+rules[0].stored.Ref.Name()+" does not admit it", last))
	}
	return ledger.EnrolmentRule{}, t.Fail(federation.StepRule, refuse(ReasonNoRule, "no rule of this issuer admits it", last))
}

// admits holds an identity against one rule. A certificate has no audience: it is shown in
// a connection to us.
func (r *rule) admits(id federation.Identity, audiences []string) error {
	if r.broken != nil {
		return r.broken
	}
	if err := r.required.Check(id.Claims); err != nil {
		return err //nolint:wrapcheck // names the claim
	}
	for _, a := range audiences {
		if a == id.Audience {
			return nil
		}
	}
	return federation.Refuse(federation.ReasonAudience, "aud", "is not this rule's", nil)
}

func refuse(reason, message string, cause error) *agentid.Error {
	return &agentid.Error{Kind: agentid.KindUnauthenticated, Reason: reason, Message: message, Cause: cause}
}
