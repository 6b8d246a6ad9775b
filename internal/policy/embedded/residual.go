package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/authzed/spicedb/pkg/caveats"
	caveattypes "github.com/authzed/spicedb/pkg/caveats/types"
	core "github.com/authzed/spicedb/pkg/proto/core/v1"
	"github.com/authzed/spicedb/pkg/tuple"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
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
func (c *Checker) split(ctx context.Context, s *shape, rows *rows, check policy.Check) (*residual, error) {
	relations, ok := s.union[check.Resource.Type()][check.Permission]
	have, read := rows.of[whole(check.Resource)]
	if !ok || !read || check.Resource == check.Subject || !s.subject[check.Subject.Type()] {
		return nil, nil
	}
	ctx, seen := watched(ctx) // what says that the subject stands in a set may expire
	out := &residual{}
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
		if err := out.add(s, rel); err != nil {
			return nil, err
		}
	}
	if at := seen.Expires(); at.Before(policy.Never) && (out.expires.IsZero() || at.Before(out.expires)) {
		out.expires = at
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

// residual is a yes, or the conditions of which one must hold; neither is a no.
type residual struct {
	yes        bool
	conditions []condition
	expires    time.Time
}

// condition is one caveat with what its relationship says.
type condition struct {
	caveat *compiled
	stored map[string]any // typed; it wins over the request's
}

func (r *residual) add(s *shape, rel tuple.Relationship) error {
	if e := rel.OptionalExpiration; e != nil && (r.expires.IsZero() || e.Before(r.expires)) {
		r.expires = *e
	}
	if rel.OptionalCaveat == nil {
		r.yes = true
		return nil
	}
	caveat, err := s.caveat(rel.OptionalCaveat.GetCaveatName())
	if err != nil {
		return err
	}
	stored, err := caveat.typed(rel.OptionalCaveat.GetContext().AsMap())
	if err != nil {
		return fmt.Errorf("the context of a relationship: %w", err)
	}
	r.conditions = append(r.conditions, condition{caveat, stored})
	return nil
}

// Expires implements policy.Residual.
func (r *residual) Expires() time.Time { return r.expires }

// Evaluate implements policy.Residual.
func (r *residual) Evaluate(in *policy.Inputs) (policy.Verdict, []string, error) {
	if r.yes {
		return policy.VerdictYes, nil, nil
	}
	var missing []string
	open := false
	for _, c := range r.conditions {
		given, err := c.caveat.typed(in.Values())
		if err != nil {
			return 0, nil, err
		}
		maps.Copy(given, c.stored)
		result, err := caveats.EvaluateCaveat(c.caveat.program, given)
		switch {
		case err != nil:
			return 0, nil, fmt.Errorf("evaluate a caveat: %w", err)
		case result.IsPartial():
			names, err := result.MissingVarNames()
			if err != nil {
				return 0, nil, fmt.Errorf("evaluate a caveat: %w", err)
			}
			missing, open = append(missing, names...), true
		case result.Value():
			return policy.VerdictYes, nil, nil
		}
	}
	if !open {
		return policy.VerdictNo, nil, nil
	}
	slices.Sort(missing)
	return policy.VerdictConditional, slices.Compact(missing), nil
}

// compiled is a caveat of one schema.
type compiled struct {
	program    *caveats.CompiledCaveat
	parameters map[string]caveattypes.VariableType
}

func compile(def *core.CaveatDefinition) (*compiled, error) {
	types := caveattypes.Default.TypeSet
	parameters, err := caveattypes.DecodeParameterTypes(types, def.GetParameterTypes())
	if err != nil {
		return nil, fmt.Errorf("caveat %s: %w", def.GetName(), err)
	}
	program, err := caveats.DeserializeCaveatWithTypeSet(types, def.GetSerializedExpression(), parameters)
	if err != nil {
		return nil, fmt.Errorf("caveat %s: %w", def.GetName(), err)
	}
	return &compiled{program, parameters}, nil
}

var errUnknownCaveat = errors.New("the schema does not have the caveat")

// typed converts what the caveat knows of a context; the rest is left out. The result is
// the caller's.
func (c *compiled) typed(context map[string]any) (map[string]any, error) {
	out := make(map[string]any, len(c.parameters))
	for name, value := range context {
		parameter, known := c.parameters[name]
		if !known {
			continue
		}
		converted, err := parameter.ConvertValue(value)
		if err != nil {
			return nil, agentid.Invalidf("inputs."+name, "is of a type that the tenant's policy cannot take").WithCause(err)
		}
		out[name] = converted
	}
	return out, nil
}
