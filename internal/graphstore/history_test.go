package graphstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ds "github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/datastore/options"
	"github.com/authzed/spicedb/pkg/tuple"

	"github.com/agentid-dev/agentid/internal/graphstore"
)

func TestRevisionsOfOthersAreRefused(t *testing.T) {
	s := open(t, graphstore.Config{})
	ctx := context.Background()
	_, err := s.ReadWriteTx(ctx, func(ctx context.Context, rwt ds.ReadWriteTransaction) error {
		return errors.Join(rwt.WriteRelationships(ctx, []tuple.RelationshipUpdate{touch("document:a#viewer@user:x")}), context.Canceled)
	})
	require.Error(t, err) // leaves a number that never became a revision
	head := write(t, s, touch("document:a#viewer@user:x"))
	require.NoError(t, s.CheckRevision(ctx, head))
	number := head.(graphstore.Revision)
	for _, bad := range []ds.Revision{ds.NoRevision, number + 1, number + 1<<40, graphstore.Revision(0), graphstore.Revision(-5), number - 1, foreign{}} {
		var invalid ds.InvalidRevisionError
		require.ErrorAs(t, s.CheckRevision(ctx, bad), &invalid, "%v", bad)
		if bad == ds.Revision(number-1) {
			continue // between two revisions: CheckRevision knows it never existed, a reader need not
		}
		_, err := s.SnapshotReader(bad).QueryRelationships(ctx, ds.RelationshipsFilter{OptionalResourceType: "document"})
		require.ErrorAs(t, err, &invalid, "%v", bad)
		_, errs := s.Watch(ctx, bad, ds.WatchJustRelationships())
		require.ErrorAs(t, <-errs, &invalid, "%v", bad)
	}
	for _, bad := range []string{"", "x", "-1", "0", "+7", "007", "1.5", " 1", "99999999999999999999", "1\x00"} {
		_, err := s.RevisionFromString(bad)
		require.Error(t, err, "%q", bad)
	}
	same, err := s.RevisionFromString(head.String())
	require.NoError(t, err)
	require.True(t, same.Equal(head))
}

// foreign is a revision of some other store.
type foreign struct{ ds.Revision }

func (foreign) String() string { return "1" }

func TestExpiry(t *testing.T) {
	c := newClock()
	s := open(t, graphstore.Config{Now: c.now})
	ctx := context.Background()
	at := c.now().Add(time.Minute + 999*time.Nanosecond)
	r := tuple.MustParse("agent:a#enabled@agent:*")
	r.OptionalExpiration = &at
	rev := write(t, s, tuple.Create(r), touch("agent:b#enabled@agent:*"))
	reverse := func() []string {
		it, err := s.SnapshotReader(rev).ReverseQueryRelationships(ctx, ds.SubjectsFilter{SubjectType: "agent"})
		require.NoError(t, err)
		return texts(t, it)
	}
	require.Len(t, all(t, s, rev, "agent"), 2)
	require.Len(t, reverse(), 2)
	c.advance(time.Minute - time.Microsecond)
	require.Len(t, all(t, s, rev, "agent"), 2)
	c.advance(time.Microsecond) // the part below a microsecond is cut, never added
	require.Equal(t, []string{"agent:b#enabled@agent:*"}, all(t, s, rev, "agent"), "the same revision, a later time")
	require.Equal(t, []string{"agent:b#enabled@agent:*"}, reverse())
	_, err := s.ReadWriteTx(ctx, func(ctx context.Context, rwt ds.ReadWriteTransaction) error {
		return rwt.WriteRelationships(ctx, []tuple.RelationshipUpdate{tuple.Create(r)})
	})
	require.ErrorAs(t, err, &ds.CreateRelationshipExistsError{})
}

// rowCounts looks into the closed file.
func rowCounts(t *testing.T, path string) map[string]int {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	out := map[string]int{}
	for _, table := range []string{"forward", "reverse", "defs", "changes", "transactions"} {
		var n int
		require.NoError(t, db.QueryRow("SELECT count(*) FROM "+table).Scan(&n))
		out[table] = n
	}
	return out
}

func TestGarbageCollection(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "graph.db")
	const window = time.Hour
	ctx := context.Background()
	s, err := graphstore.Open(ctx, graphstore.Config{Path: path, GCWindow: window, Now: c.now})
	require.NoError(t, err)
	writeSchema(t, s)
	writeSchema(t, s) // a dead schema
	var many, gone []tuple.RelationshipUpdate
	for i := range 1500 {
		many = append(many, touch("document:d%d#viewer@user:x", i))
		gone = append(gone, remove("document:d%d#viewer@user:x", i))
	}
	soon := c.now().Add(time.Minute)
	expiring := tuple.MustParse("document:e#viewer@user:x")
	expiring.OptionalExpiration = &soon
	old := write(t, s, append(many, tuple.Touch(expiring), touch("document:stay#viewer@user:x"))...)
	write(t, s, gone...)
	write(t, s, touch("document:stay#viewer@user:x[cav]"))
	require.NoError(t, ds.RunGarbageCollection(ctx, s, window))
	require.Len(t, all(t, s, old, "document"), 1502, "inside the window nothing is lost")
	stats, err := s.Statistics(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 2, stats.EstimatedRelationshipCount)

	c.advance(2 * window)
	reader := s.SnapshotReader(old)
	head := write(t, s, touch("document:new#viewer@user:x"))
	require.NoError(t, ds.RunGarbageCollection(ctx, s, window))
	var stale ds.InvalidRevisionError
	_, err = reader.QueryRelationships(ctx, ds.RelationshipsFilter{OptionalResourceType: "document"})
	require.ErrorAs(t, err, &stale)
	require.ErrorAs(t, s.CheckRevision(ctx, old), &stale)
	require.Equal(t, ds.RevisionStale, stale.Reason())
	_, errs := s.Watch(ctx, old, ds.WatchJustRelationships())
	require.ErrorAs(t, <-errs, &stale)
	want := []string{"document:new#viewer@user:x", "document:stay#viewer@user:x[cav]"}
	require.Equal(t, want, all(t, s, head, "document"))
	stats, err = s.Statistics(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 2, stats.EstimatedRelationshipCount)
	require.NoError(t, s.Close())
	require.Equal(t, map[string]int{"forward": 2, "reverse": 2, "defs": 1, "changes": 1, "transactions": 2}, rowCounts(t, path))

	s = open(t, graphstore.Config{Path: path, GCWindow: window, Now: c.now})
	require.ErrorAs(t, s.CheckRevision(ctx, old), &stale, "after a restart too")
	require.Equal(t, want, all(t, s, head, "document"))
}

func TestHookRunsInCommitOrderBeforeWritersReturn(t *testing.T) {
	var mu sync.Mutex
	var seen []ds.Revision
	var s *graphstore.Store
	var opened sync.WaitGroup
	opened.Add(1)
	s = open(t, graphstore.Config{OnCommit: func(c graphstore.Commit) {
		opened.Wait()
		head, err := s.HeadRevision(context.Background())
		mu.Lock()
		defer mu.Unlock()
		if err == nil && head.Revision.Equal(c.Revision) && len(c.Relationships) == 1 && !c.Schema && !c.Truncated {
			seen = append(seen, c.Revision)
		}
	}})
	opened.Done()
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 8 {
				rev := write(t, s, touch("document:d%d#viewer@user:u%d", w, i))
				mu.Lock()
				if !slices.ContainsFunc(seen, rev.Equal) {
					t.Errorf("writer of %s returned before the hook", rev)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, seen, 128)
	require.True(t, slices.IsSortedFunc(seen, func(a, b ds.Revision) int {
		if a.LessThan(b) {
			return -1
		}
		return 1
	}))
}

func TestHookSaysWhatChanged(t *testing.T) {
	var last graphstore.Commit
	n := 0
	s := open(t, graphstore.Config{OnCommit: func(c graphstore.Commit) { last = c; n++ }})
	write(t, s, touch("document:a#viewer@user:x"), touch("document:b#viewer@user:x"), remove("document:b#viewer@user:x"))
	require.Equal(t, []tuple.RelationshipUpdate{touch("document:a#viewer@user:x")}, last.Relationships, "net changes")
	write(t, s, remove("document:a#viewer@user:x"))
	require.Equal(t, []tuple.RelationshipUpdate{remove("document:a#viewer@user:x")}, last.Relationships)
	writeSchema(t, s)
	require.True(t, last.Schema)
	fillMany(t, s, 3000)
	require.True(t, last.Truncated)
	before := n
	_, err := s.ReadWriteTx(context.Background(), func(ctx context.Context, rwt ds.ReadWriteTransaction) error {
		_ = rwt.WriteRelationships(ctx, []tuple.RelationshipUpdate{touch("document:a#viewer@user:x")})
		return context.Canceled
	})
	require.Error(t, err)
	require.Equal(t, before, n, "no hook for what was rolled back")
}

func fillMany(t *testing.T, s ds.Datastore, n int) {
	t.Helper()
	var many []tuple.RelationshipUpdate
	for i := range n {
		many = append(many, touch("document:m%d#viewer@user:x", i))
	}
	write(t, s, many...)
}

// TestOneSubjectOfManyResources asks about a few of them, with fewer and with more
// than a probe from the subject's side will read.
func TestOneSubjectOfManyResources(t *testing.T) {
	s := open(t, graphstore.Config{})
	for _, resources := range []int{10, 47, 48, 49, 200} {
		var updates []tuple.RelationshipUpdate
		for i := range resources {
			updates = append(updates, touch("document:d%03d#viewer@user:u%d", i, resources))
		}
		rev := write(t, s, updates...)
		for _, limit := range []uint64{0, 1, 2, 9} {
			opts := []options.QueryOptionsOption{options.WithSort(options.ByResource)}
			want := []string{"d001", "d005", "d009"}
			if limit > 0 {
				opts = append(opts, options.WithLimit(&limit))
				want = want[:min(3, limit)]
			}
			it, err := s.SnapshotReader(rev).QueryRelationships(context.Background(), ds.RelationshipsFilter{
				OptionalResourceType: "document", OptionalResourceRelation: "viewer",
				OptionalResourceIds: []string{"d009", "d001", "nothing", "d005"},
				OptionalSubjectsSelectors: []ds.SubjectsSelector{{
					OptionalSubjectType: "user", OptionalSubjectIds: []string{fmt.Sprintf("u%d", resources)},
					RelationFilter: ds.SubjectRelationFilter{}.WithEllipsisRelation(),
				}},
			}, opts...)
			require.NoError(t, err)
			rels, err := ds.IteratorToSlice(it)
			require.NoError(t, err)
			var got []string
			for _, r := range rels {
				got = append(got, r.Resource.ObjectID)
			}
			require.Equal(t, want, got, "%d resources, limit %d", resources, limit)
		}
	}
}
