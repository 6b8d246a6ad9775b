package connectors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"github.com/agentid-dev/agentid"
)

// Lookup is one question to the upstream: a GET by id whose answer sets variables.
type Lookup struct {
	Name string

	path     pattern
	variable string // the id that it asks for
	object   string // what the answer must call itself
	same     map[string]string
	sets     []setRule
}

type setRule struct {
	target, field, minus string
	id                   *regexp.Regexp
	currency, required   bool
}

func (l *Lookup) setsVariable(name string) bool {
	return slices.ContainsFunc(l.sets, func(s setRule) bool { return s.target == name })
}

// Lookups are the operation's questions in order. Ask each Lookup's Path just before
// it is asked: earlier answers may set what it needs.
func (c *Call) Lookups() []*Lookup { return c.Operation.lookups }

// LookupPath is the path of l with the call's ids; false: its id is not known, and
// the lookup does not apply.
func (c *Call) LookupPath(l *Lookup) (string, bool) {
	if c.text(l.variable) == "" {
		return "", false
	}
	return l.path.expand(c.text), true
}

var currencyCode = regexp.MustCompile(`\A[a-z]{3}\z`)

// Learn reads the answer to l. The object must be of the asked kind and bear the
// asked id; anything else is KindUpstream "upstream_mismatch". One that names no other
// object where the operation needs it is KindNotFound "object_absent", as if the object
// itself were not there. A variable that an
// input or an earlier lookup set is never changed by another value, except the facts
// of the operation, which are live.
func (c *Call) Learn(l *Lookup, answer []byte) error {
	object, err := decodeObject(answer)
	if err != nil {
		return mismatch(l, err)
	}
	id, _ := object["id"].(string)
	kind, _ := object["object"].(string)
	if id != c.text(l.variable) || kind != l.object {
		return mismatch(l, errors.New("the answer is another object than the one asked for"))
	}
	for field, variable := range l.same {
		if want := c.text(variable); want != "" && object[field] != want {
			return mismatch(l, fmt.Errorf("field %s differs from %s", field, variable))
		}
	}
	for _, s := range l.sets {
		v, err := s.value(object)
		if err != nil {
			return mismatch(l, err)
		}
		if v == nil && s.required && s.id != nil {
			return agentid.Errorf(agentid.KindNotFound, "object_absent", "there is no such object")
		}
		if err := c.learn(s, v); err != nil {
			return mismatch(l, err)
		}
	}
	return nil
}

func (c *Call) learn(s setRule, v any) error {
	if v == nil {
		if s.required {
			return fmt.Errorf("field %s has no value", s.field)
		}
		return nil
	}
	old, had := c.values[s.target]
	if had && old != v && !slices.Contains(c.Operation.facts, s.target) {
		return fmt.Errorf("field %s contradicts what is known of %s", s.field, s.target)
	}
	c.values[s.target] = v
	return nil
}

// value is a string, an int64, or nil for an absent or null field.
func (s setRule) value(object map[string]any) (any, error) {
	raw := object[s.field]
	if raw == nil {
		return nil, nil //nolint:nilnil // an absent value is no error: required says whether it may be
	}
	if s.id == nil && !s.currency {
		return s.number(object)
	}
	text, ok := raw.(string)
	if nested, isObject := raw.(map[string]any); isObject {
		text, ok = nested["id"].(string)
	}
	want := s.id
	if s.currency {
		want = currencyCode
	}
	if !ok || !want.MatchString(text) {
		return nil, fmt.Errorf("field %s is not what was expected", s.field)
	}
	return text, nil
}

func (s setRule) number(object map[string]any) (any, error) {
	n, err := whole(object, s.field)
	if err != nil || s.minus == "" {
		return n, err
	}
	less, err := whole(object, s.minus)
	if err != nil {
		return nil, err
	}
	return n - less, nil
}

func whole(object map[string]any, field string) (int64, error) {
	number, ok := object[field].(json.Number)
	if !ok {
		return 0, fmt.Errorf("field %s is not a number", field)
	}
	n, err := number.Int64()
	if err != nil || n < 0 || n > MaxInteger {
		return 0, fmt.Errorf("field %s is not a whole number in range", field)
	}
	return n, nil
}

// decodeObject reads one JSON object, its numbers as written.
func decodeObject(text []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("data follows the object")
	}
	return object, nil
}

func mismatch(l *Lookup, cause error) error {
	return &agentid.Error{
		Kind: agentid.KindUpstream, Reason: "upstream_mismatch",
		Message: "the upstream's answer cannot be relied on", Cause: fmt.Errorf("lookup %s: %w", l.Name, cause),
	}
}
