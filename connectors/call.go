package connectors

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/httpx"
)

// passthrough is the name of a parameter that travels with one bracketed key, such
// as metadata[order], unread by policy.
type passthrough string

func (p passthrough) admits(name string) bool {
	rest, ok := strings.CutPrefix(name, string(p)+"[")
	key, closed := strings.CutSuffix(rest, "]")
	return ok && closed && key != "" && len(key) <= 64 && !strings.ContainsAny(key, "[]")
}

type resourceExpr struct {
	typ, variable string
	orAccount     bool
}

type holdExpr struct {
	key, amount, fact string
	lookup            *Lookup
}

// Call is one request's parsed inputs and what lookups add to them. It is made by
// Parse and belongs to one goroutine.
type Call struct {
	Operation *Operation

	values            map[string]any // inputs and variables: string or int64
	path, query, form string         // as they go upstream
	digest            string
}

// Parse reads the inputs of one request: the path's from Match, the query and the
// body as sent, both at most the kind's size. Every parameter must be declared, and
// come once. Errors are KindInvalid with the parameter as field: parameter_unknown,
// parameter_repeated, parameter_missing, parameter_invalid, form_malformed,
// form_too_many.
func (o *Operation) Parse(path map[string]string, query, body string) (*Call, error) {
	c := &Call{Operation: o, values: map[string]any{}}
	for name, text := range path {
		if err := c.set(o.inputs[name], text); err != nil {
			return nil, err
		}
	}
	var err error
	if c.query, err = c.read(inQuery, query); err != nil {
		return nil, err
	}
	if c.form, err = c.read(inForm, body); err != nil {
		return nil, err
	}
	if err := o.complete(c); err != nil {
		return nil, err
	}
	c.path = o.path.expand(c.text)
	sum := sha256.Sum256([]byte(o.Name + "\x00" + c.path + "\x00" + c.query + "\x00" + c.form))
	c.digest = hex.EncodeToString(sum[:])
	return c, nil
}

// read takes the parameters of one place and gives them as they go upstream.
func (c *Call) read(from source, text string) (string, error) {
	pairs, err := httpx.ParsePairs(text, c.Operation.kind.MaxParameters)
	if err != nil || len(pairs) == 0 {
		return "", err
	}
	seen := make(map[string]bool, len(pairs))
	for _, p := range pairs {
		if seen[p.Name] {
			return "", refuse(reasonRepeated, p.Name, "the parameter is given more than once")
		}
		seen[p.Name] = true
		in, declared := c.Operation.parameters[p.Name]
		switch {
		case declared && in.source == from:
			if err := c.set(in, p.Value); err != nil {
				return "", err
			}
		case from == inForm && slices.ContainsFunc(c.Operation.pass, func(x passthrough) bool { return x.admits(p.Name) }):
		default:
			return "", refuse(reasonUnknown, p.Name, "the operation has no such parameter here")
		}
	}
	return encode(pairs), nil
}

func (c *Call) set(in input, text string) error {
	v, err := in.parse(text)
	if err != nil {
		return err
	}
	c.values[in.name] = v
	return nil
}

func (o *Operation) complete(c *Call) error {
	for _, name := range o.required {
		if _, given := c.values[name]; !given {
			return refuse(reasonMissing, o.inputs[name].parameter, "is required")
		}
	}
	if len(o.exactlyOne) == 0 {
		return nil
	}
	given := 0
	for _, name := range o.exactlyOne {
		if _, ok := c.values[name]; ok {
			given++
		}
	}
	switch given {
	case 1:
		return nil
	case 0:
		return refuse(reasonMissing, o.exactlyOne[0], "exactly one of "+strings.Join(o.exactlyOne, ", ")+" is required")
	default:
		return refuse(reasonInvalid, o.exactlyOne[1], "exactly one of "+strings.Join(o.exactlyOne, ", ")+" may be given")
	}
}

// Path is the path to send upstream, written anew from what was parsed.
func (c *Call) Path() string { return c.path }

// RawQuery is the query to send upstream, written anew; "" for none.
func (c *Call) RawQuery() string { return c.query }

// Body is the body to send upstream, written anew; "" for none.
func (c *Call) Body() string { return c.form }

// Digest identifies operation, path, query and body: hexadecimal SHA-256.
func (c *Call) Digest() string { return c.digest }

func encode(pairs []httpx.Pair) string {
	var b strings.Builder
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(p.Name))
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(p.Value))
	}
	return b.String()
}

func (c *Call) text(name string) string {
	s, _ := c.values[name].(string)
	return s
}

// Resource is what the call acts on. It asks for the variables that the lookups set,
// and refuses with KindForbidden "resource_unknown" when they set none.
func (c *Call) Resource(tenant, connector string) (agentid.Ref, error) {
	r := c.Operation.resource
	if name := c.text(r.variable); name != "" {
		return agentid.ResourceRef(r.typ, tenant, name)
	}
	if !r.orAccount {
		return agentid.Ref{}, agentid.Errorf(agentid.KindForbidden, "resource_unknown", "the request names no resource")
	}
	return c.Operation.kind.AccountRef(tenant, connector)
}

// Inputs are the declared and derived inputs that have a value: string, int64 or Money.
func (c *Call) Inputs() map[string]any {
	out := make(map[string]any, len(c.values)+len(c.Operation.derived))
	for name, in := range c.Operation.inputs {
		v, ok := c.values[name]
		if !ok {
			continue
		}
		if in.typ == typeMoney {
			amount, _ := v.(int64)
			v = Money{Amount: amount, Currency: c.text(in.currency)}
		}
		out[name] = v
	}
	for name, from := range c.Operation.derived {
		if v, ok := c.values[from]; ok {
			out[name] = v
		}
	}
	return out
}

// Context is the caveat context of the call: string and int64 values by the caveat's
// parameter names. A variable without a value is left out, which policy refuses.
func (c *Call) Context() map[string]any {
	out := make(map[string]any, len(c.Operation.context))
	for name, from := range c.Operation.context {
		if v, ok := c.values[from]; ok {
			out[name] = v
		}
	}
	return out
}

// Hold is a reservation against a live value of the upstream.
type Hold struct {
	Key    string // "charge/ch_1", unique within one connector
	Amount int64  // minor units
	Fact   string // "charge.refundable"
	Lookup *Lookup
}

// Hold is what the call reserves; false when the operation has none.
func (c *Call) Hold() (Hold, bool) {
	h := c.Operation.hold
	if h == nil {
		return Hold{}, false
	}
	amount, _ := c.values[h.amount].(int64)
	return Hold{Key: h.key + "/" + c.text(h.key), Amount: amount, Fact: h.fact, Lookup: h.lookup}, true
}

// Facts are the live values that lookups set, in the currency of the call's money.
func (c *Call) Facts() map[string]Money {
	out := map[string]Money{}
	currency := ""
	if h := c.Operation.hold; h != nil {
		currency = c.text(c.Operation.inputs[h.amount].currency)
	}
	for _, name := range c.Operation.facts {
		if n, ok := c.values[name].(int64); ok {
			out[name] = Money{Amount: n, Currency: currency}
		}
	}
	return out
}
