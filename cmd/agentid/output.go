package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// printer writes data as JSON or as a table.
type printer struct{ format string }

// flag adds -o to a command.
func (p *printer) flag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&p.format, "output", "o", "table", "output format: table or json")
}

func (p *printer) check() error {
	if p.format != "table" && p.format != "json" {
		return usagef("-o %s: want table or json", p.format)
	}
	return nil
}

// object is one JSON object, as an answer holds it.
type object = map[string]any

// list prints objects: one row each, with the given members as columns. A column
// "a.b" reaches into a member.
func (p *printer) list(w io.Writer, items []object, columns ...string) error {
	if p.format == "json" {
		if items == nil {
			items = []object{}
		}
		return p.json(w, items)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	heads := make([]string, len(columns))
	for i, c := range columns {
		heads[i] = strings.ToUpper(strings.ReplaceAll(c[strings.LastIndex(c, ".")+1:], "_", " "))
	}
	_, _ = fmt.Fprintln(tw, strings.Join(heads, "\t"))
	for _, item := range items {
		cells := make([]string, len(columns))
		for i, c := range columns {
			cells[i] = cell(member(item, c))
		}
		_, _ = fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	return tw.Flush() //nolint:wrapcheck // standard output is gone
}

// one prints one object, a line per member.
func (p *printer) one(w io.Writer, item object) error {
	if p.format == "json" {
		return p.json(w, item)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, name := range names(item) {
		if receipt, ok := item[name].(object); ok && name == "revocation" {
			_, _ = fmt.Fprintf(tw, "%s\t%s\n", name, gatewaysSaid(receipt))
			continue
		}
		_, _ = fmt.Fprintf(tw, "%s\t%s\n", name, cell(item[name]))
	}
	return tw.Flush() //nolint:wrapcheck // standard output is gone
}

func (p *printer) json(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v) //nolint:wrapcheck // standard output is gone
}

// names puts what identifies an object first.
func names(item object) []string {
	order := map[string]int{"ref": -4, "kind": -3, "tenant": -2, "name": -1}
	out := make([]string, 0, len(item))
	for n := range item {
		out = append(out, n)
	}
	sort.Slice(out, func(i, j int) bool {
		if order[out[i]] != order[out[j]] {
			return order[out[i]] < order[out[j]]
		}
		return out[i] < out[j]
	})
	return out
}

func member(item object, path string) any {
	name, rest, deeper := strings.Cut(path, ".")
	v := item[name]
	if !deeper {
		return v
	}
	inner, _ := v.(object)
	return member(inner, rest)
}

// cell renders a value on one line. Text from outside is quoted where it could
// disturb a terminal.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		if v == "" {
			return "-"
		}
		for _, r := range v {
			if r < 0x20 || r == 0x7f || r == '\u2028' || r == '\u2029' || (r >= 0x80 && r < 0xa0) {
				return fmt.Sprintf("%q", v)
			}
		}
		return v
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = cell(e)
		}
		return strings.Join(parts, ",")
	case float64:
		return fmt.Sprintf("%v", json.Number(fmt.Sprintf("%.0f", v)))
	case object:
		data, err := json.Marshal(v)
		if err != nil {
			return "?"
		}
		return string(data)
	default:
		return fmt.Sprint(v)
	}
}
