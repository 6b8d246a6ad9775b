package capability

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
)

// Constraints are typed limits on an operation's inputs: per input an object of one
// or several kinds, which must all hold. The zero value constrains nothing.
//
//	amount     {"max": 4200, "currency": "usd"}       at most 42.00 US dollars
//	count      {"max": 3}                             a whole number from 0 to 3
//	reason     {"in": ["duplicate", "fraudulent"]}    one of these
//	customer   {"is": "cus_123"}                      exactly this
//	path       {"prefix": "kv/app"}                   kv/app and what lies below it, not kv/apple
//	time       {"after": "…", "before": "…"}          RFC 3339; from after until just before before
//	client_ip  {"within": ["10.0.0.0/8"]}             an address of these networks
//	amount     {"at_most_fact": "charge.refundable"}  at most what the upstream says now
//	uses       {"max": 1}                             how often the token may be used; not an input
//
// A value is always in canonical form, so that equal limits have equal text and
// equal digests: sets sorted, networks merged, kinds that another kind of the same
// input already implies left out.
type Constraints struct {
	fields []namedLimit // sorted by name
}

type namedLimit struct {
	name string
	limit
}

// fieldUses is the one constrained name that is not an input.
const fieldUses = "uses"

// Term is one limit: an input and a kind, such as amount and max.
type Term struct{ Field, Kind string }

// ParseConstraints reads the JSON object described at Constraints. An unknown kind,
// a value of a wrong type, a fraction, a negative or a number above 2^53, kinds that
// no value satisfies together, and anything that strictjson refuses: KindInvalid,
// reason invalid_authorization_details, the field named, as in
// "constraints.amount.max".
func ParseConstraints(raw json.RawMessage) (Constraints, error) {
	v, err := strictjson.Parse(raw, strictjson.Limits{Bytes: maxRequestBytes, Depth: 4})
	if err != nil {
		return Constraints{}, detailError("constraints", "is not strict JSON").WithCause(err)
	}
	return constraintsFrom(v, "constraints")
}

func constraintsFrom(v strictjson.Value, path string) (Constraints, error) {
	members, ok := v.Members()
	if !ok {
		return Constraints{}, detailError(path, "want an object, have %s", v.Kind())
	}
	if len(members) > MaxFields {
		return Constraints{}, detailError(path, "constrains more than %d inputs", MaxFields)
	}
	var c Constraints
	for _, m := range members {
		at := path + "." + printable(m.Name)
		if !isName(m.Name) {
			return Constraints{}, detailError(at, "is not the name of an input")
		}
		parsed, err := parseLimit(m.Name, m.Value, at)
		if err != nil {
			return Constraints{}, err
		}
		normal, ok := parsed.normal()
		if !ok {
			return Constraints{}, detailError(at, "holds limits that no value satisfies together")
		}
		c.fields = append(c.fields, namedLimit{m.Name, normal})
	}
	slices.SortFunc(c.fields, func(a, b namedLimit) int { return strings.Compare(a.name, b.name) })
	return c, nil
}

// IsZero reports whether c constrains nothing. encoding/json uses it for omitzero.
func (c Constraints) IsZero() bool { return len(c.fields) == 0 }

// MarshalJSON writes the canonical form.
func (c Constraints) MarshalJSON() ([]byte, error) {
	out := make(map[string]map[string]any, len(c.fields))
	for _, f := range c.fields {
		out[f.name] = f.wire()
	}
	return json.Marshal(out)
}

// UnmarshalJSON is ParseConstraints.
func (c *Constraints) UnmarshalJSON(data []byte) error {
	parsed, err := ParseConstraints(data)
	if err != nil {
		return err
	}
	*c = parsed
	return nil
}

// Digest is the SHA-256 of the canonical form, in base64url.
func (c Constraints) Digest() string { return digestOf(c) }

// Fields are the names of the constrained inputs, sorted; "uses" is not among them.
func (c Constraints) Fields() []string {
	out := make([]string, 0, len(c.fields))
	for _, f := range c.fields {
		if f.name != fieldUses {
			out = append(out, f.name)
		}
	}
	return out
}

// Facts are the names of the facts that CheckFacts needs, sorted, each once.
func (c Constraints) Facts() []string {
	var out []string
	for _, f := range c.fields {
		out = append(out, f.facts...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Uses is how often the token may be used, and whether that is limited at all.
func (c Constraints) Uses() (limit int64, limited bool) {
	f, ok := c.field(fieldUses)
	if !ok {
		return 0, false
	}
	return f.max.amount, true
}

// Terms lists every limit, sorted: what an audit record names.
func (c Constraints) Terms() []Term {
	var out []Term
	for _, f := range c.fields {
		for _, kind := range f.kinds() {
			out = append(out, Term{Field: f.name, Kind: kind})
		}
	}
	return out
}

func (c Constraints) field(name string) (limit, bool) {
	for i := range c.fields {
		if c.fields[i].name == name {
			return c.fields[i].limit, true
		}
	}
	return limit{}, false
}

// Meet is the widest limit that is within both c and o. Where no value satisfies
// both, it is refused: KindForbidden, reason constraint_empty, the input named. A
// combination beyond the size limits of a parsed one is refused in the same way.
func (c Constraints) Meet(o Constraints) (Constraints, error) {
	var out Constraints
	i, j := 0, 0
	for i < len(c.fields) || j < len(o.fields) {
		switch {
		case j == len(o.fields) || i < len(c.fields) && c.fields[i].name < o.fields[j].name:
			out.fields = append(out.fields, c.fields[i])
			i++
		case i == len(c.fields) || o.fields[j].name < c.fields[i].name:
			out.fields = append(out.fields, o.fields[j])
			j++
		default:
			a, b := c.fields[i], o.fields[j]
			met, ok := a.meet(b.limit)
			if !ok {
				return Constraints{}, &agentid.Error{
					Kind: agentid.KindForbidden, Reason: ReasonEmpty, Field: "constraints." + a.name,
					Message: fmt.Sprintf("no value satisfies both %s and %s", a.text(), b.text()),
				}
			}
			out.fields = append(out.fields, namedLimit{a.name, met})
			i++
			j++
		}
	}
	if len(out.fields) > MaxFields {
		return Constraints{}, &agentid.Error{
			Kind: agentid.KindForbidden, Reason: ReasonEmpty, Field: "constraints",
			Message: fmt.Sprintf("together they constrain more than %d inputs", MaxFields),
		}
	}
	return out, nil
}

// Within reports, as nil, that every input that c allows parent allows too. Else it
// is KindForbidden, reason capability_exceeds_parent, with the field at fault and
// both limits. Within is the lattice's order: c is within parent exactly if
// c.Meet(parent) is c.
func (c Constraints) Within(parent Constraints) error {
	for _, p := range parent.fields {
		own, ok := c.field(p.name)
		if !ok {
			return exceeds("constraints."+p.name, "has no limit, its parent has %s", p.text())
		}
		if met, ok := own.meet(p.limit); !ok || !met.equal(own) {
			return exceeds("constraints."+p.name+own.looserThan(p.limit), "%s is not within its parent's %s", own.text(), p.text())
		}
	}
	return nil
}

func exceeds(field, format string, args ...any) *agentid.Error {
	return &agentid.Error{Kind: agentid.KindForbidden, Reason: ReasonExceeds, Field: field, Message: fmt.Sprintf(format, args...)}
}

func detailError(field, format string, args ...any) *agentid.Error {
	return &agentid.Error{Kind: agentid.KindInvalid, Reason: ReasonDetails, Field: field, Message: fmt.Sprintf(format, args...)}
}

func digestOf(v json.Marshaler) string {
	text, err := v.MarshalJSON()
	if err != nil { // nothing in a canonical form can fail to marshal
		return ""
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
