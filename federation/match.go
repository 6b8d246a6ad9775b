package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
)

// Match is what one claim must be: exactly one of Is, In and Like is set. Values are
// compared byte for byte. Of a claim that is an array one element has to match. The zero
// Match matches nothing.
//
// In JSON it is {"is": "x"}, {"in": ["x", "y"]} or {"like": "x:*"}; a plain string is short
// for is.
type Match struct {
	Is   string   `json:"is,omitempty"`
	In   []string `json:"in,omitempty"`
	Like string   `json:"like,omitempty"` // a pattern: see ParsePattern
}

// UnmarshalJSON implements json.Unmarshaler, strictly.
func (m *Match) UnmarshalJSON(data []byte) error {
	v, err := strictjson.Parse(data, strictjson.Limits{Depth: 3})
	if err != nil {
		return err
	}
	if text, ok := v.Text(); ok {
		*m = Match{Is: text}
		return nil
	}
	members, ok := v.Members()
	if !ok {
		return errors.New("want a string, or one of is, in, like")
	}
	for _, member := range members {
		if !slices.Contains([]string{"is", "in", "like"}, member.Name) {
			return fmt.Errorf("%s is unknown: want is, in or like", member.Name)
		}
	}
	type plain Match
	return json.Unmarshal(data, (*plain)(m))
}

// Validate says what is wrong with m: KindInvalid.
func (m Match) Validate() error {
	ways := 0
	for _, used := range []bool{m.Is != "", len(m.In) > 0, m.Like != ""} {
		if used {
			ways++
		}
	}
	if ways != 1 {
		return agentid.Invalidf("", "want exactly one of is, in and like")
	}
	if slices.Contains(m.In, "") || len(m.In) > maxAlternatives {
		return agentid.Invalidf("in", "want 1 to %d values, none empty", maxAlternatives)
	}
	if m.Like != "" {
		if _, err := ParsePattern(m.Like); err != nil {
			return agentid.Invalidf("like", "%s", err.Error())
		}
	}
	return nil
}

const (
	maxAlternatives = 64
	maxPattern      = 512
	maxValue        = 2048
)

// Holds says whether the claim matches.
func (m Match) Holds(c Claims, name string) bool {
	r, err := Require(map[string]Match{name: m})
	return err == nil && r.Check(c) == nil
}

// String is m as the dry run shows it.
func (m Match) String() string {
	switch {
	case m.Like != "":
		return "like " + m.Like
	case len(m.In) > 0:
		return "in " + strings.Join(m.In, " ")
	}
	return m.Is
}

// Pattern is an anchored pattern that knows separators. The zero Pattern matches nothing.
type Pattern struct{ compiled *regexp.Regexp }

// separators end a segment of a value.
const separators = "/:.@,;|=#?&%"

// segment is what one star stands for: neither a separator nor anything that two readers
// could see differently.
const (
	segment = `[A-Za-z0-9_+~$!-]+`
	deep    = `[A-Za-z0-9_+~$!-][A-Za-z0-9_+~$!.-]*`
)

// ParsePattern reads a pattern such as "repo:acme/*:ref:refs/heads/main". A star stands for
// one whole segment, one or more letters, digits and _ + ~ $ ! -, between separators
// (/ : . @ , ; | = # ? & %): it never stands for a part of a segment and never crosses a
// separator, so that "acme*" cannot be written and "acme/*" does not admit "acme/x/y". Two
// stars, at the end and after a slash, stand for one or more segments of a path. The
// pattern covers the whole value, and its first segment is literal.
func ParsePattern(text string) (Pattern, error) {
	if text == "" || len(text) > maxPattern {
		return Pattern{}, fmt.Errorf("want 1 to %d bytes", maxPattern)
	}
	tail, literal := "", false
	if head, ok := strings.CutSuffix(text, "/**"); ok {
		text, tail = head, "/"+deep+`(?:/`+deep+`)*`
	}
	var b strings.Builder
	_, _ = b.WriteString(`\A(?:`)
	for {
		end := strings.IndexAny(text, separators)
		part, sep, rest := text, "", ""
		if end >= 0 {
			part, sep, rest = text[:end], text[end:end+1], text[end+1:]
		}
		switch {
		case part == "*" && !literal:
			return Pattern{}, errors.New("begins with a star: the first segment must be literal")
		case part == "*":
			_, _ = b.WriteString(segment)
		case strings.Contains(part, "*"):
			return Pattern{}, errors.New("a star stands for a whole segment, two stars for the end of a path")
		default:
			literal = literal || part != ""
			_, _ = b.WriteString(regexp.QuoteMeta(part))
		}
		_, _ = b.WriteString(regexp.QuoteMeta(sep))
		if end < 0 {
			break
		}
		text = rest
	}
	if !literal {
		return Pattern{}, errors.New("has no literal segment")
	}
	_, _ = b.WriteString(tail + `)\z`)
	compiled, err := regexp.Compile(b.String())
	if err != nil {
		return Pattern{}, errors.New("is not a pattern")
	}
	return Pattern{compiled}, nil
}

// Matches says whether the pattern covers the whole value.
func (p Pattern) Matches(value string) bool {
	return p.compiled != nil && len(value) <= maxValue && p.compiled.MatchString(value)
}
