package strictjson

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// foldScan is the number of members up to which names are compared pair by pair.
const foldScan = 32

type parser struct {
	data   []byte
	pos    int
	count  int
	limits Limits
}

func (p *parser) fail(what string) error {
	return fmt.Errorf("json: %s at byte %d", what, p.pos)
}

func (p *parser) space() {
	for p.pos < len(p.data) {
		switch p.data[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// take consumes c if it comes next, after white space.
func (p *parser) take(c byte) bool {
	p.space()
	if p.pos < len(p.data) && p.data[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

func (p *parser) value(depth int) (Value, error) {
	p.space()
	if p.pos >= len(p.data) {
		return Value{}, p.fail("the text ends too early")
	}
	if p.count++; p.count > p.limits.Values {
		return Value{}, p.fail("too many values")
	}
	switch c := p.data[p.pos]; {
	case c == '{':
		return p.object(depth + 1)
	case c == '[':
		return p.array(depth + 1)
	case c == '"':
		s, err := p.text()
		return Value{kind: String, text: s}, err
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for _, word := range []struct {
		text string
		kind Kind
	}{{"null", Null}, {"true", Bool}, {"false", Bool}} {
		if bytes.HasPrefix(p.data[p.pos:], []byte(word.text)) {
			p.pos += len(word.text)
			return Value{kind: word.kind, text: word.text}, nil
		}
	}
	return Value{}, p.fail("not a JSON value")
}

func (p *parser) array(depth int) (Value, error) {
	if depth > p.limits.Depth {
		return Value{}, p.fail("nested too deeply")
	}
	p.pos++
	if p.take(']') {
		return Value{kind: Array}, nil
	}
	n := &nested{}
	for {
		item, err := p.value(depth)
		if err != nil {
			return Value{}, err
		}
		n.items = append(n.items, item)
		if p.take(']') {
			return Value{kind: Array, nested: n}, nil
		}
		if !p.take(',') {
			return Value{}, p.fail("want ',' or ']'")
		}
	}
}

func (p *parser) object(depth int) (Value, error) {
	if depth > p.limits.Depth {
		return Value{}, p.fail("nested too deeply")
	}
	p.pos++
	if p.take('}') {
		return Value{kind: Object}, nil
	}
	n := &nested{members: make([]Member, 0, 4)}
	var seen map[string]struct{}
	for {
		p.space()
		if p.pos >= len(p.data) || p.data[p.pos] != '"' {
			return Value{}, p.fail("want a name")
		}
		name, err := p.text()
		if err != nil {
			return Value{}, err
		}
		if seen, err = p.checkName(name, n.members, seen); err != nil {
			return Value{}, err
		}
		if !p.take(':') {
			return Value{}, p.fail("want ':'")
		}
		item, err := p.value(depth)
		if err != nil {
			return Value{}, err
		}
		n.members = append(n.members, Member{Name: name, Value: item})
		if p.take('}') {
			return Value{kind: Object, nested: n}, nil
		}
		if !p.take(',') {
			return Value{}, p.fail("want ',' or '}'")
		}
	}
}

// checkName refuses a name with control characters and one that is there already,
// in any letter case. Small objects are scanned; larger ones keep a set.
func (p *parser) checkName(name string, members []Member, seen map[string]struct{}) (map[string]struct{}, error) {
	for _, r := range name {
		if r < 0x20 || r == 0x7f {
			return seen, p.fail("a name holds a control character")
		}
	}
	if len(members) < foldScan {
		for i := range members {
			if strings.EqualFold(members[i].Name, name) {
				return seen, p.fail("a name is given twice")
			}
		}
		return seen, nil
	}
	if seen == nil {
		seen = make(map[string]struct{}, 2*foldScan)
		for i := range members {
			seen[fold(members[i].Name)] = struct{}{}
		}
	}
	key := fold(name)
	if _, twice := seen[key]; twice {
		return seen, p.fail("a name is given twice")
	}
	seen[key] = struct{}{}
	return seen, nil
}

func (p *parser) number() (Value, error) {
	start := p.pos
	if p.data[p.pos] == '-' {
		p.pos++
	}
	whole := p.digits()
	if whole == 0 || whole > 1 && p.data[p.pos-whole] == '0' {
		return Value{}, p.fail("not a number")
	}
	if p.pos < len(p.data) && p.data[p.pos] == '.' {
		p.pos++
		if p.digits() == 0 {
			return Value{}, p.fail("not a number")
		}
	}
	if p.pos < len(p.data) && (p.data[p.pos] == 'e' || p.data[p.pos] == 'E') {
		p.pos++
		if p.pos < len(p.data) && (p.data[p.pos] == '+' || p.data[p.pos] == '-') {
			p.pos++
		}
		if p.digits() == 0 {
			return Value{}, p.fail("not a number")
		}
	}
	return Value{kind: Number, text: string(p.data[start:p.pos])}, nil
}

func (p *parser) digits() int {
	start := p.pos
	for p.pos < len(p.data) && p.data[p.pos] >= '0' && p.data[p.pos] <= '9' {
		p.pos++
	}
	return p.pos - start
}

// text reads a string from its opening to its closing quote.
func (p *parser) text() (string, error) {
	p.pos++
	start := p.pos
	for p.pos < len(p.data) {
		switch c := p.data[p.pos]; {
		case c == '"':
			s := p.data[start:p.pos]
			if !utf8.Valid(s) {
				return "", p.fail("a string is not UTF-8")
			}
			p.pos++
			return string(s), nil
		case c == '\\':
			return p.escaped(start)
		case c < 0x20:
			return "", p.fail("a string holds a control character")
		}
		p.pos++
	}
	return "", p.fail("a string does not end")
}

// escaped goes on with a string whose first escape is at p.pos.
func (p *parser) escaped(start int) (string, error) {
	out := append([]byte(nil), p.data[start:p.pos]...)
	for p.pos < len(p.data) {
		c := p.data[p.pos]
		switch {
		case c == '"':
			p.pos++
			if !utf8.Valid(out) {
				return "", p.fail("a string is not UTF-8")
			}
			return string(out), nil
		case c < 0x20:
			return "", p.fail("a string holds a control character")
		case c != '\\':
			out = append(out, c)
			p.pos++
		default:
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
		}
	}
	return "", p.fail("a string does not end")
}

func (p *parser) escape() (rune, error) {
	if p.pos+1 >= len(p.data) {
		return 0, p.fail("an escape does not end")
	}
	c := p.data[p.pos+1]
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		p.pos += 2
		return rune("\"\\/\b\f\n\r\t"[i]), nil
	}
	if c != 'u' {
		return 0, p.fail("an unknown escape")
	}
	r, err := p.hex4()
	if err != nil {
		return 0, err
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if p.pos+1 >= len(p.data) || p.data[p.pos] != '\\' || p.data[p.pos+1] != 'u' {
		return 0, p.fail("a lone surrogate")
	}
	low, err := p.hex4()
	if err != nil {
		return 0, err
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, p.fail("a lone surrogate")
	}
	return r, nil
}

// hex4 reads \uXXXX at p.pos.
func (p *parser) hex4() (rune, error) {
	if p.pos+6 > len(p.data) {
		return 0, p.fail("an escape does not end")
	}
	var r rune
	for _, c := range p.data[p.pos+2 : p.pos+6] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, p.fail("an escape is not hexadecimal")
		}
	}
	p.pos += 6
	return r, nil
}
