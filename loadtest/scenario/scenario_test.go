package scenario_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/loadtest/scenario"
)

const good = `name: steady
about: Reads.
mix:
  - do: read
    weight: 9
  - do: mint
rates: [10, 20]
step: 2s
`

func TestAScenarioIsReadWithItsDefaults(t *testing.T) {
	s, err := scenario.Parse("steady.yaml", []byte(good))
	require.NoError(t, err)
	require.Equal(t, scenario.World{Tenants: 1, Agents: 1, Depth: 1}, s.World)
	require.Equal(t, scenario.Tokens{Binding: scenario.BindingDPoP, Reuse: scenario.ReuseWarm}, s.Tokens)
	require.Equal(t, []scenario.Share{{Do: "read", Weight: 9}, {Do: "mint", Weight: 1}}, s.Mix)
	require.Equal(t, 4*time.Second, s.Duration())
	require.Equal(t, 20, s.MaxRate())
}

// TestEachFaultNamesItsLine: what is wrong, and where.
func TestEachFaultNamesItsLine(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"name: steady", "name: Steady", "s.yaml:1:7: name: is required: lower-case"},
		{"about: Reads.", "about: ''", "s.yaml:2:8: about: is required"},
		{"  - do: read", "  - do: write", "s.yaml:4:9: mix[0].do: must be one of read"},
		{"weight: 9", "weight: -9", "s.yaml:5:13: mix[0].weight: must be from 1 to 1000"},
		{"  - do: mint", "  - do: read", "s.yaml:6:9: mix[1].do: is named twice"},
		{"rates: [10, 20]", "rates: [10, 0]", "s.yaml:7:13: rates[1]: must be from 1 to 200000"},
		{"rates: [10, 20]", "rates: [10, fast]", "s.yaml:7:13: rates[1]: expected a whole number"},
		{"step: 2s", "step: 2", "s.yaml:8:7: step: expected a duration"},
		{"step: 2s", "step: 1ms", "s.yaml:8:7: step: is required: from 100ms to 24h"},
		{"step: 2s", "step: 2s\nburst: -1", "s.yaml:9:8: burst: must be from 1"},
		{"step: 2s", "step: 2s\ntokens: {binding: cookie}", "s.yaml:9:19: tokens.binding: must be one of dpop, bearer"},
		{"step: 2s", "step: 2s\nworld: {depth: 33}", "s.yaml:9:16: world.depth: must be from 1 to 32"},
		{"step: 2s", "step: 2s\nvary: {over: depth, values: [1]}", "vary.values: must hold 2 to 16 values"},
		{"step: 2s", "step: 2s\nvary: {over: weight, values: [1, 2]}", "vary.over: must be one of depth, agents, tenants"},
		{"step: 2s", "step: 2s\nexpect: {max_failed: -1}", "s.yaml:9:22: expect.max_failed: must not be negative"},
		{"step: 2s", "step: 2s\nworkers: 5", "s.yaml:9:1: workers: unknown key"},
	} {
		text := strings.Replace(good, c.from, c.to, 1)
		require.NotEqual(t, good, text)
		_, err := scenario.Parse("s.yaml", []byte(text))
		require.ErrorContains(t, err, c.want)
	}
	_, err := scenario.Parse("s.yaml", []byte("name: a\n"))
	for _, missing := range []string{"about", "mix", "rates", "step"} {
		require.ErrorContains(t, err, missing+": is required", "all at once")
	}
	_, err = scenario.Parse("s.yaml", []byte(good+"---\n"+good))
	require.ErrorContains(t, err, "one YAML document")
	_, err = scenario.Load(filepath.Join(t.TempDir(), "none.yaml"))
	require.ErrorContains(t, err, "cannot be read")
	path := filepath.Join(t.TempDir(), "s.yaml")
	require.NoError(t, os.WriteFile(path, []byte(good), 0o600))
	_, err = scenario.Load(path)
	require.NoError(t, err)
}

func TestTheBuiltInScenariosAreGood(t *testing.T) {
	require.Subset(t, scenario.Names(), []string{
		"warm-tokens", "fresh-tokens", "unique-amounts", "deep-lineage", "wide-tenants", "revocation-storm", "mint-burst", "mixed", "soak",
	})
	for _, name := range scenario.Names() {
		s, err := scenario.Builtin(name)
		require.NoError(t, err)
		require.Equal(t, name, s.Name)
	}
	_, err := scenario.Builtin("none")
	require.ErrorContains(t, err, "warm-tokens")
}

func TestVaryingChangesOneThing(t *testing.T) {
	s, err := scenario.Builtin("deep-lineage")
	require.NoError(t, err)
	require.Equal(t, 32, s.At(32).World.Depth)
	require.Equal(t, s.World.Agents, s.At(32).World.Agents)
}
