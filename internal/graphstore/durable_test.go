package graphstore_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	ds "github.com/authzed/spicedb/pkg/datastore"
	core "github.com/authzed/spicedb/pkg/proto/core/v1"
	"github.com/authzed/spicedb/pkg/tuple"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/graphstore"
)

const killChild = "AGENTID_GRAPH_KILL_CHILD"

func TestRestartKeepsEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "graph.db")
	ctx := context.Background()
	s, err := graphstore.Open(ctx, graphstore.Config{Path: path})
	require.NoError(t, err)
	writeSchema(t, s)
	first := write(t, s, touch("document:a#viewer@user:x"), touch(`document:b#viewer@user:x[cav:{"n":1}]`))
	last := write(t, s, remove("document:a#viewer@user:x"))
	id, err := s.UniqueID(ctx)
	require.NoError(t, err)
	before, err := s.HeadRevision(ctx)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "closing twice is harmless")

	s = open(t, graphstore.Config{Path: path})
	again, err := s.UniqueID(ctx)
	require.NoError(t, err)
	require.Equal(t, id, again)
	after, err := s.HeadRevision(ctx)
	require.NoError(t, err)
	require.Equal(t, before, after, "head and schema hash")
	require.NotEmpty(t, after.SchemaHash)
	require.Len(t, all(t, s, first, "document"), 2)
	require.Equal(t, []string{`document:b#viewer@user:x[cav:{"n":1}]`}, all(t, s, last, "document"))
	next := write(t, s, touch("document:c#viewer@user:x"))
	require.True(t, next.GreaterThan(last))
	stored, err := s.SnapshotReader(next).ReadStoredSchema(ctx)
	require.NoError(t, err)
	require.Contains(t, stored.Get().GetV1().GetSchemaText(), "lineage")
}

func TestSecondOpenIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "graph.db")
	open(t, graphstore.Config{Path: path})
	_, err := graphstore.Open(context.Background(), graphstore.Config{Path: path})
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err))
}

func TestOpenRefusesWhatIsNoGraph(t *testing.T) {
	_, err := graphstore.Open(context.Background(), graphstore.Config{})
	require.ErrorContains(t, err, "Path is required")
	path := filepath.Join(t.TempDir(), "graph.db")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("not a database ", 1000)), 0o600))
	_, err = graphstore.Open(context.Background(), graphstore.Config{Path: path})
	require.Error(t, err)
}

func TestRolledBackRevisionDoesNotRepeat(t *testing.T) {
	s := open(t, graphstore.Config{})
	refuse := errors.New("refuse")
	seen := map[string]bool{}
	for range 10 {
		_, err := s.ReadWriteTx(context.Background(), func(ctx context.Context, rwt ds.ReadWriteTransaction) error {
			seen[ownRevision(ctx, t, rwt)] = true
			return refuse
		})
		require.ErrorIs(t, err, refuse)
	}
	require.Len(t, seen, 10)
	require.NotContains(t, seen, write(t, s, touch("document:a#viewer@user:x")).String())
	_, _, err := s.SnapshotReader(headOf(t, s)).LegacyReadNamespaceByName(context.Background(), "probe")
	require.ErrorAs(t, err, &ds.NamespaceNotFoundError{})
}

// ownRevision is the revision that a transaction will commit at.
func ownRevision(ctx context.Context, tb require.TestingT, rwt ds.ReadWriteTransaction) string {
	require.NoError(tb, rwt.LegacyWriteNamespaces(ctx, &core.NamespaceDefinition{Name: "probe"}))
	_, rev, err := rwt.LegacyReadNamespaceByName(ctx, "probe")
	require.NoError(tb, err)
	return rev.String()
}

// writeForever is the process that TestKill ends: it prints "took N" inside a
// transaction and "acked N key" after its commit.
func writeForever(path string) {
	s, err := graphstore.Open(context.Background(), graphstore.Config{Path: path})
	if err != nil {
		fmt.Fprintln(os.Stdout, "error", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(os.Stdout, format+"\n", args...)
	}
	for worker := range 4 {
		go func() {
			for i := 0; ; i++ {
				var took string
				key := fmt.Sprintf("p%d-w%d-%d", os.Getpid(), worker, i)
				rev, err := s.ReadWriteTx(context.Background(), func(ctx context.Context, rwt ds.ReadWriteTransaction) error {
					took = ownRevision(ctx, fatal{}, rwt)
					say("took %s", took)
					return rwt.WriteRelationships(ctx, []tuple.RelationshipUpdate{touch("document:%s#viewer@user:x", key)})
				})
				if err != nil {
					say("error %v", err)
					return
				}
				say("acked %s %s", rev, key)
			}
		}()
	}
	select {}
}

// fatal ends a helper process when a requirement fails.
type fatal struct{}

func (fatal) Errorf(format string, args ...any) {
	fmt.Fprintf(os.Stdout, "error "+format+"\n", args...)
}
func (fatal) FailNow() { os.Exit(1) }

func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "graph.db")
	taken, acked := map[int64]bool{}, map[string]int64{}
	highest := int64(0)
	for round := range killRounds {
		killed := killAfter(t, path, 20+round%40*7, taken, acked, &highest)
		require.NotEmpty(t, killed)
	}
	s := open(t, graphstore.Config{Path: path})
	head := headOf(t, s)
	for key, rev := range acked {
		it, err := s.SnapshotReader(head).QueryRelationships(context.Background(), ds.RelationshipsFilter{
			OptionalResourceType: "document", OptionalResourceIds: []string{key},
		})
		require.NoError(t, err)
		require.Len(t, texts(t, it), 1, "acknowledged write of %s at %d is lost", key, rev)
	}
	next, err := strconv.ParseInt(write(t, s, touch("document:z#viewer@user:x")).String(), 10, 64)
	require.NoError(t, err)
	require.Greater(t, next, highest)
	t.Logf("%d kills, %d revisions taken, %d acknowledged writes, all there", killRounds, len(taken), len(acked))
}

// killAfter runs the writer, kills it after some lines, and notes what it said.
func killAfter(t *testing.T, path string, lines int, taken map[int64]bool, acked map[string]int64, highest *int64) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), killChild+"="+path)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var said []string
	before := *highest
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		said = append(said, sc.Text())
		if len(said) == lines {
			require.NoError(t, cmd.Process.Kill())
		}
		f := strings.Fields(sc.Text())
		if len(f) < 2 || f[0] == "error" {
			t.Fatal(sc.Text())
		}
		rev, err := strconv.ParseInt(f[1], 10, 64)
		require.NoError(t, err)
		switch f[0] {
		case "took":
			require.False(t, taken[rev], "revision %d came twice", rev)
			require.Greater(t, rev, before, "a revision from before the kill")
			taken[rev] = true
			*highest = max(*highest, rev)
		case "acked":
			acked[f[2]] = rev
		}
	}
	_ = cmd.Wait()
	return said
}

func TestGroupCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "graph.db")
	s := open(t, graphstore.Config{Path: path})
	before := walCommits(t, path)
	const writers, each = 64, 4
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				writeLineage(t, s, w*each+i)
			}
		})
	}
	wg.Wait()
	commits := walCommits(t, path) - before
	t.Logf("%d transactions in %d commits", writers*each, commits)
	require.Positive(t, commits)
	require.Less(t, commits, writers*each/2, "transactions do not share commits")
	require.Len(t, all(t, s, headOf(t, s), "agent"), writers*each)
}

// walCommits counts the commit frames in SQLite's write-ahead log.
func walCommits(t *testing.T, path string) int {
	t.Helper()
	wal, err := os.ReadFile(path + "-wal")
	require.NoError(t, err)
	const header, frameHeader = 32, 24
	size := int(binary.BigEndian.Uint32(wal[8:]))
	n := 0
	for at := header; at+frameHeader+size <= len(wal); at += frameHeader + size {
		sameSalt := string(wal[at+8:at+16]) == string(wal[16:24])
		if sameSalt && binary.BigEndian.Uint32(wal[at+4:]) != 0 {
			n++
		}
	}
	return n
}

func TestReadingOrRefusingStartsNoWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "graph.db")
	s := open(t, graphstore.Config{Path: path})
	head := write(t, s, touch("document:a#viewer@user:x"))
	before := walCommits(t, path)
	refuse := errors.New("refuse")
	for _, want := range []error{nil, refuse} {
		rev, err := s.ReadWriteTx(context.Background(), func(ctx context.Context, rwt ds.ReadWriteTransaction) error {
			it, err := rwt.QueryRelationships(ctx, ds.RelationshipsFilter{OptionalResourceType: "document", OptionalResourceIds: []string{"a"}})
			require.NoError(t, err)
			require.Len(t, texts(t, it), 1)
			// While it is open another one writes: nobody holds the writer.
			write(t, s, touch("document:b#viewer@user:%v", want == nil))
			return want
		})
		require.ErrorIs(t, err, want)
		if err == nil {
			require.False(t, rev.LessThan(head))
		}
	}
	require.Equal(t, before+2, walCommits(t, path), "only the two inner writes")
}

func TestStaleReadsRunAgain(t *testing.T) {
	s := open(t, graphstore.Config{})
	runs := 0
	_, err := s.ReadWriteTx(context.Background(), func(ctx context.Context, rwt ds.ReadWriteTransaction) error {
		runs++
		it, err := rwt.QueryRelationships(ctx, ds.RelationshipsFilter{OptionalResourceType: "document"})
		require.NoError(t, err)
		found := texts(t, it)
		if runs == 1 {
			require.Empty(t, found)
			write(t, s, touch("document:other#viewer@user:x"))
		} else {
			require.Len(t, found, 1, "the second run sees what made the first one stale")
		}
		// The function hides the store's error; the store starts over all the same.
		_ = rwt.WriteRelationships(ctx, []tuple.RelationshipUpdate{touch("document:mine%d#viewer@user:x", runs)})
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 2, runs)
	require.Equal(t, []string{"document:mine2#viewer@user:x", "document:other#viewer@user:x"}, all(t, s, headOf(t, s), "document"))
}

func TestConcurrentPreconditionsAreExact(t *testing.T) {
	s := open(t, graphstore.Config{})
	var won sync.Map
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			_, err := s.ReadWriteTx(context.Background(), func(ctx context.Context, rwt ds.ReadWriteTransaction) error {
				it, err := rwt.QueryRelationships(ctx, ds.RelationshipsFilter{OptionalResourceType: "document"})
				if err != nil {
					return err
				}
				if _, taken, err := ds.FirstRelationshipIn(it); err != nil || taken {
					return errors.Join(err, errors.New("taken"))
				}
				return rwt.WriteRelationships(ctx, []tuple.RelationshipUpdate{touch("document:lock#viewer@user:u%d", i)})
			})
			if err == nil {
				won.Store(i, true)
			}
		})
	}
	wg.Wait()
	n := 0
	won.Range(func(any, any) bool { n++; return true })
	require.Equal(t, 1, n)
	require.Len(t, all(t, s, headOf(t, s), "document"), 1)
}

func TestPanicInTransactionFreesTheWriter(t *testing.T) {
	s := open(t, graphstore.Config{})
	require.Panics(t, func() {
		_, _ = s.ReadWriteTx(context.Background(), func(ctx context.Context, rwt ds.ReadWriteTransaction) error {
			require.NoError(t, rwt.WriteRelationships(ctx, []tuple.RelationshipUpdate{touch("document:a#viewer@user:x")}))
			panic("user code")
		})
	})
	require.Empty(t, all(t, s, write(t, s, touch("folder:a#viewer@user:x")), "document"))
}
