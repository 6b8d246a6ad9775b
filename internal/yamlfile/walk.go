package yamlfile

import (
	"encoding"
	"fmt"
	"reflect"
	"sort"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Sensitive marks a type whose text is not shown when it is refused.
type Sensitive interface{ Sensitive() }

var (
	textType      = reflect.TypeFor[encoding.TextUnmarshaler]()
	sensitiveType = reflect.TypeFor[Sensitive]()
	durationType  = reflect.TypeFor[time.Duration]()
)

func typeOf(pointer any) reflect.Type { return reflect.TypeOf(pointer).Elem() }

// walker compares a document with the type it is to be read into.
type walker struct {
	doc      Document
	problems []Problem
}

func (w *walker) add(node ast.Node, key, format string, args ...any) {
	pos := node.GetToken().Position
	w.problems = append(w.problems, Problem{
		File: w.doc.File, Line: pos.Line, Column: pos.Column, Key: key,
		Message: fmt.Sprintf(format, args...), Source: lineAt(w.doc.lines, pos.Line),
	})
}

// check walks one node against one type.
func (w *walker) check(node ast.Node, t reflect.Type, key string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if !w.simple(node, key) {
		return
	}
	if _, null := node.(*ast.NullNode); null {
		w.add(node, key, "is empty; leave the key out or give %s", expected(t))
		return
	}
	switch {
	case reflect.PointerTo(t).Implements(textType):
		w.text(node, t, key)
	case t == durationType:
		s, ok := node.(*ast.StringNode)
		if _, err := time.ParseDuration(value(s)); !ok || err != nil {
			w.add(node, key, "expected %s", expected(t))
		}
	case t.Kind() == reflect.Struct:
		w.fields(node, t, key)
	case t.Kind() == reflect.Slice:
		w.list(node, t, key)
	default:
		if !scalar(node, t.Kind()) {
			w.add(node, key, "expected %s", expected(t))
		}
	}
}

// simple refuses anchors, aliases, merges and tags, which hide what a file says.
func (w *walker) simple(node ast.Node, key string) bool {
	switch node.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		w.add(node, key, "anchors, aliases and tags are not supported")
		return false
	}
	return true
}

// plain refuses what simple refuses, at any depth.
func (w *walker) plain(node ast.Node, key string) {
	if !w.simple(node, key) {
		return
	}
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			if _, merge := v.Key.(*ast.MergeKeyNode); merge {
				w.add(v, key, "anchors, aliases and tags are not supported")
				continue
			}
			w.plain(v.Value, join(key, v.Key.String()))
		}
	case *ast.MappingValueNode:
		w.plain(n.Value, join(key, n.Key.String()))
	case *ast.SequenceNode:
		for i, v := range n.Values {
			w.plain(v, fmt.Sprintf("%s[%d]", key, i))
		}
	}
}

// text lets a type that reads itself from text judge its value.
func (w *walker) text(node ast.Node, t reflect.Type, key string) {
	s, ok := node.(*ast.StringNode)
	if !ok {
		w.add(node, key, "expected text")
	} else if err := reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s.Value)); err != nil {
		w.add(node, key, "%s", err.Error())
	} else {
		return
	}
	if t.Implements(sensitiveType) {
		w.problems[len(w.problems)-1].Source = ""
	}
}

// fields checks a mapping against a struct's keys.
func (w *walker) fields(node ast.Node, t reflect.Type, key string) {
	known := map[string]reflect.Type{}
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "" && name != "-" {
			known[name] = f.Type
		}
	}
	var values []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		w.add(node, key, "expected a mapping with the keys %s", names(known))
		return
	}
	for _, v := range values {
		name := v.Key.GetToken().Value
		ft, ok := known[name]
		if !ok {
			w.add(v.Key, join(key, name), "unknown key; expected one of %s", names(known))
			continue
		}
		w.check(v.Value, ft, join(key, name))
	}
}

func (w *walker) list(node ast.Node, t reflect.Type, key string) {
	seq, ok := node.(*ast.SequenceNode)
	if !ok {
		w.add(node, key, "expected a list of %s", expected(t.Elem()))
		return
	}
	for i, v := range seq.Values {
		w.check(v, t.Elem(), fmt.Sprintf("%s[%d]", key, i))
	}
}

func scalar(node ast.Node, kind reflect.Kind) bool {
	switch node.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return kind == reflect.String
	case *ast.BoolNode:
		return kind == reflect.Bool
	case *ast.IntegerNode:
		return kind == reflect.Int || kind == reflect.Int64
	default:
		return false
	}
}

func expected(t reflect.Type) string {
	if t == durationType {
		return "a duration such as 5m or 1h30m"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "a list"
	case reflect.Struct:
		return "a mapping"
	default:
		return "text"
	}
}

func names(known map[string]reflect.Type) string {
	out := make([]string, 0, len(known))
	for n := range known {
		out = append(out, n)
	}
	sort.Strings(out)
	return strings.Join(out, ", ")
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

func value(s *ast.StringNode) string {
	if s == nil {
		return ""
	}
	return s.Value
}
