package graphstore_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/datastore/test"

	"github.com/agentid-dev/agentid/internal/graphstore"
)

// excluded is what SpiceDB's suite has and this store cannot have.
var excluded = map[string]string{
	test.ConcurrentWriteCategory: "holds two write transactions open at once and expects both to go on; this store has one writer, the second waits for the first",
	test.MigrationCategory:       "runs SpiceDB's SQL migration driver; this store has one format, and Open makes its tables",
}

// mayReport is what a run of the suite may leave out; nothing does.
var mayReport []string

const suiteChild = "AGENTID_SUITE_CHILD"

// suiteTester makes stores for the suite. Quantization is not a setting of this
// store: its optimized revision is always head.
type suiteTester struct{}

func (suiteTester) New(tb testing.TB, p test.RevisionParameters, watchBuffer uint16) (datastore.Datastore, error) {
	s, err := graphstore.Open(context.Background(), graphstore.Config{
		Path:        filepath.Join(tb.TempDir(), "graph.db"),
		GCWindow:    time.Duration(p.GCRetentionWindow),
		GCInterval:  time.Duration(p.GCRunInterval),
		WatchBuffer: watchBuffer,
	})
	if err == nil {
		tb.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

// NewPausable freezes the storage by taking SQLite's own file locks from outside.
func (st suiteTester) NewPausable(tb testing.TB) (datastore.Datastore, test.PauseFunc) {
	path := filepath.Join(tb.TempDir(), "graph.db")
	s, err := graphstore.Open(context.Background(), graphstore.Config{Path: path})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = s.Close() })
	return s, func(tb testing.TB) { freeze(tb, path) }
}

// TestDatastoreSuite runs SpiceDB's datastore suite in a process of its own, keeps
// the JSON of the run, and fails if any test in it failed or skipped itself.
func TestDatastoreSuite(t *testing.T) {
	tester := test.NewTesterFactory(graphstore.ErrConflict).NewTester(suiteTester{})
	if os.Getenv(suiteChild) != "" {
		test.AllWithExceptions(t, tester, test.WithCategories(slices.Collect(keys(excluded))...))
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestDatastoreSuite$", "-test.v=test2json", "-test.timeout=8m")
	cmd.Env = append(os.Environ(), suiteChild+"=1")
	raw, runErr := cmd.CombinedOutput()
	convert := exec.CommandContext(t.Context(), "go", "tool", "test2json", "-p", "graphstore")
	convert.Stdin = bytes.NewReader(raw)
	events, err := convert.Output()
	require.NoError(t, err)
	keep(t, events)
	counts := tally(t, events)
	require.NoError(t, runErr, "failed: %v", counts["fail"])
	require.Greater(t, len(counts["pass"]), 150, "the suite did not run")
	require.ElementsMatch(t, mayReport, counts["skip"], "tests skipped themselves")
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// keep writes the events and what was left out, with reasons, to the artifacts.
func keep(t *testing.T, events []byte) {
	t.Helper()
	dir := filepath.Join("..", "..", "artifacts")
	require.NoError(t, os.MkdirAll(dir, 0o755)) //nolint:gosec // read by others
	require.NoError(t, os.WriteFile(filepath.Join(dir, "graphstore-suite.json"), events, 0o600))
	left, err := json.MarshalIndent(excluded, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "graphstore-suite-excluded.json"), append(left, '\n'), 0o600))
}

// tally gives the names of tests by how they ended.
func tally(t *testing.T, events []byte) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	sc := bufio.NewScanner(bytes.NewReader(events))
	sc.Buffer(nil, 1<<24)
	for sc.Scan() {
		var e struct{ Action, Test string }
		require.NoError(t, json.Unmarshal(sc.Bytes(), &e))
		if e.Test != "" && slices.Contains([]string{"pass", "fail", "skip"}, e.Action) {
			out[e.Action] = append(out[e.Action], e.Test)
		}
	}
	require.NoError(t, sc.Err())
	return out
}

// TestSuiteReportSeesSkips proves that the check above would fire.
func TestSuiteReportSeesSkips(t *testing.T) {
	counts := tally(t, []byte(strings.Join([]string{
		`{"Action":"pass","Test":"A"}`, `{"Action":"skip","Test":"B"}`, `{"Action":"fail","Test":"C"}`,
	}, "\n")))
	require.Equal(t, map[string][]string{"pass": {"A"}, "skip": {"B"}, "fail": {"C"}}, counts)
}
