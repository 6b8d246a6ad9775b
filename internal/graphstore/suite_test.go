package graphstore_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/datastore/test"

	"github.com/agentid-dev/agentid/internal/graphstore"
)

// excluded names the tests of SpiceDB's suite that this store cannot pass, and why.
var excluded = map[string]string{
	"TestConcurrentWriteSerialization": "keeps one transaction open after its first write until a second one has committed; this store has one writer, so the second waits for the first",
	"TestMigration":                    "drives SpiceDB's SQL migrations; this store has one format and no migrations, Open makes its tables",
}

// spared are the tests that share the excluded one's category and pass here.
var spared = map[string]func(*testing.T, test.DatastoreTester){
	"TestConcurrentWriteDeadlock":                       test.ConcurrentWriteDeadlockTest,
	"TestStoredSchemaConcurrentSchemaWins":              test.StoredSchemaConcurrentSchemaWinsTest,
	"TestStoredSchemaWriteSucceedsUnderRelWriteTraffic": test.StoredSchemaWriteSucceedsUnderRelWriteTrafficTest,
}

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
	if os.Getenv(suiteChild) != "" {
		tester := test.NewTesterFactory(graphstore.ErrConflict).NewTester(suiteTester{})
		test.AllWithExceptions(t, tester, test.WithCategories(test.ConcurrentWriteCategory, test.MigrationCategory))
		for name, run := range spared {
			t.Run(name, func(t *testing.T) { run(t, tester) })
		}
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
	require.Empty(t, counts["skip"], "tests skipped themselves")
	require.Empty(t, missing(suiteTests(t), counts["pass"]), "tests were left out")
}

// suiteTests reads the names of all tests from the suite's source.
func suiteTests(t *testing.T) []string {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/authzed/spicedb").Output()
	require.NoError(t, err)
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "pkg", "datastore", "test", "datastore.go"))
	require.NoError(t, err)
	var names []string
	for _, m := range regexp.MustCompile(`t\.Run\("(Test\w+)"`).FindAllSubmatch(source, -1) {
		names = append(names, string(m[1]))
	}
	require.Greater(t, len(names), 90, "the suite's source has another form now")
	return names
}

// missing gives the tests that neither passed nor are excluded by name.
func missing(suite, passed []string) []string {
	var out []string
	for _, name := range suite {
		if _, ok := excluded[name]; !ok && !slices.Contains(passed, "TestDatastoreSuite/"+name) {
			out = append(out, name)
		}
	}
	return out
}

// keep writes the events and what was left out, with reasons, to the artifacts.
func keep(t *testing.T, events []byte) {
	t.Helper()
	dir := filepath.Join("..", "..", "artifacts")
	require.NoError(t, os.MkdirAll(dir, 0o755))
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
	require.Equal(t, []string{"TestLeftOut"}, missing([]string{"TestRan", "TestMigration", "TestLeftOut"}, []string{"TestDatastoreSuite/TestRan"}))
}
