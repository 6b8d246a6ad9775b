package sqlitedb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// maxStatements bounds the writer's cache of prepared statements. Callers use
// constant texts; a text beyond the bound is prepared for one use.
const maxStatements = 512

// batch is the callers that share one COMMIT.
type batch struct {
	durable  bool
	size     int
	broken   error // a savepoint could not be taken back: nothing may be committed
	undone   bool  // the only caller failed and the transaction is rolled back
	onCommit []func()
	moved    []*Generation // by statements of its callers, taken back or not
	err      error         // valid once done is closed
	done     chan struct{}
}

// run executes fn in a savepoint of its own; the first caller of a batch needs none,
// because nobody else's work is there yet. The writer's lock is held.
func (b *batch) run(ctx context.Context, w *writer, fn func(tx *Tx) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.broken != nil {
		return storageError(b.broken)
	}
	b.size++
	first := b.size == 1
	if !first {
		if _, err := w.exec(context.Background(), "SAVEPOINT caller"); err != nil {
			b.broken = err
			return storageError(err)
		}
	}
	hooks := len(b.onCommit)
	tx := &Tx{w: w, b: b}
	finished := false
	defer func() {
		tx.over = true
		if !finished || err != nil {
			b.onCommit = b.onCommit[:hooks]
			b.takeBack(w, first)
		}
	}()
	if err = fn(tx); err == nil {
		if !first {
			_, err = w.exec(context.Background(), "RELEASE caller")
		}
		if err != nil {
			err = storageError(err)
		}
	} else if isStorageFault(err) {
		err = storageError(err)
	}
	finished = true
	return err
}

// takeBack undoes the caller's part. On some faults (a full disk among them) SQLite has
// ended the whole transaction by itself: then the batch is broken.
func (b *batch) takeBack(w *writer, first bool) {
	ctx := context.Background()
	if first {
		// It may be over already; then there is nothing to roll back.
		_, _ = w.conn.ExecContext(ctx, "ROLLBACK")
		b.undone = true
		return
	}
	if _, err := w.exec(ctx, "ROLLBACK TO caller"); err != nil {
		b.broken = fmt.Errorf("roll back to savepoint: %w", err)
		return
	}
	if _, err := w.exec(ctx, "RELEASE caller"); err != nil {
		b.broken = fmt.Errorf("release savepoint: %w", err)
	}
}

// Tx is one caller's part of a batch. It must not be kept after fn returns. A context
// that ends stops no statement here: SQLite answers an interrupted write by rolling
// back everything, the other callers' part too.
type Tx struct {
	w    *writer
	b    *batch
	over bool
}

var errOver = errors.New("sqlitedb: transaction is over")

// Exec runs a statement. The text is prepared once and kept, so it must be constant.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if tx.over {
		return nil, errOver
	}
	tx.note(query)
	return tx.w.exec(context.WithoutCancel(ctx), query, args...)
}

// Query runs a query that sees the writes of this and earlier callers of the batch.
// The rows must be closed before the next statement.
func (tx *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if tx.over {
		return nil, errOver
	}
	tx.note(query) // INSERT … RETURNING is a query, too
	ctx = context.WithoutCancel(ctx)
	stmt, err := tx.w.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

// QueryRow is Query for at most one row; Scan gives sql.ErrNoRows when there is none.
func (tx *Tx) QueryRow(ctx context.Context, query string, args ...any) Row {
	rows, err := tx.Query(ctx, query, args...)
	return Row{rows, err}
}

// OnCommit runs f after the COMMIT that makes this caller's writes durable: in the
// order of the callers, before Write returns and before the next batch begins. f
// must be quick and must not write. It is dropped when the caller rolls back.
func (tx *Tx) OnCommit(f func()) { tx.b.onCommit = append(tx.b.onCommit, f) }

// Row is the result of QueryRow.
type Row struct {
	rows *sql.Rows
	err  error
}

// Scan copies the row's columns into dest and closes the row.
func (r Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer func() { _ = r.rows.Close() }()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return sql.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	return r.rows.Close()
}

// IsUnique reports whether err is a violated uniqueness rule or primary key.
func IsUnique(err error) bool {
	code, ok := code(err)
	return ok && (code == sqlite3.SQLITE_CONSTRAINT_UNIQUE || code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY ||
		code == sqlite3.SQLITE_CONSTRAINT_ROWID)
}

// isStorageFault reports whether err is the disk's or the file's fault rather than
// the caller's.
func isStorageFault(err error) bool {
	code, ok := code(err)
	if !ok {
		return false
	}
	switch code & 0xff {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_READONLY,
		sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_NOMEM:
		return true
	}
	return false
}

// isSyncFailure reports a failed fsync: what is on disk is no longer known.
func isSyncFailure(err error) bool {
	code, ok := code(err)
	return ok && (code == sqlite3.SQLITE_IOERR_FSYNC || code == sqlite3.SQLITE_IOERR_DIR_FSYNC)
}

func code(err error) (int, bool) {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return 0, false
	}
	return e.Code(), true
}
