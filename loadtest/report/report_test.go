package report_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/loadtest/compare"
	"github.com/agentid-dev/agentid/loadtest/drive"
	"github.com/agentid-dev/agentid/loadtest/openloop"
	"github.com/agentid-dev/agentid/loadtest/report"
)

const hostile = `<script>alert(1)</script>"'&`

func load(n int64) *openloop.Result {
	p := openloop.Percentiles{Mean: 2000, P50: 1500, P90: 3000, P99: 9000, P999: 20000, Max: 30000, Curve: [][2]float64{{0, 500}, {50, 1500}, {99, 9000}, {100, 30000}}}
	op := openloop.Op{Count: n, Failed: 1, Classes: map[string]int64{"ok": n - 1, hostile: 1}, Latency: p, Service: p}
	return &openloop.Result{Seconds: 2, Sent: n, Lateness: p, All: op, Ops: map[string]openloop.Op{"read": op}}
}

func run(over string) *drive.Result {
	memory := make([]drive.Memory, 12)
	for i := range memory {
		memory[i] = drive.Memory{Seconds: float64(i), Resident: 100 << 20, Goroutines: 40}
	}
	r := &drive.Result{Kind: "run", Scenario: drive.Described{Name: "a-run", About: hostile, Over: over}, Faults: []string{hostile}}
	for i := range 3 {
		r.Points = append(r.Points, drive.Point{Value: 1 << (3 * i), Rate: 100 * (i + 1), Load: load(int64(200 * (i + 1))), CPU: &drive.CPU{ServerPerThousand: 0.2 * float64(i+1)}, Memory: memory})
	}
	return r
}

func comparison() *compare.Result {
	ratio := compare.Spread{Median: 0.5, Min: 0.4, Max: 0.6}
	return &compare.Result{
		Kind: "compare", Rounds: 3, Slice: 1,
		Stacks: []compare.Described{
			{Name: compare.StackBare, Probes: []compare.Probe{{Name: "p", Verdict: compare.NotEnforced}}},
			{Name: compare.StackOurs, Probes: []compare.Probe{{Name: "p", Verdict: compare.Held}}},
			{Name: "lost " + hostile, Probes: []compare.Probe{{Name: "p", Verdict: compare.Broken}}},
		},
		Cells: []compare.Cell{
			{Workload: "reads", Stack: compare.StackBare, PerSecond: compare.Spread{Median: 100}},
			{Workload: "reads", Stack: compare.StackOurs, Baseline: compare.StackBare, Throughput: &ratio, CPU: &ratio, Aim: 0.8},
			{Workload: "reads", Stack: "lost " + hostile, Baseline: compare.StackBare, Throughput: &ratio, CPU: &ratio},
		},
	}
}

// TestTheReportNeedsNothingElse: no script, no link, no font, no image of another host, and
// no text of a result becomes markup.
func TestTheReportNeedsNothingElse(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, report.HTML(&out, run(""), run("depth"), comparison()))
	text := out.String()
	require.Empty(t, regexp.MustCompile(`(?i)(src=|href="[^#]|url\(|@import|<script|<link|<iframe|https?://)`).FindAllString(text, -1))
	require.Contains(t, text, `default-src 'none'`)
	for _, shown := range []string{"Latency as the load grows", "Percentiles at each rate", "What 1,000 requests cost", "Slope of the cost over depth", "Memory of the server", "not enforced", "broken", "lost &lt;script&gt;"} {
		require.Contains(t, text, shown)
	}
	require.NotContains(t, text, "NaN")
	require.NotContains(t, text, "Inf")
}

func TestAnEmptyRunIsDrawnToo(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, report.HTML(&out, &drive.Result{Kind: "run"}, &compare.Result{Kind: "compare"}))
	require.NotContains(t, out.String(), "NaN")
	require.NoError(t, report.Text(&out, &compare.Result{Kind: "compare"}))
	require.Error(t, report.HTML(&out, "something else"))
	require.Error(t, report.Text(&out, 5))
}

func TestResultsAreReadBack(t *testing.T) {
	for _, result := range []any{run("depth"), comparison()} {
		data, err := json.Marshal(result)
		require.NoError(t, err)
		back, err := report.Read(data)
		require.NoError(t, err)
		require.Equal(t, result, back)
		var out bytes.Buffer
		require.NoError(t, report.Text(&out, back))
		require.Contains(t, out.String(), "P99")
	}
	for text, want := range map[string]string{
		`no`:                                 "is not JSON",
		`{"kind":"other"}`:                   "is not a result",
		`{"kind":"run","colour":"red"}`:      "another version",
		`{"kind":"compare","rounds":"many"}`: "another version",
	} {
		_, err := report.Read([]byte(text))
		require.ErrorContains(t, err, want)
	}
}
