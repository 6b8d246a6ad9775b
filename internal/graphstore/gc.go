package graphstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/tuple"

	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// gcBatch is how many keys or rows one step of the collection takes from the
// writer's time.
const gcBatch = 256

const (
	sqlOldTransactions  = `SELECT rev, at FROM transactions WHERE rev > ? ORDER BY rev LIMIT 1024`
	sqlDropTransactions = `DELETE FROM transactions WHERE rev IN (SELECT rev FROM transactions WHERE rev < ? ORDER BY rev LIMIT ?)`
	sqlOldChanges       = `SELECT rev, seq, data FROM changes WHERE rev <= ? ORDER BY rev, seq LIMIT 1`
	sqlDropChanges      = `DELETE FROM changes WHERE rev = ? AND seq = ?`
	sqlDeadForward      = `DELETE FROM forward WHERE k = ? AND deleted <= ?`
	sqlDeadReverse      = `DELETE FROM reverse WHERE k = ? AND deleted <= ?`
	sqlDeadDef          = `DELETE FROM defs WHERE kind = ? AND name = ? AND deleted <= ?`
	sqlExpired          = `SELECT k, deleted FROM forward WHERE expires > 0 AND expires < ? ORDER BY expires LIMIT ?`
	sqlLessLive         = `UPDATE transactions SET live = live - ? WHERE rev = (SELECT max(rev) FROM transactions)`
)

// collectForever collects garbage every interval until the store closes.
func (s *Store) collectForever() {
	tick := time.NewTicker(s.cfg.GCInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.running.Done():
			return
		case <-tick.C:
		}
		err := datastore.RunGarbageCollection(s.running, s, s.cfg.GCWindow)
		if err != nil && s.running.Err() == nil {
			s.cfg.Logger.WarnContext(s.running, "graph: garbage collection failed; it runs again at the next interval", "error", err)
		}
	}
}

// HasGCRun says whether a collection has finished.
func (s *Store) HasGCRun() bool { return s.gcDone.Load() }

// MarkGCCompleted notes a finished collection.
func (s *Store) MarkGCCompleted() { s.gcDone.Store(true) }

// ResetGCCompleted forgets finished collections.
func (s *Store) ResetGCCompleted() { s.gcDone.Store(false) }

// BuildGarbageCollector gives the steps of one collection.
func (s *Store) BuildGarbageCollector(context.Context) (datastore.GarbageCollector, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	return &collector{s: s}, nil
}

// collector takes away what no readable revision shows. The change log says which
// keys died at which revision, so the work is in proportion to the garbage.
type collector struct{ s *Store }

func (c *collector) LockForGCRun(context.Context) (bool, error) { return c.s.gcMu.TryLock(), nil }

func (c *collector) UnlockAfterGCRun() error {
	c.s.gcMu.Unlock()
	return nil
}

func (c *collector) Now(context.Context) (time.Time, error) { return c.s.cfg.Now(), nil }

func (c *collector) Close() {}

// TxIDBefore is the last revision committed before a time: the oldest that stays.
func (c *collector) TxIDBefore(ctx context.Context, before time.Time) (datastore.Revision, error) {
	cutoff := before.UnixMicro()
	mark, from := c.s.oldest.Load(), int64(0)
	for {
		rows, young := 0, false
		err := c.s.readers.query(ctx, sqlOldTransactions, []any{from}, 2, func(v []driver.Value) error {
			if asInt(v[1]) >= cutoff {
				young = true
				return errStop
			}
			from = asInt(v[0])
			mark = max(mark, from)
			rows++
			return nil
		})
		if err != nil {
			return datastore.NoRevision, err
		}
		if young || rows < 1024 {
			return Revision(mark), nil
		}
	}
}

// DeleteBeforeTx takes away what died at the revision or before, in small steps.
func (c *collector) DeleteBeforeTx(ctx context.Context, before datastore.Revision) (datastore.DeletionCounts, error) {
	var n datastore.DeletionCounts
	rev, ok := before.(Revision)
	if !ok {
		return n, datastore.NewInvalidRevisionErr(before, datastore.CouldNotDetermineRevision)
	}
	mark := int64(rev)
	if mark > c.s.oldest.Load() {
		// No snapshot before the mark may be read from here on, nor after a crash.
		c.s.oldest.Store(mark)
		err := c.s.db.Write(ctx, func(tx *sqlitedb.Tx) error {
			_, err := tx.Exec(context.Background(), sqlSetMeta, metaOldest, mark)
			return err
		})
		if err != nil {
			return n, fmt.Errorf("graphstore: set the oldest revision: %w", err)
		}
	}
	for {
		done, err := c.dropChanges(ctx, mark, &n)
		if err != nil {
			return n, err
		}
		if done {
			break
		}
	}
	for {
		dropped, err := c.step(ctx, sqlDropTransactions, mark, int64(gcBatch))
		n.Transactions += dropped
		if err != nil || dropped < gcBatch {
			return n, err
		}
	}
}

// step runs one deleting statement in a write of its own.
func (c *collector) step(ctx context.Context, text string, args ...any) (int64, error) {
	var n int64
	err := c.write(ctx, func(tx *sqlitedb.Tx) error {
		return count(&n)(tx.Exec(context.Background(), text, args...))
	})
	return n, err
}

// write runs a step unless the store is closing or the collection was cancelled.
func (c *collector) write(ctx context.Context, fn func(tx *sqlitedb.Tx) error) error {
	if c.s.running.Err() != nil {
		return ErrClosed
	}
	return c.s.db.Write(ctx, fn)
}

func count(n *int64) func(interface{ RowsAffected() (int64, error) }, error) error {
	return func(r interface{ RowsAffected() (int64, error) }, err error) error {
		if err != nil {
			return err
		}
		rows, err := r.RowsAffected()
		*n += rows
		return err
	}
}

// dropChanges works off rows of the change log up to the mark, about gcBatch keys,
// and says whether none is left.
func (c *collector) dropChanges(ctx context.Context, mark int64, n *datastore.DeletionCounts) (bool, error) {
	done := false
	var got datastore.DeletionCounts
	err := c.write(ctx, func(tx *sqlitedb.Tx) error {
		done, got = false, datastore.DeletionCounts{}
		for keys := 0; keys < gcBatch; {
			var rev, seq int64
			var data []byte
			err := txQuerier{tx}.query(ctx, sqlOldChanges, []any{mark}, 3, func(v []driver.Value) error {
				rev, seq, data = asInt(v[0]), asInt(v[1]), asBytes(v[2])
				return nil
			})
			if err != nil || rev == 0 {
				done = err == nil
				return err
			}
			list, err := decodeChanges(data)
			if err != nil {
				return err
			}
			for i := range list {
				if err := dropDead(tx, &list[i], mark, &got); err != nil {
					return err
				}
			}
			if _, err := tx.Exec(context.Background(), sqlDropChanges, rev, seq); err != nil {
				return err
			}
			keys += len(list) + 1
		}
		return nil
	})
	if err == nil {
		n.Relationships += got.Relationships
		n.Namespaces += got.Namespaces
	}
	return done, err
}

// dropDead deletes the rows of one changed thing that died at the mark or before.
func dropDead(tx *sqlitedb.Tx, ch *change, mark int64, n *datastore.DeletionCounts) error {
	ctx := context.Background()
	if ch.kind != 0 {
		return count(&n.Namespaces)(tx.Exec(ctx, sqlDeadDef, int64(ch.kind), ch.key, mark))
	}
	var rel tuple.Relationship
	if err := parseKey(byResource, ch.key, &rel); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, sqlDeadReverse, keyOf(bySubject, &rel), mark); err != nil {
		return err
	}
	return count(&n.Relationships)(tx.Exec(ctx, sqlDeadForward, ch.key, mark))
}

// DeleteExpiredRels takes away relationships that expired before the window. No
// read shows them, whatever its revision.
func (c *collector) DeleteExpiredRels(ctx context.Context) (int64, error) {
	cutoff := c.s.cfg.Now().Add(-c.s.cfg.GCWindow).UnixMicro()
	var total int64
	for {
		n, err := c.dropExpired(ctx, cutoff)
		total += n
		if err != nil || n < gcBatch {
			return total, err
		}
	}
}

func (c *collector) dropExpired(ctx context.Context, cutoff int64) (int64, error) {
	type dead struct {
		key     string
		deleted int64
	}
	var rows []dead
	err := c.write(ctx, func(tx *sqlitedb.Tx) error {
		rows = rows[:0]
		err := txQuerier{tx}.query(ctx, sqlExpired, []any{cutoff, int64(gcBatch)}, 2, func(v []driver.Value) error {
			rows = append(rows, dead{asText(v[0]), asInt(v[1])})
			return nil
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		live := int64(0)
		for _, d := range rows {
			var rel tuple.Relationship
			if err := parseKey(byResource, d.key, &rel); err != nil {
				return err
			}
			_, errF := tx.Exec(context.Background(), sqlCutForward, d.key, d.deleted)
			_, errR := tx.Exec(context.Background(), sqlCutReverse, keyOf(bySubject, &rel), d.deleted)
			if err := errors.Join(errF, errR); err != nil {
				return err
			}
			if d.deleted == forever {
				live++
			}
		}
		_, err = tx.Exec(context.Background(), sqlLessLive, live)
		return err
	})
	if err != nil {
		return 0, err
	}
	return int64(len(rows)), nil
}
