// Package condition is what is left of a check once its graph part has been answered: the
// caveats on the relationships that were found, each with what its relationship says, to
// be evaluated for any inputs.
//
// It owns how a caveat is compiled and its context typed, and how a condition is written
// down for another process. It asks no graph: internal/policy/embedded finds what
// internal/policy/brokered carries.
package condition

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/authzed/spicedb/pkg/caveats"
	caveattypes "github.com/authzed/spicedb/pkg/caveats/types"
	core "github.com/authzed/spicedb/pkg/proto/core/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
)

// Residual is a yes, or the conditions of which one must hold; the zero Residual is a no.
// It is not changed once it is handed on.
type Residual struct {
	Yes        bool
	Conditions []Condition
	Ends       time.Time // when the first relationship that it rests on expires; zero: never
}

var _ policy.Residual = (*Residual)(nil)

// EndsBy brings the end forward to at, where that is earlier.
func (r *Residual) EndsBy(at time.Time) {
	if r.Ends.IsZero() || at.Before(r.Ends) {
		r.Ends = at
	}
}

// Expires implements policy.Residual.
func (r *Residual) Expires() time.Time { return r.Ends }

// Evaluate implements policy.Residual.
func (r *Residual) Evaluate(in *policy.Inputs) (policy.Verdict, []string, error) {
	if r.Yes {
		return policy.VerdictYes, nil, nil
	}
	var missing []string
	open := false
	for _, c := range r.Conditions {
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

// Condition is one caveat with what its relationship says. Caveat.With makes one.
type Condition struct {
	caveat  *Caveat
	stored  map[string]any // typed; it wins over the request's
	context *structpb.Struct
}

// Written is a condition as it travels.
type Written struct {
	Caveat  []byte `json:"caveat"`            // core.CaveatDefinition, protobuf
	Context []byte `json:"context,omitempty"` // google.protobuf.Struct, protobuf
}

// Write writes a condition down.
func (c Condition) Write() (Written, error) {
	out := Written{Caveat: c.caveat.definition}
	if len(c.context.GetFields()) == 0 {
		return out, nil
	}
	var err error
	if out.Context, err = proto.Marshal(c.context); err != nil {
		return Written{}, fmt.Errorf("write a caveat's context: %w", err)
	}
	return out, nil
}

// Caveat is a caveat of one schema, compiled. It is safe for concurrent use.
type Caveat struct {
	program    *caveats.CompiledCaveat
	parameters map[string]caveattypes.VariableType
	definition []byte
}

// Compile compiles a caveat.
func Compile(def *core.CaveatDefinition) (*Caveat, error) {
	types := caveattypes.Default.TypeSet
	parameters, err := caveattypes.DecodeParameterTypes(types, def.GetParameterTypes())
	if err != nil {
		return nil, fmt.Errorf("caveat %s: %w", def.GetName(), err)
	}
	program, err := caveats.DeserializeCaveatWithTypeSet(types, def.GetSerializedExpression(), parameters)
	if err != nil {
		return nil, fmt.Errorf("caveat %s: %w", def.GetName(), err)
	}
	definition, err := proto.MarshalOptions{Deterministic: true}.Marshal(def)
	if err != nil {
		return nil, fmt.Errorf("caveat %s: %w", def.GetName(), err)
	}
	return &Caveat{program, parameters, definition}, nil
}

// With is the caveat with the context that a relationship gives it; nil: none.
func (c *Caveat) With(context *structpb.Struct) (Condition, error) {
	stored, err := c.typed(context.AsMap())
	if err != nil {
		return Condition{}, fmt.Errorf("the context of a relationship: %w", err)
	}
	return Condition{c, stored, context}, nil
}

// typed converts what the caveat knows of a context; the rest is left out. The result is
// the caller's.
func (c *Caveat) typed(context map[string]any) (map[string]any, error) {
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
