package yamlfile

import (
	"fmt"
	"strings"
)

// Problem is one fault of a file.
type Problem struct {
	File    string
	Line    int    // from 1; 0 when the fault has no place in the file
	Column  int    // from 1
	Key     string // "gateway.listen[0]"
	Message string // what was expected
	Source  string // the line at fault; empty where it may hold a secret
}

// String gives "file:line:column: key: message" and, below it, the line itself.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Message)
	if p.Source != "" {
		fmt.Fprintf(&b, "\n  %4d | %s\n       | %s^", p.Line, p.Source, strings.Repeat(" ", max(p.Column-1, 0)))
	}
	return b.String()
}

// Error is all the problems of a file, in the order of their lines.
type Error struct{ Problems []Problem }

// Error implements error: one problem after the other.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}
