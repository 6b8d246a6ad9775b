package connectors

import (
	"fmt"
	"strings"
)

// pattern is a compiled path such as /v1/charges/{charge}: literal segments and one
// variable per remaining segment.
type pattern struct {
	segments []segment
}

type segment struct{ literal, variable string }

func parsePattern(text string) (pattern, error) {
	if !strings.HasPrefix(text, "/") || len(text) < 2 {
		return pattern{}, fmt.Errorf("%q must begin with a slash and name something", text)
	}
	var p pattern
	for part := range strings.SplitSeq(text[1:], "/") {
		name, opens := strings.CutPrefix(part, "{")
		name, closes := strings.CutSuffix(name, "}")
		switch {
		case opens && closes && isName(name):
			p.segments = append(p.segments, segment{variable: name})
		case !opens && !closes && isLiteral(part):
			p.segments = append(p.segments, segment{literal: part})
		default:
			return pattern{}, fmt.Errorf("segment %q of %q is neither a plain word nor {name}", part, text)
		}
	}
	return p, nil
}

// match compares decoded segments; variables take what stands in their place, which
// their input's type then checks.
func (p pattern) match(segments []string) (map[string]string, bool) {
	if len(segments) != len(p.segments) {
		return nil, false
	}
	for i, s := range p.segments {
		if s.variable == "" && s.literal != segments[i] {
			return nil, false
		}
	}
	var params map[string]string
	for i, s := range p.segments {
		if s.variable != "" {
			if params == nil {
				params = make(map[string]string, 1)
			}
			params[s.variable] = segments[i]
		}
	}
	return params, true
}

// expand writes the path with the variables' values, which ids make free of escapes.
func (p pattern) expand(value func(string) string) string {
	var room [128]byte
	b := room[:0]
	for _, s := range p.segments {
		b = append(b, '/')
		if s.variable == "" {
			b = append(b, s.literal...)
		} else {
			b = append(b, value(s.variable)...)
		}
	}
	return string(b)
}

func (p pattern) variables() []string {
	var out []string
	for _, s := range p.segments {
		if s.variable != "" {
			out = append(out, s.variable)
		}
	}
	return out
}

// overlaps reports whether some path matches both patterns.
func (p pattern) overlaps(q pattern) bool {
	if len(p.segments) != len(q.segments) {
		return false
	}
	for i := range p.segments {
		a, b := p.segments[i], q.segments[i]
		if a.variable == "" && b.variable == "" && a.literal != b.literal {
			return false
		}
	}
	return true
}

// isName admits lower-case words joined by '_' and '.': the names of variables.
func isName(s string) bool {
	if s == "" || len(s) > 64 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_.") == ""
}

func isLiteral(s string) bool {
	return s != "" && s != "." && s != ".." &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == ""
}
