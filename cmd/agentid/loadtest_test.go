package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/loadtest/compare"
	"github.com/agentid-dev/agentid/loadtest/drive"
	"github.com/agentid-dev/agentid/loadtest/scenario"
)

// soak is the built-in mixture, as long as a test may take: every answer is held against
// what it must be, revocations included. Times are not judged.
func soak(t *testing.T, rate int, step time.Duration) *drive.Result {
	t.Helper()
	path, err := binary()
	require.NoError(t, err)
	s, err := scenario.Builtin("soak")
	require.NoError(t, err)
	s.Rates, s.Step, s.Warmup = []int{rate}, step, time.Second
	r, err := drive.Local(t.Context(), drive.LocalConfig{Binary: path, Scenario: s})
	require.NoError(t, err)
	p := r.Points[0]
	require.Zero(t, p.Load.All.Failed, "%+v", p.Load.Ops)
	for _, op := range []string{scenario.OpRead, scenario.OpDenied, scenario.OpRefund, scenario.OpMint, scenario.OpIntrospect, scenario.OpRevoke} {
		require.Positive(t, p.Load.Ops[op].Count, op)
	}
	require.Positive(t, p.CPU.Server)
	require.Positive(t, p.Memory[0].Goroutines)
	return r
}

func TestTheMixtureIsAnsweredAsItMustBe(t *testing.T) { soak(t, 50, 4*time.Second) }

func TestAComparisonQualifiesAndMeasures(t *testing.T) {
	path, err := binary()
	require.NoError(t, err)
	r, err := compare.Run(t.Context(), compare.Config{Binary: path, Rounds: 1, Slice: 100 * time.Millisecond, Without: compare.Peers()})
	require.NoError(t, err)
	require.Len(t, r.Cells, 2*len(compare.Workloads())+3, "broker and gateway apart are read from, with proofs, and have effects")
	for _, s := range r.Stacks {
		for i, p := range s.Probes {
			want := compare.Held
			if s.Name == compare.StackBare && i > 0 {
				want = compare.NotEnforced
			}
			require.Equal(t, want, p.Verdict, "%s: %s: %d", s.Name, p.Name, p.Status)
		}
	}
	for _, c := range r.Cells {
		require.Positive(t, c.PerSecond.Median, "%s %s", c.Workload, c.Stack)
	}
}

// TestALiveTargetIsLoadedWithinItsLimits: reads against a deployment that is there.
func TestALiveTargetIsLoadedWithinItsLimits(t *testing.T) {
	s := newSite(t)
	s.start()
	s.acme()
	file := s.write("reads.yaml", "name: reads\nabout: Reads.\nmix: [{do: read}]\nrates: [20]\nstep: 1s\n")
	html, out := filepath.Join(s.dir, "r.html"), filepath.Join(s.dir, "r.json")
	args := []string{
		"loadtest", "run", file, "--target", s.resource, "--issuer", s.base + "/acme", "--agent", "agent:acme/refunds-1",
		"--key", filepath.Join(s.dir, "refunds-1.key"), "-t", "read-customer", "-a", "customer=cus_ada", "--path", "/v1/customers/cus_ada",
		"--allow-host", "127.0.0.1", "--out", out, "--html", html, "--quiet",
	}
	code, said := s.cli(args...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, said, "has to be confirmed")
	_, said = s.cli(append(args, "--yes-load-this-target")...)
	require.NotContains(t, said, "not answered as they must be")
	data, err := os.ReadFile(out)
	require.NoError(t, err)
	var r drive.Result
	require.NoError(t, json.Unmarshal(data, &r))
	require.EqualValues(t, 20, r.Points[0].Load.Ops["read"].Classes["ok"])
	require.Nil(t, r.Points[0].CPU, "another's processes are not read")
	require.Contains(t, s.must("loadtest", "report", out, "--html", html), "reads: Reads.")
	page, err := os.ReadFile(html)
	require.NoError(t, err)
	require.Contains(t, string(page), "Latency as the load grows")
}

func TestScenariosAndResultsThatAreRefused(t *testing.T) {
	s := newSite(t)
	code, out := s.cli("loadtest", "run", s.write("bad.yaml", "name: bad\nabout: Bad.\nmix:\n  - do: delete\nrates: [1]\nstep: 1s\n"))
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "bad.yaml:4:9: mix[0].do: must be one of read")
	code, out = s.cli("loadtest", "run", "nothing")
	require.Equal(t, exitUsage, code)
	require.Contains(t, out, "warm-tokens")
	code, out = s.cli("loadtest", "report", s.write("bad.json", "{}"))
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, "is not a result")
	code, out = s.cli("loadtest", "compare", "--workload", "writes", "--quiet")
	require.Equal(t, exitFailed, code)
	require.Contains(t, out, `workload "writes"`)
}
