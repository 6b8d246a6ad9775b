package sqlitedb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	createTable = `CREATE TABLE entry (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE)`
	insertEntry = `INSERT INTO entry (body) VALUES (?)`
	countEntry  = `SELECT count(*) FROM entry`
)

var errMine = errors.New("mine")

func open(t testing.TB, dir string) *sqlitedb.DB {
	t.Helper()
	db, err := sqlitedb.Open(context.Background(), sqlitedb.Config{Path: filepath.Join(dir, "test.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.NoError(t, db.Write(context.Background(), func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(context.Background(), createTable)
		return err
	}))
	return db
}

func insert(db *sqlitedb.DB, body string) error {
	return db.Write(context.Background(), func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(context.Background(), insertEntry, body)
		return err
	})
}

func count(t testing.TB, db *sqlitedb.DB) (n int) {
	t.Helper()
	require.NoError(t, db.Readers().QueryRowContext(context.Background(), countEntry).Scan(&n))
	return n
}

func TestModes(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	require.NoError(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
		var mode string
		require.NoError(t, tx.QueryRow(t.Context(), "PRAGMA journal_mode").Scan(&mode))
		require.Equal(t, "wal", mode)
		var level int
		require.NoError(t, tx.QueryRow(t.Context(), "PRAGMA synchronous").Scan(&level))
		require.Equal(t, 2, level, "FULL")
		return nil
	}))
	info, err := os.Stat(filepath.Join(dir, "test.db"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	_, err = db.Readers().Exec(insertEntry, "by a reader")
	require.Error(t, err, "readers cannot write")
}

// TestGroupCommit: many callers at once share commits, all their rows are there,
// and the one that fails takes back its own work only.
func TestGroupCommit(t *testing.T) {
	db := open(t, t.TempDir())
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			err := db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
				_, err := tx.Exec(t.Context(), insertEntry, fmt.Sprint(i))
				if err == nil && i%10 == 0 {
					return errMine
				}
				return err
			})
			if i%10 == 0 {
				require.ErrorIs(t, err, errMine)
				return
			}
			require.NoError(t, err)
		})
	}
	wg.Wait()
	require.Equal(t, 180, count(t, db))
}

func TestHooksRunAfterCommitAndNotAfterRollback(t *testing.T) {
	db := open(t, t.TempDir())
	var ran []string
	hook := func(name string, fail error) error {
		return db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
			_, err := tx.Exec(t.Context(), insertEntry, name)
			require.NoError(t, err)
			tx.OnCommit(func() { ran = append(ran, fmt.Sprint(name, count(t, db))) })
			return fail
		})
	}
	require.NoError(t, hook("a", nil))
	require.ErrorIs(t, hook("b", errMine), errMine)
	require.NoError(t, hook("c", nil))
	require.Equal(t, []string{"a1", "c2"}, ran)
}

func TestRelaxedAndDurableMix(t *testing.T) {
	db := open(t, t.TempDir())
	var wg sync.WaitGroup
	for i := range 100 {
		write := db.Write
		if i%2 == 0 {
			write = db.WriteRelaxed
		}
		wg.Go(func() {
			require.NoError(t, write(t.Context(), func(tx *sqlitedb.Tx) error {
				_, err := tx.Exec(t.Context(), insertEntry, fmt.Sprint(i))
				return err
			}))
		})
	}
	wg.Wait()
	require.Equal(t, 100, count(t, db))
}

func TestPanicReleasesTheWriter(t *testing.T) {
	db := open(t, t.TempDir())
	require.Panics(t, func() {
		_ = db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
			_, err := tx.Exec(t.Context(), insertEntry, "lost")
			require.NoError(t, err)
			panic("caller's fault")
		})
	})
	require.NoError(t, insert(db, "kept"))
	require.Equal(t, 1, count(t, db))
}

func TestRefusesAfterCloseAndWhenCancelled(t *testing.T) {
	db := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, db.Write(ctx, func(*sqlitedb.Tx) error { t.Error("ran"); return nil }), context.Canceled)
	require.NoError(t, db.Close())
	err := insert(db, "late")
	require.ErrorIs(t, err, sqlitedb.ErrClosed)
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err))
}

// TestCancelledCallerDoesNotHarmTheBatch: a context that ends in the middle of a
// write takes nothing back from anybody.
func TestCancelledCallerDoesNotHarmTheBatch(t *testing.T) {
	db := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, db.Write(ctx, func(tx *sqlitedb.Tx) error {
		cancel()
		_, err := tx.Exec(ctx, insertEntry, "a")
		return err
	}))
	require.NoError(t, insert(db, "b"))
	require.Equal(t, 2, count(t, db))
}

func TestUniqueIsTheCallersError(t *testing.T) {
	db := open(t, t.TempDir())
	require.NoError(t, insert(db, "same"))
	err := insert(db, "same")
	require.True(t, sqlitedb.IsUnique(err))
	require.NotEqual(t, agentid.KindUnavailable, agentid.KindOf(err))
}

// TestFullDisk: writes are refused with KindUnavailable, reads still work, and the
// database recovers by itself when there is room again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"), "this test mounts a small tmpfs and so runs as root")
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	db := open(t, dir)
	require.NoError(t, insert(db, "before"))
	filler := filepath.Join(dir, "filler")
	fill(t, filler)

	var refused error
	for i := 0; refused == nil && i < 1000; i++ {
		refused = insert(db, fmt.Sprintf("%d-%01000d", i, i))
	}
	require.Error(t, refused)
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(refused))
	n := count(t, db)
	require.Positive(t, n)

	require.NoError(t, os.Remove(filler))
	require.NoError(t, insert(db, "after"))
	require.Equal(t, n+1, count(t, db))
	var verdict string
	require.NoError(t, db.Readers().QueryRow("PRAGMA integrity_check").Scan(&verdict))
	require.Equal(t, "ok", verdict)
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	_ = f.Close()
}

func BenchmarkWrite(b *testing.B) {
	for _, durable := range []bool{true, false} {
		for _, clients := range []int{1, 64} {
			b.Run(fmt.Sprintf("durable=%t/clients=%d", durable, clients), func(b *testing.B) {
				db := open(b, b.TempDir())
				write := db.Write
				if !durable {
					write = db.WriteRelaxed
				}
				b.SetParallelism(clients)
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						_ = write(context.Background(), func(tx *sqlitedb.Tx) error {
							_, err := tx.Exec(context.Background(), `INSERT INTO entry (body) VALUES (hex(randomblob(16)))`)
							return err
						})
					}
				})
			})
		}
	}
}
