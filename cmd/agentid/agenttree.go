package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
)

func (g group) tree(conn *connection) *cobra.Command {
	var (
		format, principal, tenant string
		all                       bool
	)
	cmd := &cobra.Command{
		Use: "tree {REF | --principal P}", Short: "Draw who acts for whom: an agent with its descendants, or all agents of a principal", Args: cobra.MaximumNArgs(1),
		Example: `  agentid agent tree --principal principal:acme/alice
  agentid agent tree agent:acme/planner --all -o dot | dot -Tsvg > tree.svg`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := treePath(args, tenant, principal)
			if err != nil {
				return err
			}
			draw, known := treeFormats[format]
			if !known {
				return usagef("-o %s: want table, json or dot", format)
			}
			if all {
				path += "?all=true"
			}
			var raw json.RawMessage
			if err := conn.call(cmd.Context(), http.MethodGet, path, nil, &raw); err != nil {
				return err
			}
			var t tree
			if err := json.Unmarshal(raw, &t); err != nil {
				return fmt.Errorf("the broker's answer: %w", err)
			}
			t.raw, t.now = raw, time.Now()
			return draw(t, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&principal, "principal", "", "the principal: its ref, or its name with --tenant")
	f.StringVar(&tenant, "tenant", env("AGENTID_TENANT", ""), "the tenant, where no ref names it")
	f.BoolVar(&all, "all", false, "those that are retired or expired, too")
	f.StringVarP(&format, "output", "o", "table", "output format: table, json or dot (Graphviz)")
	return cmd
}

func treePath(args []string, tenant, principal string) (string, error) {
	typ, segment, text := agentid.TypeAgent, "agents", ""
	switch {
	case len(args) == 1 && principal == "":
		text = args[0]
	case len(args) == 0 && principal != "":
		typ, segment, text = agentid.TypePrincipal, "principals", principal
	default:
		return "", usagef("name an agent, or --principal")
	}
	of, name, err := within(typ, tenant, text)
	if err != nil {
		return "", usageError{err}
	}
	return "/tenants/" + url.PathEscape(of) + "/" + segment + "/" + url.PathEscape(name) + "/tree", nil
}

var treeFormats = map[string]func(tree, io.Writer) error{"table": tree.table, "json": tree.json, "dot": tree.dot}

// tree is the broker's answer. Each agent is followed by its children.
type tree struct {
	Root      agentid.Ref `json:"root"`
	Agents    []node      `json:"agents"`
	Truncated bool        `json:"truncated"`

	raw json.RawMessage
	now time.Time
}

type node struct {
	Ref        agentid.Ref `json:"agent"`
	Type       agentid.Ref `json:"type"`
	Parent     agentid.Ref `json:"parent"`
	ChildKind  string      `json:"child_kind"`
	Depth      int         `json:"depth"`
	State      string      `json:"state"`
	FrozenFor  []string    `json:"frozen_for"`
	Live       bool        `json:"live"`
	LiveTokens int         `json:"live_tokens"`
	Expires    time.Time   `json:"expires"`
}

// state says what an agent is, and why.
func (n node) state() string {
	out := n.State
	if len(n.FrozenFor) > 0 {
		reasons := make([]string, len(n.FrozenFor))
		for i, r := range n.FrozenFor {
			reasons[i] = cell(r)
		}
		out += " (" + strings.Join(reasons, ", ") + ")"
	}
	if n.State == "active" && !n.Live {
		out += ", not live"
	}
	return out
}

// life is how long an agent has, in whole units.
func (n node) life(now time.Time) string {
	if n.Expires.IsZero() {
		return "-"
	}
	left := n.Expires.Sub(now)
	switch {
	case left <= 0:
		return "expired"
	case left < time.Minute:
		return left.Truncate(time.Second).String()
	case left < 48*time.Hour:
		return strings.TrimSuffix(left.Truncate(time.Minute).String(), "0s")
	}
	return strconv.Itoa(int(left/(24*time.Hour))) + "d"
}

// table draws the tree with its columns.
func (t tree) table(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "AGENT\tTYPE\tDEPTH\tSTATE\tTOKENS\tEXPIRES")
	if t.Root.Type() == agentid.TypePrincipal {
		_, _ = fmt.Fprintf(tw, "%s\t\t\t\t\t\n", t.Root)
	}
	for i, branch := range t.branches() {
		n := t.Agents[i]
		name := n.Ref.Name()
		if n.ChildKind == "independent" {
			name += " (independent)"
		}
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%d\t%s\t%d\t%s\n", branch+name, n.Type.Name(), n.Depth, n.state(), n.LiveTokens, n.life(t.now))
	}
	if t.Truncated {
		_, _ = fmt.Fprintln(tw, "…\t\t\t\t\t")
	}
	return tw.Flush() //nolint:wrapcheck // standard output is gone
}

// branches are the lines in front of each agent. They are drawn from the last agent
// upwards: what stands below decides whether a line goes on.
func (t tree) branches() []string {
	out := make([]string, len(t.Agents))
	shown := map[agentid.Ref]int{} // the level at which each agent is drawn
	levels := make([]int, len(t.Agents))
	for i, n := range t.Agents {
		level, under := shown[n.Parent]
		switch {
		case under:
			levels[i] = level + 1
		case t.Root.Type() == agentid.TypePrincipal:
			levels[i] = 1
		}
		shown[n.Ref] = levels[i]
	}
	more := map[int]bool{} // levels that have a sibling below
	for i := len(t.Agents) - 1; i >= 0; i-- {
		level := levels[i]
		for l := range more {
			if l > level {
				delete(more, l)
			}
		}
		var b strings.Builder
		for l := 1; l < level; l++ {
			b.WriteString(map[bool]string{true: "│  ", false: "   "}[more[l]])
		}
		if level > 0 {
			b.WriteString(map[bool]string{true: "├─ ", false: "└─ "}[more[level]])
		}
		more[level] = true
		out[i] = b.String()
	}
	return out
}

func (t tree) json(w io.Writer) error { return (&printer{}).json(w, t.raw) }

// dot draws the tree for Graphviz.
func (t tree) dot(w io.Writer) error {
	var b strings.Builder
	b.WriteString("digraph agents {\n  rankdir=LR;\n  node [shape=box];\n")
	if t.Root.Type() == agentid.TypePrincipal {
		fmt.Fprintf(&b, "  %s [shape=ellipse];\n", dotText(t.Root.String()))
	}
	for _, n := range t.Agents {
		style := "solid"
		if !n.Live {
			style = "dashed"
		}
		label := fmt.Sprintf("%s\n%s, depth %d\n%s\n%d tokens, %s", n.Ref.Name(), n.Type.Name(), n.Depth, n.state(), n.LiveTokens, n.life(t.now))
		fmt.Fprintf(&b, "  %s [label=%s, style=%s];\n", dotText(n.Ref.String()), dotText(label), style)
		switch {
		case !n.Parent.IsZero():
			fmt.Fprintf(&b, "  %s -> %s [label=%s];\n", dotText(n.Parent.String()), dotText(n.Ref.String()), dotText(n.ChildKind))
		case t.Root.Type() == agentid.TypePrincipal:
			fmt.Fprintf(&b, "  %s -> %s;\n", dotText(t.Root.String()), dotText(n.Ref.String()))
		}
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err //nolint:wrapcheck // standard output is gone
}

func dotText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}
