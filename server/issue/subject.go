package issue

import (
	"slices"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/httperr"
)

// below brings a request under its Subject. What bounds the subject's holder bounds the
// child too, whatever kind of child it is: what was handed down stays below the hands
// that it came from. Without details the child asks for all that the subject has.
//
// The act claim is made of the child's own lineage, as the ledger has it; the subject's
// must be exactly the rest of it, so that no chain can be spliced into another.
func (r Request) below() (Request, error) {
	s := r.Subject
	if s == nil {
		return r, nil
	}
	if !r.standing() {
		if err := r.isChild(); err != nil {
			return r, err
		}
		r.Agent.Lineage = slices.Clone(r.Agent.Lineage)
		for i := range r.Agent.Lineage[1:] {
			member := &r.Agent.Lineage[1+i]
			member.Attenuated = member.Attenuated || i == 0 || slices.Contains(s.Context.Attenuated, member.Agent)
		}
		r.Agent.OwnAuthority = r.Agent.OwnAuthority && s.Context.OwnAuthority
	}
	switch r.Resource {
	case "", s.Audience:
		r.Resource = s.Audience
	default:
		return r, httperr.WithCode(exceedsParent("resource", r.Resource, s.Audience), httperr.InvalidTarget)
	}
	operations := strings.Split(s.Scope, " ")
	for _, op := range r.Scope {
		if !slices.Contains(operations, op) {
			return r, httperr.WithCode(exceedsParent("scope", op, s.Scope), httperr.InvalidScope)
		}
	}
	if len(r.Details.Capabilities) == 0 && len(r.Details.Templates) == 0 {
		r.Details.Capabilities = slices.Clone(s.Capabilities)
	}
	return r, nil
}

// isChild refuses a subject token that is not of the agent's own parent, or of a parent
// that acts for another.
func (r Request) isChild() error {
	holder, parent := r.Subject.Agent(), agentid.Ref{}
	var ancestors []agentid.Ref
	for _, member := range r.Agent.Lineage[1:] {
		ancestors = append(ancestors, member.Agent)
	}
	if len(ancestors) > 0 {
		parent = ancestors[0]
	}
	switch {
	case parent.IsZero():
		return notAChild("it was issued to %s, and %s has no parent", holder, r.Agent.Ref)
	case parent != holder:
		return notAChild("it was issued to %s, and the parent of %s is %s", holder, r.Agent.Ref, parent)
	case !slices.Equal(ancestors, r.Subject.Lineage()):
		return notAChild("its act is not the line of ancestors of %s", r.Agent.Ref)
	case r.Subject.Principal() != r.Agent.Principal:
		return notAChild("it acts for %s, and %s for %s", r.Subject.Principal(), r.Agent.Ref, r.Agent.Principal)
	}
	return nil
}

func notAChild(format string, args ...any) error {
	return agentid.Errorf(agentid.KindInvalid, "not_a_child", format, args...).WithField("subject_token")
}

func exceedsParent(field, own, parents string) *agentid.Error {
	return agentid.Errorf(agentid.KindForbidden, capability.ReasonExceeds, "%s is not within its parent's %s", own, parents).WithField(field)
}

// delegate holds capabilities to the Subject's, and gives the counts that they inherit.
func (t target) delegate(req Request, capabilities []capability.Capability) (map[string][]capability.Counter, error) {
	if req.Subject == nil {
		return nil, nil
	}
	return capability.Delegate(capabilities, *req.Subject, t.resources)
}

// tokens are those that the new one is made from, the nearest first.
func (r Request) tokens() ([]agentid.Ref, error) {
	if r.Subject == nil {
		return nil, nil
	}
	return r.Subject.Tokens()
}

// chain is the context's chain of the new token.
func (r Request) chain() []string {
	if r.Subject == nil {
		return nil
	}
	return append([]string{r.Subject.ID}, r.Subject.Context.Chain...)
}

// decisionError tells a token of the chain that was revoked as what it is here: a subject
// token that is not acceptable.
func (r Request) decisionError(err error) error {
	if r.Subject != nil && agentid.ReasonOf(err) == httperr.ReasonTokenRevoked {
		return SubjectRefused(err)
	}
	return err
}

// SubjectRefused makes the refusal of a subject token invalid_request (RFC 8693 section
// 2.2.2): the reason is err's, behind "subject_". An outage stays one.
func SubjectRefused(err error) error {
	switch agentid.KindOf(err) {
	case agentid.KindUnauthenticated, agentid.KindForbidden, agentid.KindInvalid:
		return agentid.Errorf(agentid.KindInvalid, "subject_"+agentid.ReasonOf(err), "the subject token is not accepted").
			WithField("subject_token").WithCause(err)
	default:
		return err
	}
}
