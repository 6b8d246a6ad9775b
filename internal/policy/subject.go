package policy

import (
	"errors"
	"slices"
	"time"

	"github.com/agentid-dev/agentid"
)

// Holder is who holds a token, as its signature vouches for it.
type Holder struct {
	Lineage      []Member      // as in Question
	Principal    agentid.Ref   // as in Question
	OwnAuthority bool          // as in Question
	Tokens       []agentid.Ref // as in Question
	// Also are further refs whose denial ends all of its operations: agent type, connector.
	Also   []agentid.Ref
	Expiry time.Time // of the token; no remembered answer is used after it. Zero: none
}

// Subject is a Holder that was checked, with all that its questions share worked out. It
// belongs to the Decider that made it, and is never changed.
type Subject struct {
	decider      *Decider
	lineage      []Member
	principal    agentid.Ref
	ownAuthority bool
	tokens       []agentid.Ref
	expiry       time.Time

	key []byte // who asks, in the keys of remembered answers
	// refs are tenant, agents, tokens, principal and what else: the first of them are what
	// remembered answers rest on, the first and the tokens what an Allowed rests on.
	refs []agentid.Ref
	all  Rests // of refs
	core Rests // tenant and agents
	held Rests // tenant, agents and tokens
}

// Subject checks a holder once for all of its questions. The errors are those of Decide.
func (d *Decider) Subject(h Holder) (*Subject, error) {
	q := Question{Lineage: h.Lineage, Principal: h.Principal, OwnAuthority: h.OwnAuthority, Tokens: h.Tokens}
	if err := q.validateSubject(); err != nil {
		return nil, err
	}
	s := &Subject{
		decider: d, lineage: slices.Clone(h.Lineage), principal: h.Principal, ownAuthority: h.OwnAuthority,
		tokens: slices.Clone(h.Tokens), expiry: h.Expiry,
	}
	s.key = appendSubject(nil, s)
	tenant, err := agentid.TenantRef(h.Principal.Tenant())
	if err != nil {
		return nil, err
	}
	s.refs = append(s.refs, tenant)
	for _, m := range s.lineage {
		s.refs = append(s.refs, m.Agent)
	}
	s.refs = append(s.refs, s.tokens...)
	s.refs = append(append(s.refs, s.principal), h.Also...)
	if d.fresh != nil {
		s.all = d.fresh.Rests(s.refs)
		s.core = s.all[:1+len(s.lineage)]
		s.held = s.all[:1+len(s.lineage)+len(s.tokens)]
	}
	return s, nil
}

// Refs are all that the subject's operations rest on; they must not be changed.
func (s *Subject) Refs() []agentid.Ref { return s.refs }

// Lineage is the holder's: leaf first. It must not be changed.
func (s *Subject) Lineage() []Member { return s.lineage }

// Principal is the one that the holder acts for.
func (s *Subject) Principal() agentid.Ref { return s.principal }

// Tokens are the token and those that it was made from. They must not be changed.
func (s *Subject) Tokens() []agentid.Ref { return s.tokens }

// Denied refuses what is being taken away, or is a revoked token, as far as what was heard
// of may be trusted; nil says nothing more than that. The error is Taken's.
func (d *Decider) Denied(s *Subject) error {
	if d.fresh == nil || !d.fresh.Mark(nil).Warm {
		return nil
	}
	if ref, denied := d.fresh.Denied(s.all, s.refs); denied {
		return Taken(ref)
	}
	return nil
}

// fill puts what the subject stands for into a question.
func (d *Decider) fill(q *Question) error {
	switch s := q.Subject; {
	case s.decider != d:
		return errors.New("policy: the subject is of another decider")
	case q.names():
		return agentid.Invalidf("subject", "is given beside lineage, principal, authority or tokens")
	default:
		q.Lineage, q.Principal, q.OwnAuthority, q.Tokens = s.lineage, s.principal, s.ownAuthority, s.tokens
		return nil
	}
}
