package enrol

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/jws"
	"github.com/agentid-dev/agentid/capability/keyproof"
	"github.com/agentid-dev/agentid/server/agents"
	"github.com/agentid-dev/agentid/server/ledger"
)

// assertionMargin keeps a token in memory beyond its expiry, for clocks that differ.
const assertionMargin = time.Minute

// Ref is the agent that an admitted identity is with this key: one instance is one tenant,
// issuer, subject, principal and key.
func (a Admission) Ref(thumbprint string, principal agentid.Ref) (agentid.Ref, error) {
	h := sha256.New()
	for _, part := range []string{a.Issuer.Ref.Tenant(), a.Identity.Issuer, a.Identity.Subject, principal.String(), thumbprint} {
		_ = binary.Write(h, binary.BigEndian, uint32(len(part)))
		_, _ = h.Write([]byte(part))
	}
	name := "w-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:20]))
	return agentid.AgentRef(a.Issuer.Ref.Tenant(), name) //nolint:wrapcheck // names the field
}

// IsGrant says whether what was presented is the grant itself, and not who is asking for
// one.
func (a Admission) IsGrant() bool { return a.use == Grant }

// Principal is whom the rule's agents act for; zero: whoever delegates to them.
func (a Admission) Principal() agentid.Ref { return a.Rule.Principal }

// Assertion is how often what was presented may be used with a key. A token with an id
// belongs to the first key that it comes with; as a client assertion it is used once.
func (a Admission) Assertion(thumbprint string) ledger.Assertion {
	if a.Identity.ID == "" {
		return ledger.Assertion{Client: a.Issuer.Ref, Reusable: true}
	}
	return ledger.Assertion{
		Client: a.Issuer.Ref, ID: a.Identity.ID, Expires: a.Identity.Expires.Add(assertionMargin), Holder: thumbprint, Once: a.use == Client,
	}
}

// Notes are what the audit log says of an admission.
func (a Admission) Notes() map[string]string {
	if a.Issuer.Ref.IsZero() {
		return nil
	}
	out := map[string]string{"workload_issuer": a.Identity.Issuer, "workload_subject": a.Identity.Subject}
	if !a.Rule.Ref.IsZero() {
		out["rule"] = a.Rule.Ref.Name()
	}
	return out
}

// Enrol gives the agent that an admitted identity is with the key that it proved, and
// spawns it when it was never seen. principal is whom it acts for: the rule's, or, where
// the rule names none, whoever delegates. Errors: those of agents.Service.Spawn, among them
// rule_exhausted; KindForbidden principal_missing, agent_ended, and key_in_use when the key
// is another agent's.
func (s *Service) Enrol(ctx context.Context, a Admission, key jose.JSONWebKey, principal agentid.Ref) (agentid.Ref, error) {
	if a.Rule.Ref.IsZero() {
		return agentid.Ref{}, agentid.Errorf(agentid.KindInternal, "internal", "an identity that no rule admits was to be enrolled")
	}
	if !a.Rule.Principal.IsZero() {
		principal = a.Rule.Principal
	}
	if principal.IsZero() {
		return agentid.Ref{}, agentid.Errorf(agentid.KindForbidden, "principal_missing", "agents of this rule act for whoever delegates to them, and nobody did")
	}
	thumbprint, err := jws.Thumbprint(key)
	if err != nil {
		return agentid.Ref{}, agentid.Errorf(agentid.KindInvalid, keyproof.ReasonForbidden, "the key has no thumbprint").WithCause(err)
	}
	ref, err := a.Ref(thumbprint, principal)
	if err != nil {
		return agentid.Ref{}, err
	}
	have, err := s.known.agent(ctx, ref)
	switch {
	case err == nil && have.State == ledger.AgentActive:
		return ref, s.same(have, a, principal)
	case err == nil && have.State == ledger.AgentRetired:
		return ref, agentid.Errorf(agentid.KindForbidden, "agent_ended", "this instance was retired: come with another key")
	case err != nil && agentid.KindOf(err) != agentid.KindNotFound:
		return ref, err //nolint:wrapcheck // an agentid.Error
	}
	return ref, s.spawn(ctx, a, ref, key, thumbprint, principal)
}

// same holds an agent that is there against the rule that admits it today.
func (s *Service) same(have ledger.Agent, a Admission, principal agentid.Ref) error {
	switch {
	case have.Type != a.Rule.Type || have.Principal != principal:
		return agentid.Errorf(agentid.KindForbidden, "rule_changed", "the rule says another type or principal than when this instance was enrolled: come with another key")
	case !have.Expires.IsZero() && !have.Expires.After(s.cfg.Now()):
		return agentid.Errorf(agentid.KindForbidden, "agent_ended", "this instance has lived as long as its rule lets it: come with another key")
	}
	return nil
}

func (s *Service) spawn(ctx context.Context, a Admission, ref agentid.Ref, key jose.JSONWebKey, thumbprint string, principal agentid.Ref) error {
	public, err := jose.JSONWebKey{Key: key.Key}.MarshalJSON()
	if err != nil {
		return agentid.Errorf(agentid.KindInvalid, keyproof.ReasonForbidden, "the key cannot be written").WithCause(err)
	}
	spec := agents.Spec{
		Tenant: ref.Tenant(), Name: ref.Name(), Type: a.Rule.Type, Principal: principal, Key: public,
		Enrolment: &ledger.Enrolment{
			Rule: a.Rule.Ref, Version: a.Rule.Version, Issuer: a.Identity.Issuer, Subject: a.Identity.Subject, MaxLive: a.Rule.MaxLive,
		},
		Notes: a.Notes(),
	}
	if a.Rule.Lifetime > 0 {
		spec.Expires = s.cfg.Now().Add(a.Rule.Lifetime)
	}
	assertion := a.Assertion(thumbprint)
	assertion.Once = false // the mint uses it up
	_, err = s.cfg.Agents.Register(ctx, agents.Actor{Assertion: assertion}, spec)
	if agentid.ReasonOf(err) != "agent_exists" || err == nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	// Another request with this key came first.
	have, failed := s.cfg.Ledger.Agent(ctx, ref)
	switch {
	case failed != nil || have.State == ledger.AgentRetired:
		return err //nolint:wrapcheck // an agentid.Error
	case have.State == ledger.AgentSpawning:
		return agentid.Unavailable("spawn_in_progress", err)
	}
	return s.same(have, a, principal)
}
