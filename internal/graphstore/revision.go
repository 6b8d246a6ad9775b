package graphstore

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/authzed/spicedb/pkg/datastore"

	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// Revision is a position in the graph's history: larger is later, and no number
// is given out twice in the life of a file.
type Revision int64

var _ datastore.Revision = Revision(0)

// String is the decimal number.
func (r Revision) String() string { return strconv.FormatInt(int64(r), 10) }

// Equal says whether other is the same revision of this kind of store.
func (r Revision) Equal(other datastore.Revision) bool {
	o, ok := other.(Revision)
	return ok && r == o
}

// GreaterThan says whether r is later than other; everything is later than none.
func (r Revision) GreaterThan(other datastore.Revision) bool {
	if other == datastore.NoRevision {
		return true
	}
	o, ok := other.(Revision)
	return ok && r > o
}

// LessThan says whether r is earlier than other.
func (r Revision) LessThan(other datastore.Revision) bool {
	o, ok := other.(Revision)
	return ok && r < o
}

// ByteSortable is false: decimal numbers of differing length do not sort as bytes.
func (r Revision) ByteSortable() bool { return false }

// RevisionFromString parses what String gives, and nothing else.
func (s *Store) RevisionFromString(text string) (datastore.Revision, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != text {
		return datastore.NoRevision, fmt.Errorf("graphstore: %q is not a revision", text)
	}
	return Revision(n), nil
}

// head is the newest committed state. It is replaced whole.
type head struct {
	rev        int64
	defs       int64
	schema     int64
	schemaHash string
}

func (h *head) withHash() datastore.RevisionWithSchemaHash {
	return datastore.RevisionWithSchemaHash{Revision: Revision(h.rev), SchemaHash: h.schemaHash}
}

// HeadRevision is the last committed revision.
func (s *Store) HeadRevision(context.Context) (datastore.RevisionWithSchemaHash, error) {
	if s.closed.Load() {
		return datastore.RevisionWithSchemaHash{}, ErrClosed
	}
	return s.head.Load().withHash(), nil
}

// OptimizedRevision is HeadRevision: head is in memory, so an older one saves nothing.
func (s *Store) OptimizedRevision(ctx context.Context) (datastore.RevisionWithSchemaHash, error) {
	return s.HeadRevision(ctx)
}

// CheckRevision says whether a revision may be read: head always; an earlier one
// when it was given out by this file and is younger than the window. The error is
// a datastore.InvalidRevisionError: stale when it is too old, indeterminate when
// it is of another store, from the future or never existed.
func (s *Store) CheckRevision(ctx context.Context, revision datastore.Revision) error {
	if s.closed.Load() {
		return ErrClosed
	}
	r, ok := revision.(Revision)
	if !ok {
		return datastore.NewInvalidRevisionErr(revision, datastore.CouldNotDetermineRevision)
	}
	now := s.head.Load().rev
	switch {
	case int64(r) == now:
		return nil
	case int64(r) > now || r < 1:
		return datastore.NewInvalidRevisionErr(revision, datastore.CouldNotDetermineRevision)
	case int64(r) < s.oldest.Load():
		return datastore.NewInvalidRevisionErr(revision, datastore.RevisionStale)
	}
	var at int64
	found := false
	err := s.readers.query(ctx, sqlTransactionAt, []any{int64(r)}, 1, func(v []driver.Value) error {
		at, found = asInt(v[0]), true
		return nil
	})
	switch {
	case err != nil:
		return err
	case !found && int64(r) < s.oldest.Load():
		return datastore.NewInvalidRevisionErr(revision, datastore.RevisionStale)
	case !found:
		return datastore.NewInvalidRevisionErr(revision, datastore.CouldNotDetermineRevision)
	case at < s.micros()-s.cfg.GCWindow.Microseconds():
		return datastore.NewInvalidRevisionErr(revision, datastore.RevisionStale)
	}
	return nil
}

// readable refuses a snapshot that is in the future or partly collected. To hold,
// it is asked again after the rows were read.
func (s *Store) readable(rev int64) error {
	switch {
	case s.closed.Load():
		return ErrClosed
	case rev > s.head.Load().rev:
		return datastore.NewInvalidRevisionErr(Revision(rev), datastore.CouldNotDetermineRevision)
	case rev < s.oldest.Load():
		return datastore.NewInvalidRevisionErr(Revision(rev), datastore.RevisionStale)
	}
	return nil
}

// counter gives out revisions. take is called by the writer only.
type counter struct {
	last    atomic.Int64
	ceiling atomic.Int64
	mu      sync.Mutex
}

func (c *counter) init(ceiling int64) {
	c.last.Store(ceiling)
	c.ceiling.Store(ceiling)
}

// reserve makes sure that revisions are left before a writer begins. Writers in
// the same batch may take one each after asking, hence the margin.
func (s *Store) reserve(ctx context.Context) error {
	const margin = 1 << 16
	c := &s.next
	if c.ceiling.Load()-c.last.Load() > margin {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ceiling.Load()-c.last.Load() > margin {
		return nil
	}
	ceiling := c.ceiling.Load() + revisionBlock
	err := s.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(context.WithoutCancel(ctx), sqlSetMeta, metaCeiling, ceiling)
		return err
	})
	if err != nil {
		return fmt.Errorf("reserve revisions: %w", err)
	}
	c.ceiling.Store(ceiling)
	return nil
}

func (c *counter) take() (int64, error) {
	n := c.last.Add(1)
	if n > c.ceiling.Load() {
		return 0, fmt.Errorf("graphstore: revision %d is not reserved", n)
	}
	return n, nil
}
