package schema

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/authzed/spicedb/pkg/schema"
	"github.com/authzed/spicedb/pkg/schemadsl/compiler"
	"github.com/authzed/spicedb/pkg/schemadsl/input"

	"github.com/agentid-dev/agentid"
)

// Fragment is one part of the schema: the base, a connector's, or the operator's own.
type Fragment struct {
	Name string // unique; orders the fragments and is named in errors: "payments"
	Text string // SpiceDB schema language; `use` directives only before the first definition
}

// ReasonSchema is the reason of every error about a schema or a story.
const ReasonSchema = "schema_invalid"

// Compose joins fragments into one schema. The order of the arguments does not matter:
// fragments are sorted by name, their `use` directives united and put first. A fragment
// that does not parse, a name that two fragments use, a definition that two fragments
// make, and a whole that does not type-check are refused with KindInvalid, naming them.
func Compose(fragments ...Fragment) (string, error) {
	if len(fragments) == 0 {
		return "", invalid("fragments", "there is no fragment", nil)
	}
	ordered := slices.SortedFunc(slices.Values(fragments), func(a, b Fragment) int { return cmp.Compare(a.Name, b.Name) })
	uses := map[string]bool{}
	owner := map[string]string{}
	bodies := make([]string, 0, len(ordered))
	for i, f := range ordered {
		if f.Name == "" || i > 0 && ordered[i-1].Name == f.Name {
			return "", invalid("fragments", fmt.Sprintf("fragment name %q is empty or used twice", f.Name), nil)
		}
		compiled, err := compile(f.Name, f.Text)
		if err != nil {
			return "", err
		}
		for _, def := range compiled.OrderedDefinitions {
			if first, taken := owner[def.GetName()]; taken {
				return "", invalid(f.Name, fmt.Sprintf("%q is defined by fragment %q too", def.GetName(), first), nil)
			}
			owner[def.GetName()] = f.Name
		}
		flags, body := splitUses(f.Text)
		for _, flag := range flags {
			uses[flag] = true
		}
		bodies = append(bodies, "// fragment "+f.Name+"\n"+strings.TrimSpace(body)+"\n")
	}
	text := strings.Join(bodies, "\n")
	if len(uses) > 0 {
		head := ""
		for _, flag := range slices.Sorted(maps.Keys(uses)) {
			head += "use " + flag + "\n"
		}
		text = head + "\n" + text
	}
	return text, check(text)
}

// splitUses takes the leading `use` directives off a fragment that has been parsed.
func splitUses(text string) (flags []string, body string) {
	lines := strings.Split(text, "\n")
	kept := make([]string, 0, len(lines))
	for i, line := range lines {
		fields := strings.Fields(line)
		if len(fields) > 0 && (fields[0] == "definition" || fields[0] == "caveat") {
			kept = append(kept, lines[i:]...)
			break
		}
		if len(fields) >= 2 && fields[0] == "use" {
			flags = append(flags, fields[1])
			continue
		}
		kept = append(kept, line)
	}
	return flags, strings.Join(kept, "\n")
}

// compile parses and translates one text; names of other fragments stay unresolved.
func compile(name, text string) (*compiler.CompiledSchema, error) {
	compiled, err := compiler.Compile(
		compiler.InputSchema{Source: input.Source(name), SchemaString: text},
		compiler.AllowUnprefixedObjectType(), compiler.DisallowImportFlag(),
	)
	if err != nil {
		return nil, invalid(name, err.Error(), err)
	}
	return compiled, nil
}

// check type-checks a whole schema: every name that it uses must be defined.
func check(text string) error {
	compiled, err := compile("schema", text)
	if err != nil {
		return err
	}
	system := schema.NewTypeSystem(schema.ResolverForCompiledSchema(compiled))
	var problems []error
	for _, object := range compiled.ObjectDefinitions {
		if _, err := system.GetValidatedDefinition(context.Background(), object.GetName()); err != nil {
			problems = append(problems, err)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return invalid("schema", err.Error(), err)
	}
	return nil
}

func invalid(field, message string, cause error) *agentid.Error {
	return &agentid.Error{Kind: agentid.KindInvalid, Reason: ReasonSchema, Field: field, Message: message, Cause: cause}
}
