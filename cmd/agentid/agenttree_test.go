package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const treeAnswer = `{"root":"principal:acme/alice","agents":[
 {"agent":"agent:acme/a","type":"agent_type:acme/planner","depth":0,"state":"active","live":true,"live_tokens":2,"expires":"2026-01-01T02:00:30Z"},
 {"agent":"agent:acme/a1","type":"agent_type:acme/t","parent":"agent:acme/a","child_kind":"attenuated","depth":1,"state":"frozen","frozen_for":["operator","evil\u001b[31m"],"expires":"2026-01-01T00:00:30Z"},
 {"agent":"agent:acme/a11","type":"agent_type:acme/t","parent":"agent:acme/a1","child_kind":"independent","depth":2,"state":"active","expires":"2026-01-09T00:00:00Z"},
 {"agent":"agent:acme/a2","type":"agent_type:acme/t","parent":"agent:acme/a","child_kind":"attenuated","depth":1,"state":"expired","expires":"2025-12-31T00:00:00Z"},
 {"agent":"agent:acme/b","type":"agent_type:acme/t","depth":0,"state":"active","live":true,"live_tokens":0}],"truncated":true}`

func parsedTree(t *testing.T) tree {
	t.Helper()
	var out tree
	require.NoError(t, json.Unmarshal([]byte(treeAnswer), &out))
	out.raw, out.now = json.RawMessage(treeAnswer), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return out
}

func TestTreeIsDrawn(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, parsedTree(t).table(&b))
	var lines []string
	for line := range strings.Lines(b.String()) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	require.Equal(t, []string{
		`AGENT                       TYPE     DEPTH  STATE                              TOKENS  EXPIRES`,
		`principal:acme/alice`,
		`├─ a                        planner  0      active                             2       2h0m`,
		`│  ├─ a1                    t        1      frozen (operator, "evil\x1b[31m")  0       30s`,
		`│  │  └─ a11 (independent)  t        2      active, not live                   0       8d`,
		`│  └─ a2                    t        1      expired                            0       expired`,
		`└─ b                        t        0      active                             0       -`,
		`…`,
	}, lines)
}

func TestTreeForGraphviz(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, parsedTree(t).dot(&b))
	dot := b.String()
	require.Contains(t, dot, `"principal:acme/alice" -> "agent:acme/a";`)
	require.Contains(t, dot, `"agent:acme/a1" -> "agent:acme/a11" [label="independent"];`)
	require.Contains(t, dot, `style=dashed`)
	require.NotContains(t, dot, "\x1b")
	require.Contains(t, dot, `(operator, \"evil\\x1b[31m\")`)
	require.Equal(t, 1, strings.Count(dot, "{"))
}

func TestTreeOfWhat(t *testing.T) {
	for _, c := range []struct {
		args              []string
		tenant, principal string
		path              string
	}{
		{[]string{"agent:acme/a"}, "", "", "/tenants/acme/agents/a/tree"},
		{[]string{"a"}, "acme", "", "/tenants/acme/agents/a/tree"},
		{nil, "", "principal:acme/alice", "/tenants/acme/principals/alice/tree"},
		{nil, "acme", "alice", "/tenants/acme/principals/alice/tree"},
		{nil, "", "alice", ""},
		{nil, "", "", ""},
		{[]string{"agent:acme/a"}, "", "principal:acme/alice", ""},
		{[]string{"agent:acme/a"}, "other", "", ""},
		{[]string{"principal:acme/a"}, "", "", ""},
	} {
		path, err := treePath(c.args, c.tenant, c.principal)
		if c.path == "" {
			_, usage := err.(usageError) //nolint:errorlint // bare
			require.True(t, usage, "%+v", c)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.path, path)
	}
}

func TestChildrenByTheCommandLine(t *testing.T) {
	s := newSite(t)
	s.start()
	s.acme()
	s.family()
	in := func(name string) string { return filepath.Join(s.dir, name) }
	byParent := func(name string, more ...string) []string {
		return append([]string{
			"agent", "spawn", "agent:acme/" + name, "--parent", "refunds-1", "--parent-key", in("refunds-1.key"),
			"--type", "refund-agent", "--key-out", in(name + ".key"),
		}, more...)
	}
	require.Contains(t, s.must(byParent("c1")...), "agent:acme/c1")
	require.Contains(t, s.must("agent", "tree", "agent:acme/refunds-1"), "└─ c1")
	require.Contains(t, s.must("agent", "tree", "--principal", "alice", "--tenant", "acme", "-o", "json"), `"agent:acme/c1"`)
	mint := []string{"token", "--issuer", s.base + "/acme", "--agent", "agent:acme/c1", "--resource", s.resource, "-t", "read-customer", "-a", "customer=cus_ada", "--key"}
	s.must(append(mint, in("c1.key"))...)

	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"the name is taken":        {append(byParent("c1"), "--key-out", in("c1-again.key")), exitFailed, "agent_exists"},
		"a key is not overwritten": {append(byParent("c2"), "--key-out", in("c1.key")), exitFailed, "not overwritten"},
		"independent":              {byParent("c3", "--kind", "independent"), exitFailed, "independent_not_allowed"},
		"no such kind":             {byParent("c4", "--kind", "free"), exitUsage, "attenuated or independent"},
		"lives too long":           {byParent("c5", "--for", "100h"), exitFailed, "lifetime_exceeds_parent"},
		"not its parent's key":     {append(byParent("c6"), "--parent-key", in("c1.key")), exitFailed, "client_not_authenticated"},
		"another tenant's parent":  {append(byParent("c7"), "--parent", "agent:other/x"), exitUsage, "another tenant"},
		"respawn without a key":    {[]string{"agent", "respawn", "agent:acme/c1", "--name", "c9", "--principal", "alice"}, exitUsage, "--key-out"},
		"narrow by nothing":        {[]string{"agent", "narrow", "agent:acme/c1"}, exitUsage, "--ceiling"},
		"rotate to nowhere":        {[]string{"agent", "rotate", "agent:acme/c1", "--key", in("c1.key")}, exitUsage, "--key-out"},
		"tree of nobody":           {[]string{"agent", "tree", "agent:acme/nobody"}, exitFailed, "agent_unknown"},
	} {
		code, out := s.cli(c.args...)
		require.Equal(t, c.code, code, "%s: %s", name, out)
		require.Contains(t, out, c.says, name)
	}

	s.must("agent", "rotate", "agent:acme/c1", "--key", in("c1.key"), "--key-out", in("c1.new.key"))
	code, _ := s.cli(append(mint, in("c1.key"))...)
	require.Equal(t, exitFailed, code, "the old key")
	s.must(append(mint, in("c1.new.key"))...)

	s.must("agent", "freeze", "agent:acme/refunds-1")
	code, out := s.cli(byParent("c8")...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "parent_frozen")
	require.Contains(t, s.must("agent", "tree", "agent:acme/refunds-1"), "active, not live")
}
