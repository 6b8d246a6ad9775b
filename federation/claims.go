package federation

import (
	"errors"
	"slices"
	"strconv"

	"github.com/agentid-dev/agentid/capability/strictjson"
)

// Claims are the claims of an identity by their flat names: the members of a nested object
// follow its name after a dot, as in "kubernetes.io.namespace". A value is a string, an
// int64, a bool, or a []string for an array of these. Anything else, such as a fraction or
// an array of objects, cannot be matched and is left out.
type Claims map[string]any

// errAmbiguous marks a token in which two claims have one flat name.
var errAmbiguous = errors.New("two claims have one flat name")

// Flatten makes Claims of a JSON object. An object in which two claims come to one flat
// name is refused, because a rule could not tell them apart.
func Flatten(v strictjson.Value) (Claims, error) {
	out := Claims{}
	return out, flatten(out, "", v)
}

func flatten(out Claims, prefix string, v strictjson.Value) error {
	members, _ := v.Members()
	for _, m := range members {
		name := prefix + m.Name
		if m.Value.Kind() == strictjson.Object {
			if err := flatten(out, name+".", m.Value); err != nil {
				return err
			}
			continue
		}
		value, ok := scalar(m.Value)
		if !ok {
			continue
		}
		if _, twice := out[name]; twice {
			return errAmbiguous
		}
		out[name] = value
	}
	return nil
}

func scalar(v strictjson.Value) (any, bool) {
	switch v.Kind() {
	case strictjson.String:
		text, _ := v.Text()
		return text, true
	case strictjson.Number:
		n, err := v.Integer()
		return n, err == nil
	case strictjson.Bool:
		flag, _ := v.Flag()
		return flag, true
	case strictjson.Array:
		items, _ := v.Items()
		texts := []string{}
		for _, item := range items {
			value, ok := scalar(item)
			text, isOne := textOf(value)
			if !ok || !isOne {
				return nil, false
			}
			texts = append(texts, text)
		}
		return texts, true
	case strictjson.Invalid, strictjson.Null, strictjson.Object:
	}
	return nil, false
}

// textOf writes a single value as a rule would: a number in digits, a boolean as true or
// false.
func textOf(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case int64:
		return strconv.FormatInt(v, 10), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// Text is a claim that is one value; of an array or an absent claim it is "" and false.
func (c Claims) Text(name string) (string, bool) { return textOf(c[name]) }

// Values are the values of a claim: one, or the elements of an array.
func (c Claims) Values(name string) []string {
	if list, ok := c[name].([]string); ok {
		return list
	}
	if text, ok := textOf(c[name]); ok {
		return []string{text}
	}
	return nil
}

// Names are the names of all claims, sorted.
func (c Claims) Names() []string {
	out := make([]string, 0, len(c))
	for name := range c {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
