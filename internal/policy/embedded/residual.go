package embedded

import (
	"context"
	"errors"
	"slices"

	"github.com/authzed/spicedb/pkg/tuple"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/condition"
)

var _ policy.ResidualChecker = (*Checker)(nil)

// Residuals implements policy.ResidualChecker. A check can be split when its permission
// is a union of relations of its own type, and nothing else: then the relationships of
// the resource that lead to the subject, each with its caveat, are all there is to it.
// Whether a subject is in a group or is an instance of a type is asked of the engine; a
// membership with a condition of its own is not split.
func (c *Checker) Residuals(ctx context.Context, atLeast agentid.Zookie, checks []policy.Check) (agentid.Zookie, []policy.Residual, error) {
	head, zookie, err := c.at(ctx, atLeast)
	if err != nil {
		return "", nil, err
	}
	shape, err := c.shapeAt(ctx, head)
	if err != nil {
		return "", nil, err
	}
	out := make([]policy.Residual, len(checks))
	if shape == nil {
		return zookie, out, nil
	}
	rows, err := c.readAhead(ctx, head.Revision, checks, lineage{})
	if err != nil {
		return "", nil, err
	}
	ctx = context.WithValue(ctx, pinKey{}, &pin{head: head, rows: rows})
	for i, check := range checks {
		found, err := c.split(ctx, shape, rows, check)
		if err != nil {
			return "", nil, err
		}
		if found != nil { // an interface that holds a nil pointer is not nil
			out[i] = found
		}
	}
	return zookie, out, nil
}

// split is nil where the check is to be asked in full.
func (c *Checker) split(ctx context.Context, s *shape, rows *rows, check policy.Check) (*condition.Residual, error) {
	relations, ok := s.union[check.Resource.Type()][check.Permission]
	have, read := rows.of[whole(check.Resource)]
	if !ok || !read || check.Resource == check.Subject || !s.subject[check.Subject.Type()] {
		return nil, nil
	}
	ctx, seen := watched(ctx) // what says that the subject stands in a set may expire
	out := &condition.Residual{}
	for _, rel := range have {
		if !slices.Contains(relations, rel.Resource.Relation) {
			continue
		}
		switch stands, err := c.leadsTo(ctx, rel, check.Subject); {
		case err != nil:
			return nil, err
		case stands == policy.VerdictConditional:
			return nil, nil
		case stands != policy.VerdictYes:
			continue
		}
		if err := add(out, s, rel); err != nil {
			return nil, err
		}
	}
	if at := seen.Expires(); at.Before(policy.Never) {
		out.EndsBy(at)
	}
	return out, nil
}

// leadsTo says whether the subject is the relationship's, or one of its.
func (c *Checker) leadsTo(ctx context.Context, rel tuple.Relationship, subject agentid.Ref) (policy.Verdict, error) {
	if rel.Subject.Relation == tuple.Ellipsis {
		if rel.Subject.ObjectType == subject.Type() && (rel.Subject.ObjectID == subject.ObjectID() || rel.Subject.ObjectID == tuple.PublicWildcard) {
			return policy.VerdictYes, nil
		}
		return policy.VerdictNo, nil
	}
	return c.member(ctx, rel.Subject, subject)
}

// add takes in a relationship that leads to the subject.
func add(r *condition.Residual, s *shape, rel tuple.Relationship) error {
	if e := rel.OptionalExpiration; e != nil {
		r.EndsBy(*e)
	}
	if rel.OptionalCaveat == nil {
		r.Yes = true
		return nil
	}
	caveat, err := s.caveat(rel.OptionalCaveat.GetCaveatName())
	if err != nil {
		return err
	}
	c, err := caveat.With(rel.OptionalCaveat.GetContext())
	if err != nil {
		return err //nolint:wrapcheck // says what failed
	}
	r.Conditions = append(r.Conditions, c)
	return nil
}

var errUnknownCaveat = errors.New("the schema does not have the caveat")
