// Package strictjson reads JSON from strangers into a small tree, and refuses
// everything that two readers could understand differently: a name given twice,
// names that differ in letter case only, control characters in a name, invalid
// UTF-8, lone surrogates, anything after the value, and more depth or values than
// allowed.
//
// It owns the grammar (RFC 8259, with the rules of RFC 7493) and the reading of
// integers. It knows nothing of tokens or capabilities, and never writes JSON.
package strictjson

import (
	"fmt"
	"math"
	"strconv"
)

// MaxInteger is the largest integer that every JSON reader represents exactly: 2^53.
const MaxInteger = 1 << 53

// Kind is the JSON type of a Value. The zero Kind is no value at all.
type Kind int

// The kinds of a Value.
const (
	Invalid Kind = iota
	Null
	Bool
	Number
	String
	Array
	Object
)

// String names the kind as an error message would.
func (k Kind) String() string {
	switch k {
	case Null:
		return "null"
	case Bool:
		return "a boolean"
	case Number:
		return "a number"
	case String:
		return "a string"
	case Array:
		return "an array"
	case Object:
		return "an object"
	case Invalid:
	}
	return "nothing"
}

// Value is one parsed JSON value. The zero Value is absent: its Kind is Invalid
// and every reader of it reports false.
type Value struct {
	kind   Kind
	text   string  // the string's content, the number's text, "true" or "false"
	nested *nested // of an array or object that is not empty
}

type nested struct {
	items   []Value
	members []Member
}

// Member is one name with its value, in the order of the text.
type Member struct {
	Name  string
	Value Value
}

// Kind is the JSON type.
func (v Value) Kind() Kind { return v.kind }

// Text returns the content of a string; of anything else it is "" and false.
func (v Value) Text() (string, bool) {
	if v.kind != String {
		return "", false
	}
	return v.text, true
}

// Flag returns the value of a boolean; of anything else it is false and false.
func (v Value) Flag() (value, ok bool) { return v.kind == Bool && v.text == "true", v.kind == Bool }

// Items returns the elements of an array.
func (v Value) Items() ([]Value, bool) {
	if v.nested == nil {
		return nil, v.kind == Array
	}
	return v.nested.items, v.kind == Array
}

// Members returns the members of an object.
func (v Value) Members() ([]Member, bool) {
	if v.nested == nil {
		return nil, v.kind == Object
	}
	return v.nested.members, v.kind == Object
}

// Get returns the member called name; absent, or not an object, is the zero Value.
func (v Value) Get(name string) Value {
	members, _ := v.Members()
	for i := range members {
		if members[i].Name == name {
			return members[i].Value
		}
	}
	return Value{}
}

// Integer reads a whole number written in plain digits, from -2^53 to 2^53. A
// fraction, an exponent and a minus zero are refused, even where their value is
// whole, so that no two readers see different numbers.
func (v Value) Integer() (int64, error) {
	if v.kind != Number {
		return 0, fmt.Errorf("want an integer, have %s", v.kind)
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	if err != nil || v.text == "-0" {
		return 0, fmt.Errorf("want an integer written in digits only")
	}
	if n > MaxInteger || n < -MaxInteger {
		return 0, fmt.Errorf("is beyond 2^53")
	}
	return n, nil
}

// Limits bound the work for one text. A zero field takes its default.
type Limits struct {
	Bytes  int // length of the text; default 65,536
	Depth  int // nesting of arrays and objects; default 32
	Values int // values of any kind; default 4,096
}

func (l Limits) withDefaults() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 64 << 10
	}
	if l.Depth <= 0 {
		l.Depth = 32
	}
	if l.Values <= 0 {
		l.Values = 4096
	}
	return l
}

// Parse reads exactly one JSON value. The error says what is wrong and where (a
// byte offset), and repeats nothing of the text.
func Parse(data []byte, limits Limits) (Value, error) {
	limits = limits.withDefaults()
	if len(data) > limits.Bytes {
		return Value{}, fmt.Errorf("json: longer than %d bytes", limits.Bytes)
	}
	if len(data) >= math.MaxInt32 {
		return Value{}, fmt.Errorf("json: too long")
	}
	p := parser{data: data, limits: limits}
	v, err := p.value(0)
	if err != nil {
		return Value{}, err
	}
	p.space()
	if p.pos != len(data) {
		return Value{}, p.fail("something follows the value")
	}
	return v, nil
}
