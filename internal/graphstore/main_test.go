package graphstore_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	ds "github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/tuple"
)

// TestMain also runs the processes that tests start from this binary.
func TestMain(m *testing.M) {
	if path := os.Getenv(killChild); path != "" {
		writeForever(path)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) // what packages start in init is not ours
}

// clock is a time that tests move.
type clock struct{ micros atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.micros.Store(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMicro(c.micros.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.micros.Add(d.Microseconds()) }

func write(tb testing.TB, s ds.Datastore, updates ...tuple.RelationshipUpdate) ds.Revision {
	tb.Helper()
	rev, err := s.ReadWriteTx(context.Background(), func(ctx context.Context, rwt ds.ReadWriteTransaction) error {
		return rwt.WriteRelationships(ctx, updates)
	})
	require.NoError(tb, err)
	return rev
}

func touch(format string, args ...any) tuple.RelationshipUpdate {
	return tuple.Touch(tuple.MustParse(fmt.Sprintf(format, args...)))
}

func remove(format string, args ...any) tuple.RelationshipUpdate {
	return tuple.Delete(tuple.MustParse(fmt.Sprintf(format, args...)))
}

// all gives every relationship of a type at a revision, as text, sorted by resource.
func all(tb testing.TB, s ds.Datastore, rev ds.Revision, resourceType string) []string {
	tb.Helper()
	it, err := s.SnapshotReader(rev).QueryRelationships(context.Background(), ds.RelationshipsFilter{OptionalResourceType: resourceType})
	require.NoError(tb, err)
	return texts(tb, it)
}

func texts(tb testing.TB, it ds.RelationshipIterator) []string {
	tb.Helper()
	rels, err := ds.IteratorToSlice(it)
	require.NoError(tb, err)
	out := []string{}
	for _, r := range rels {
		out = append(out, tuple.MustString(r))
	}
	return out
}

func headOf(tb testing.TB, s ds.Datastore) ds.Revision {
	tb.Helper()
	h, err := s.HeadRevision(context.Background())
	require.NoError(tb, err)
	return h.Revision
}
