package capability

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agentid-dev/agentid"
)

// The types of a template's arguments. The empty type is refused.
const (
	ArgumentID       = "id"       // the name of a resource: letters, digits, '_', '-', '='
	ArgumentString   = "string"   // a text of at most MaxText bytes
	ArgumentInteger  = "integer"  // a whole number; for money, minor units (cents)
	ArgumentCurrency = "currency" // an ISO 4217 code in lower case
)

// Template is a capability with holes, named by an agent type for its agents to ask
// for. A hole is a whole value "{argument}", never a part of one, except for the
// name in Resource; it takes the argument's type along, so that "{max_amount}"
// becomes a number.
type Template struct {
	Name        string                    `json:"name" yaml:"name"`
	Connector   string                    `json:"connector" yaml:"connector"`
	Arguments   map[string]Argument       `json:"arguments,omitempty" yaml:"arguments,omitempty"`
	Resource    string                    `json:"resource" yaml:"resource"` // "payments_customer:{customer}"
	Operations  []string                  `json:"operations" yaml:"operations"`
	Constraints map[string]map[string]any `json:"constraints,omitempty" yaml:"constraints,omitempty"`
}

// Argument declares one argument. It is required unless it has a default. There is
// no optional argument without a default: leaving one out would remove a limit.
type Argument struct {
	Type    string   `json:"type" yaml:"type"`
	Default any      `json:"default,omitempty" yaml:"default,omitempty"`
	Minimum *int64   `json:"minimum,omitempty" yaml:"minimum,omitempty"` // integer only; zero where absent
	Maximum *int64   `json:"maximum,omitempty" yaml:"maximum,omitempty"` // integer only
	OneOf   []string `json:"one_of,omitempty" yaml:"one_of,omitempty"`   // string, id and currency only
}

// Validate checks a template when it is written: names, types, that every hole has
// an argument and every argument a hole, and that an expansion parses. Errors are
// KindInvalid with the field at fault.
func (t Template) Validate() error {
	if !isTemplateName(t.Name) {
		return agentid.Invalidf("name", "want lower-case letters, digits, '_' and '-', at most %d", maxName)
	}
	if _, err := agentid.ConnectorRef("x", t.Connector); err != nil {
		return agentid.Invalidf("connector", "is not the name of a connector")
	}
	for _, name := range slices.Sorted(maps.Keys(t.Arguments)) {
		if !isName(name) {
			return agentid.Invalidf("arguments."+printable(name), "is not the name of an argument")
		}
		if err := t.Arguments[name].validate("arguments." + name); err != nil {
			return err
		}
	}
	if err := t.validateHoles(); err != nil {
		return err
	}
	samples := map[string]any{}
	for name, a := range t.Arguments {
		samples[name] = a.sample()
	}
	if _, err := t.Expand("sample", samples); err != nil {
		var e *agentid.Error
		if errors.As(err, &e) {
			return agentid.Invalidf(e.Field, "%s", e.Message).WithCause(err)
		}
		return err
	}
	return nil
}

// Expand fills the holes for one tenant. An unknown, missing or ill-typed argument
// is refused: KindInvalid, reason invalid_authorization_details, field
// "arguments.<name>". The result is parsed like any capability from outside.
func (t Template) Expand(tenant string, args map[string]any) (Capability, error) {
	values := make(map[string]any, len(t.Arguments))
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if _, ok := t.Arguments[name]; !ok {
			return Capability{}, detailError("arguments."+printable(name), "is not an argument of this template")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.Arguments)) {
		a := t.Arguments[name]
		given, ok := args[name]
		if !ok {
			given = a.Default
		}
		value, err := a.value(given, "arguments."+name)
		if err != nil {
			return Capability{}, err
		}
		values[name] = value
	}
	ref, err := t.expandResource(tenant, values)
	if err != nil {
		return Capability{}, err
	}
	limits := make(map[string]map[string]any, len(t.Constraints))
	for field, kinds := range t.Constraints {
		limits[field] = make(map[string]any, len(kinds))
		for kind, value := range kinds {
			if limits[field][kind], err = fill(value, values, "constraints."+printable(field)+"."+printable(kind)); err != nil {
				return Capability{}, err
			}
		}
	}
	raw, err := json.Marshal(limits)
	if err != nil {
		return Capability{}, detailError("constraints", "cannot be written as JSON").WithCause(err)
	}
	c := Capability{Resource: ref, Operations: slices.Sorted(slices.Values(t.Operations))}
	if c.Constraints, err = ParseConstraints(raw); err != nil {
		return Capability{}, err
	}
	return c, c.Validate()
}

func (t Template) expandResource(tenant string, values map[string]any) (agentid.Ref, error) {
	typ, name, ok := strings.Cut(t.Resource, ":")
	if !ok {
		return agentid.Ref{}, detailError("resource", "want type:name or type:{argument}")
	}
	field := "resource"
	if arg, isHole := hole(name); isHole {
		text, isText := values[arg].(string)
		if !isText {
			return agentid.Ref{}, detailError("resource", "{%s} is not an argument with a text", printable(arg))
		}
		name, field = text, "arguments."+arg
	}
	ref, err := agentid.ResourceRef(typ, tenant, name)
	if err != nil {
		return agentid.Ref{}, detailError(field, "does not name a resource").WithCause(err)
	}
	return ref, nil
}

// validateHoles compares the holes with the declared arguments.
func (t Template) validateHoles() error {
	used := map[string]bool{}
	note := func(value any, path string) error {
		text, ok := value.(string)
		if !ok {
			return nil
		}
		if arg, isHole := hole(text); isHole {
			if _, declared := t.Arguments[arg]; !declared {
				return agentid.Invalidf(path, "{%s} is not a declared argument", printable(arg))
			}
			used[arg] = true
		} else if strings.ContainsAny(text, "{}") {
			return agentid.Invalidf(path, "an argument in braces must be the whole value")
		}
		return nil
	}
	_, name, _ := strings.Cut(t.Resource, ":")
	if err := note(name, "resource"); err != nil {
		return err
	}
	for _, field := range slices.Sorted(maps.Keys(t.Constraints)) {
		for _, kind := range slices.Sorted(maps.Keys(t.Constraints[field])) {
			values, ok := t.Constraints[field][kind].([]any)
			if !ok {
				values = []any{t.Constraints[field][kind]}
			}
			for _, value := range values {
				if err := note(value, "constraints."+printable(field)+"."+printable(kind)); err != nil {
					return err
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.Arguments)) {
		if !used[name] {
			return agentid.Invalidf("arguments."+name, "is used nowhere in the template")
		}
	}
	return nil
}

// fill replaces holes in one value or list. Anything but text, whole numbers and
// lists of them is refused.
func fill(value any, values map[string]any, path string) (any, error) {
	if list, ok := value.([]any); ok {
		out := make([]any, len(list))
		for i, item := range list {
			if _, nested := item.([]any); nested {
				return nil, detailError(path, "holds a list in a list")
			}
			var err error
			if out[i], err = fill(item, values, path); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	if text, ok := value.(string); ok {
		arg, isHole := hole(text)
		if !isHole {
			return text, nil
		}
		filled, known := values[arg]
		if !known {
			return nil, detailError(path, "{%s} is not a declared argument", printable(arg))
		}
		return filled, nil
	}
	n, err := wholeNumber(value)
	if err != nil {
		return nil, detailError(path, "%s", err.Error())
	}
	return n, nil
}

// hole reads "{argument}".
func hole(s string) (string, bool) {
	if len(s) < 3 || s[0] != '{' || s[len(s)-1] != '}' || strings.ContainsAny(s[1:len(s)-1], "{}") {
		return "", false
	}
	return s[1 : len(s)-1], true
}

// isTemplateName admits "refund-customer".
func isTemplateName(s string) bool {
	return isName(strings.ReplaceAll(s, "-", "_")) && !strings.HasSuffix(s, "-")
}

func wholeNumber(value any) (int64, error) {
	switch n := value.(type) {
	case int:
		return bounded(int64(n))
	case int64:
		return bounded(n)
	case uint64:
		if n > MaxInteger {
			return 0, errors.New("is beyond 2^53")
		}
		return int64(n), nil
	case float64: // encoding/json's number
		if n != float64(int64(n)) {
			return 0, errors.New("must not have a fraction")
		}
		return bounded(int64(n))
	case json.Number:
		i, err := n.Int64()
		if err != nil {
			return 0, errors.New("want a whole number")
		}
		return bounded(i)
	}
	return 0, fmt.Errorf("want a text or a whole number, have a %T", value)
}

func bounded(n int64) (int64, error) {
	if n > MaxInteger || n < -MaxInteger {
		return 0, errors.New("is beyond 2^53")
	}
	return n, nil
}
