package policy

import (
	"math"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agentid-dev/agentid"
)

// Inputs is a caveat context that has been validated. It is shared by all checks of one
// bulk and never changed. A nil *Inputs is the empty context.
type Inputs struct {
	values  map[string]any
	encoded *structpb.Struct
}

const maxExact = 1 << 53 // beyond it a JSON number is no longer exact

// NewInputs validates a caveat context: names as SpiceDB takes them; values of string,
// int64 within 2^53, bool or []string; at most MaxInputs fields and MaxContext bytes.
// It returns nil for an empty one and KindInvalid naming the field at fault.
func NewInputs(raw map[string]any) (*Inputs, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	if len(raw) > MaxInputs {
		return nil, agentid.Invalidf("inputs", "has more than %d fields", MaxInputs)
	}
	in := &Inputs{values: make(map[string]any, len(raw)), encoded: &structpb.Struct{Fields: make(map[string]*structpb.Value, len(raw))}}
	for name, value := range raw {
		if !isName(name) {
			return nil, agentid.Invalidf("inputs", "holds a name that is not a caveat parameter")
		}
		plain, encoded, err := inputValue("inputs."+name, value)
		if err != nil {
			return nil, err
		}
		in.values[name], in.encoded.Fields[name] = plain, encoded
	}
	if proto.Size(in.encoded) > MaxContext {
		return nil, agentid.Invalidf("inputs", "is larger than %d bytes", MaxContext)
	}
	return in, nil
}

// inputValue gives a value in the two forms that SpiceDB takes.
func inputValue(field string, value any) (any, *structpb.Value, error) {
	switch v := value.(type) {
	case string:
		return v, structpb.NewStringValue(v), nil
	case bool:
		return v, structpb.NewBoolValue(v), nil
	case int64:
		if v > maxExact || v < -maxExact {
			return nil, nil, agentid.Invalidf(field, "is beyond 2^53")
		}
		return v, structpb.NewNumberValue(float64(v)), nil
	case []string:
		plain, list := make([]any, len(v)), make([]*structpb.Value, len(v))
		for i, s := range v {
			plain[i], list[i] = s, structpb.NewStringValue(s)
		}
		return plain, structpb.NewListValue(&structpb.ListValue{Values: list}), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, nil, agentid.Invalidf(field, "is not a number")
		}
		return nil, nil, agentid.Invalidf(field, "is a fraction; want string, int64, bool or []string")
	default:
		return nil, nil, agentid.Invalidf(field, "is of another type than string, int64, bool and []string")
	}
}

// Values is the context as native Go values, for the in-process checker: string, bool,
// int64 and []any of string. It must not be changed.
func (in *Inputs) Values() map[string]any {
	if in == nil {
		return nil
	}
	return in.values
}

// Struct is the context as it goes over the wire. It must not be changed.
func (in *Inputs) Struct() *structpb.Struct {
	if in == nil {
		return nil
	}
	return in.encoded
}

// isName admits what SpiceDB's schema language takes as the name of a relation,
// permission or caveat parameter.
func isName(s string) bool {
	if len(s) < 2 || len(s) > 64 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return !slices.ContainsFunc([]byte(s), func(c byte) bool {
		return c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9')
	})
}
