package yamlfile

import (
	"encoding/json"
	"errors"
	"sort"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Document is one YAML document of a file, with its places.
type Document struct {
	File  string
	lines []string
	body  ast.Node
}

// Split parses a file into its documents. Empty documents are left out. A file
// that is not YAML gives an *Error.
func Split(file string, data []byte) ([]Document, error) {
	lines := strings.Split(string(data), "\n")
	parsed, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, syntax(file, lines, err)
	}
	var docs []Document
	for _, doc := range parsed.Docs {
		if doc == nil || doc.Body == nil {
			continue
		}
		if _, comment := doc.Body.(*ast.CommentGroupNode); comment {
			continue
		}
		if _, null := doc.Body.(*ast.NullNode); null {
			continue
		}
		docs = append(docs, Document{File: file, lines: lines, body: doc.Body})
	}
	return docs, nil
}

// syntax turns the parser's error into ours.
func syntax(file string, lines []string, err error) error {
	p := Problem{File: file, Message: "is not YAML"}
	var place yaml.Error
	if errors.As(err, &place) {
		p.Message = place.GetMessage()
		if tk := place.GetToken(); tk != nil && tk.Position != nil {
			p.Line, p.Column = tk.Position.Line, tk.Position.Column
			p.Source = lineAt(lines, p.Line)
		}
	}
	return &Error{Problems: []Problem{p}}
}

// Line is the line that the document's first key is on.
func (d Document) Line() int { return d.body.GetToken().Position.Line }

// Decode reads the document into a pointer to a struct, strictly. All problems are
// reported at once, as *Error. Keys are named by the tag "yaml".
func (d Document) Decode(into any) error {
	w := walker{doc: d}
	w.check(d.body, typeOf(into), "")
	if len(w.problems) == 0 {
		if err := yaml.NodeToValue(d.body, into, yaml.Strict()); err != nil {
			return syntax(d.File, d.lines, err)
		}
		return nil
	}
	sort.SliceStable(w.problems, func(i, j int) bool { return w.problems[i].Line < w.problems[j].Line })
	return &Error{Problems: w.problems}
}

// JSON is the document as JSON, for a service that does its own strict reading.
func (d Document) JSON() (json.RawMessage, error) {
	w := walker{doc: d}
	w.plain(d.body, "")
	if len(w.problems) > 0 {
		return nil, &Error{Problems: w.problems}
	}
	var value any
	if err := yaml.NodeToValue(d.body, &value); err != nil {
		return nil, syntax(d.File, d.lines, err)
	}
	out, err := json.Marshal(value)
	if err != nil {
		return nil, &Error{Problems: []Problem{{File: d.File, Line: d.Line(), Column: 1, Message: "holds a key that is not text"}}}
	}
	return out, nil
}

// Problem places a message at a key, such as "tokens.lifetime", or at the nearest
// key above it that the document holds.
func (d Document) Problem(key, message string) Problem {
	p := Problem{File: d.File, Key: key, Message: message, Line: d.Line(), Column: 1}
	for at := key; at != ""; at = parent(at) {
		path, err := yaml.PathString("$." + at)
		if err != nil {
			continue
		}
		node, err := path.FilterNode(d.body)
		if err != nil || node == nil || node.GetToken() == nil {
			continue
		}
		p.Line, p.Column = node.GetToken().Position.Line, node.GetToken().Position.Column
		break
	}
	p.Source = lineAt(d.lines, p.Line)
	return p
}

// parent cuts the last step of a key.
func parent(key string) string {
	return key[:max(strings.LastIndexAny(key, ".["), 0)]
}

func lineAt(lines []string, n int) string {
	if n < 1 || n > len(lines) {
		return ""
	}
	return strings.TrimRight(lines[n-1], "\r")
}
