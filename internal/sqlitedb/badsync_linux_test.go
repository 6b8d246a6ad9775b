package sqlitedb_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
	"github.com/agentid-dev/agentid/internal/testenv/badsync"
)

// TestAFailedSyncIsFinal: what was acknowledged before stands; the write whose sync fails
// is not acknowledged, and no later one is, though the disk would take its bytes.
func TestAFailedSyncIsFinal(t *testing.T) {
	dir, broken := badsync.Child(t, t.TempDir())
	path := filepath.Join(dir, "test.db")
	if !broken {
		db, err := sqlitedb.Open(t.Context(), sqlitedb.Config{Path: path})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		require.GreaterOrEqual(t, count(t, db), 2, "a restart finds what was acknowledged")
		require.NoError(t, insert(db, "after the restart"))
		return
	}
	db := openBroken(t, dir)
	require.NoError(t, insert(db, "first"))
	require.NoError(t, insert(db, "second"))
	badsync.Break(t)
	for _, body := range []string{"third", "fourth"} {
		require.Equal(t, agentid.KindUnavailable, agentid.KindOf(insert(db, body)), body)
	}
	relaxed := db.WriteRelaxed(t.Context(), func(tx *sqlitedb.Tx) error { _, err := tx.Exec(t.Context(), insertEntry, "fifth"); return err })
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(relaxed), "nor one that would not have waited for its sync")
	require.GreaterOrEqual(t, count(t, db), 2, "reads work")
}

// TestAFailedSyncInTheBackgroundIsFinal: a relaxed write is acknowledged before its sync;
// when that fails, nothing is acknowledged any more.
func TestAFailedSyncInTheBackgroundIsFinal(t *testing.T) {
	dir, broken := badsync.Child(t, t.TempDir())
	if !broken {
		return
	}
	db := openBroken(t, dir)
	relaxed := func() error {
		return db.WriteRelaxed(context.Background(), func(tx *sqlitedb.Tx) error {
			_, err := tx.Exec(context.Background(), insertEntry, time.Now().String())
			return err
		})
	}
	require.NoError(t, relaxed())
	badsync.Break(t)
	require.Eventually(t, func() bool { return agentid.KindOf(relaxed()) == agentid.KindUnavailable }, time.Minute, time.Millisecond)
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(insert(db, "durable")))
}

// openBroken is open for a database that cannot be closed well.
func openBroken(t *testing.T, dir string) *sqlitedb.DB {
	t.Helper()
	db, err := sqlitedb.Open(context.Background(), sqlitedb.Config{Path: filepath.Join(dir, "test.db")})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	require.NoError(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error { _, err := tx.Exec(t.Context(), createTable); return err }))
	return db
}
