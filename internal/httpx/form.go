package httpx

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agentid-dev/agentid"
)

const mediaForm = "application/x-www-form-urlencoded"

// Pair is one decoded name and value, in the order of the body.
type Pair struct{ Name, Value string }

// ParsePairs reads an application/x-www-form-urlencoded text of at most limit pairs
// and keeps their order and repetitions. It refuses what readers disagree on: ';',
// a bad or encoded-NUL escape, control characters in a name, invalid UTF-8, a pair
// without a name. Errors are KindInvalid "form_malformed" or "form_too_many".
func ParsePairs(text string, limit int) ([]Pair, error) {
	if text == "" {
		return nil, nil
	}
	if strings.Count(text, "&") >= limit {
		return nil, agentid.Errorf(agentid.KindInvalid, "form_too_many", "more than %d parameters", limit)
	}
	pairs := make([]Pair, 0, strings.Count(text, "&")+1)
	for part := range strings.SplitSeq(text, "&") {
		pair, err := parsePair(part)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, pair)
	}
	return pairs, nil
}

func parsePair(part string) (Pair, error) {
	rawName, rawValue, _ := strings.Cut(part, "=")
	if strings.ContainsRune(part, ';') {
		return Pair{}, malformed("holds a ';'")
	}
	name, err := url.QueryUnescape(rawName)
	if err != nil {
		return Pair{}, malformed("holds a bad escape")
	}
	value, err := url.QueryUnescape(rawValue)
	if err != nil {
		return Pair{}, malformed("holds a bad escape")
	}
	switch {
	case name == "":
		return Pair{}, malformed("holds a parameter without a name")
	case !utf8.ValidString(name) || !utf8.ValidString(value):
		return Pair{}, malformed("is not UTF-8")
	case strings.ContainsFunc(name, isControl) || strings.ContainsRune(value, 0):
		return Pair{}, malformed("holds a control character")
	}
	return Pair{Name: name, Value: value}, nil
}

// Form is a parsed form. A parameter without a value counts as omitted
// (RFC 6749 section 3.2).
type Form struct{ values map[string][]string }

// Get is the one value of name, or "" when it was omitted.
func (f Form) Get(name string) string {
	if v := f.values[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// All is every value of name. More than one is possible only for a name that the
// rules call repeatable.
func (f Form) All(name string) []string { return slices.Clone(f.values[name]) }

// FormRules say what a form may hold.
type FormRules struct {
	MaxBytes   int64    // cap on the body
	MaxFields  int      // cap on the number of parameters
	Repeatable []string // names that may come more than once
}

// ParseForm reads a form from the body of r. It refuses another content type, a
// query string that is not empty (a parameter there is logged by proxies and
// invites two readings) and a repeated parameter, which the error names.
func ParseForm(w http.ResponseWriter, r *http.Request, rules FormRules) (Form, error) {
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return Form{}, agentid.Invalidf("query", "parameters belong in the body, not in the URL")
	}
	if err := CheckContentType(r, mediaForm); err != nil {
		return Form{}, err
	}
	body, err := ReadBody(w, r, rules.MaxBytes)
	if err != nil {
		return Form{}, err
	}
	pairs, err := ParsePairs(string(body), rules.MaxFields)
	if err != nil {
		return Form{}, err
	}
	seen := make(map[string]bool, len(pairs))
	form := Form{values: make(map[string][]string, len(pairs))}
	for _, p := range pairs {
		if seen[p.Name] && !slices.Contains(rules.Repeatable, p.Name) {
			return Form{}, &agentid.Error{
				Kind: agentid.KindInvalid, Reason: "parameter_repeated", Field: bounded(p.Name),
				Message: "the parameter is given more than once",
			}
		}
		seen[p.Name] = true
		if p.Value != "" {
			form.values[p.Name] = append(form.values[p.Name], p.Value)
		}
	}
	return form, nil
}

func malformed(what string) error {
	return agentid.Errorf(agentid.KindInvalid, "form_malformed", "the form %s", what)
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// bounded cuts a name that a peer chose before it is echoed as a field.
func bounded(name string) string {
	const limit = 64
	if len(name) <= limit {
		return name
	}
	return strings.ToValidUTF8(name[:limit], "")
}
