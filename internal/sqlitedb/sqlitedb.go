// Package sqlitedb opens one SQLite database for many readers and one writer with
// group commit. It owns durability: the WAL, synchronous=FULL, when a commit is
// on disk, and what a full or failing disk means. It knows no table.
package sqlitedb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the pure Go SQLite driver, registered as "sqlite"

	"github.com/agentid-dev/agentid"
)

// Defaults of Config.
const (
	DefaultBusyTimeout = 5 * time.Second
	relaxedSyncDelay   = 8 * time.Millisecond // on disk within 10 ms
	maxBatch           = 256

	// A page that is written again and again goes from the WAL into the file once for each
	// checkpoint: 16 MiB of WAL lie between two.
	checkpointPages = 4000
	writerCacheKiB  = 16 << 10
)

// ErrClosed is the cause of every refusal after Close.
var ErrClosed = errors.New("sqlitedb: closed")

// Config of a database. Path is required.
type Config struct {
	Path        string
	Readers     int           // size of the reading pool; default: twice the CPUs, at least 4
	BusyTimeout time.Duration // default 5 s; only another process can make us wait
	Logger      *slog.Logger  // default: slog.Default()
}

// DB is one open database. All writes of the process go through its one writer.
type DB struct {
	path    string
	log     *slog.Logger
	readers *sql.DB
	pool    *sql.DB // the writer's, of one connection
	writer  *writer
	wal     *walSync
}

// Open opens or creates the database at cfg.Path with mode 0600. It reads no data
// beyond what SQLite needs to recover its WAL.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.Path == "" {
		return nil, errors.New("sqlitedb: Path is required")
	}
	if cfg.Readers <= 0 {
		cfg.Readers = max(4, 2*runtime.NumCPU())
	}
	if cfg.BusyTimeout <= 0 {
		cfg.BusyTimeout = DefaultBusyTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if err := touch(cfg.Path); err != nil {
		return nil, fmt.Errorf("sqlitedb: %w", err)
	}
	pool, err := sql.Open("sqlite", dsn(cfg, "FULL", false))
	if err != nil {
		return nil, fmt.Errorf("sqlitedb: open writer: %w", err)
	}
	pool.SetMaxOpenConns(1)
	conn, err := pool.Conn(ctx)
	if err != nil {
		_ = pool.Close()
		return nil, fmt.Errorf("sqlitedb: open %s: %w", cfg.Path, err)
	}
	readers, err := sql.Open("sqlite", dsn(cfg, "FULL", true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sqlitedb: open readers: %w", err), conn.Close(), pool.Close())
	}
	readers.SetMaxOpenConns(cfg.Readers)
	readers.SetMaxIdleConns(cfg.Readers)
	db := &DB{path: cfg.Path, log: cfg.Logger, readers: readers, pool: pool}
	db.writer = &writer{conn: conn, stmts: map[string]*sql.Stmt{}, execs: map[string]driver.Stmt{}}
	db.wal = &walSync{path: cfg.Path + "-wal", failed: db.fail}
	return db, nil
}

// Readers is the read-only pool. A statement on it sees the last commit.
func (db *DB) Readers() *sql.DB { return db.readers }

// Write runs fn in the single writer and returns once its effects are on disk.
// Callers that come while another is writing share its COMMIT; each has its own
// savepoint, so an error from fn takes back fn's own work only and is returned as
// it is. A failed COMMIT takes back the whole batch and is KindUnavailable for
// each caller; the writer goes on. A failed fsync is final: every later write is
// refused until the process starts again.
func (db *DB) Write(ctx context.Context, fn func(tx *Tx) error) error {
	return db.write(ctx, true, fn)
}

// WriteRelaxed is Write with less durability: at its return the operating system
// has the data, and it is on disk within 10 ms.
func (db *DB) WriteRelaxed(ctx context.Context, fn func(tx *Tx) error) error {
	return db.write(ctx, false, fn)
}

// Close waits for the running batch, syncs, and closes all connections.
func (db *DB) Close() error {
	w := db.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	if w.batch != nil {
		db.commit(w.batch)
	}
	w.closed = true
	var errs []error
	for _, s := range w.stmts {
		errs = append(errs, s.Close())
	}
	for _, s := range w.execs {
		errs = append(errs, s.Close())
	}
	errs = append(errs, db.wal.close(), w.conn.Close(), db.pool.Close(), db.readers.Close())
	return errors.Join(errs...)
}

// fail marks the database failed for good.
func (db *DB) fail(cause error) {
	if db.writer.failure.CompareAndSwap(nil, &cause) {
		db.log.Error("a sync to disk failed; all writes are refused until restart", "path", db.path, "error", cause)
	}
}

func (db *DB) write(ctx context.Context, durable bool, fn func(tx *Tx) error) error {
	b, err := db.enter(ctx, durable, fn)
	if err != nil {
		return err
	}
	<-b.done
	return b.err
}

// enter runs fn in the open batch. The last caller in line commits it; one that
// sees others waiting leaves that to them.
func (db *DB) enter(ctx context.Context, durable bool, fn func(tx *Tx) error) (*batch, error) {
	w := db.writer
	w.waiting.Add(1)
	w.mu.Lock()
	w.waiting.Add(-1)
	defer w.mu.Unlock()
	b, err := db.join(durable)
	if err != nil {
		return nil, err
	}
	defer func() { // also when fn panics
		if b.undone || w.waiting.Load() == 0 || b.size >= maxBatch {
			db.commit(b)
		}
	}()
	return b, b.run(ctx, w, fn)
}

// join returns the open batch, or begins one. A durable write never joins a batch
// that would be committed without a sync. The writer's lock is held.
func (db *DB) join(durable bool) (*batch, error) {
	w := db.writer
	if w.closed {
		return nil, storageError(ErrClosed)
	}
	if w.batch != nil && (w.batch.durable || !durable) {
		return w.batch, nil
	}
	if w.batch != nil {
		db.commit(w.batch)
	}
	if cause := w.failure.Load(); cause != nil {
		return nil, storageError(*cause)
	}
	b := &batch{durable: durable, done: make(chan struct{})}
	if err := w.begin(durable); err != nil {
		return nil, storageError(err)
	}
	w.batch = b
	return b, nil
}

// commit ends the batch and lets its callers go. The writer's lock is held.
func (db *DB) commit(b *batch) {
	w := db.writer
	w.batch = nil
	if !b.undone {
		b.err = w.end(b.broken)
	}
	b.move()
	if b.err != nil {
		if isSyncFailure(b.err) {
			db.fail(b.err)
		}
		b.err = storageError(b.err)
	} else {
		if !b.durable {
			db.wal.schedule()
		}
		for _, f := range b.onCommit {
			f()
		}
	}
	close(b.done)
}

// writer is the one writing connection and the batch that is open on it.
type writer struct {
	mu      sync.Mutex
	waiting atomic.Int64
	closed  bool
	relaxed bool // the connection's synchronous mode is NORMAL
	conn    *sql.Conn
	stmts   map[string]*sql.Stmt
	execs   map[string]driver.Stmt // of the same connection: see exec
	args    []driver.NamedValue    // those of one exec
	batch   *batch
	watched []*Generation
	moves   map[string][]*Generation // by the text of a statement
	failure atomic.Pointer[error]
}

func (w *writer) begin(durable bool) error {
	ctx := context.Background()
	if w.relaxed == durable {
		mode := "FULL"
		if !durable {
			mode = "NORMAL"
		}
		if _, err := w.conn.ExecContext(ctx, "PRAGMA synchronous="+mode); err != nil {
			return fmt.Errorf("set synchronous: %w", err)
		}
		w.relaxed = !durable
	}
	if _, err := w.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	return nil
}

// end commits, or rolls back when a savepoint could not be taken back.
func (w *writer) end(broken error) error {
	ctx := context.Background()
	err := broken
	if err == nil {
		if _, err = w.exec(ctx, "COMMIT"); err == nil {
			return nil
		}
	}
	// SQLite may have rolled back by itself; then this ROLLBACK has nothing to do.
	_, _ = w.conn.ExecContext(ctx, "ROLLBACK")
	return fmt.Errorf("commit: %w", err)
}

func (w *writer) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := w.stmts[query]; ok {
		return s, nil
	}
	s, err := w.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if len(w.stmts) < maxStatements {
		w.stmts[query] = s
	}
	return s, nil
}

func dsn(cfg Config, synchronous string, readOnly bool) string {
	q := url.Values{}
	q.Add("_pragma", fmt.Sprintf("busy_timeout(%d)", cfg.BusyTimeout.Milliseconds()))
	if !readOnly {
		q.Add("_pragma", "journal_mode(WAL)")
		q.Add("_pragma", fmt.Sprintf("wal_autocheckpoint(%d)", checkpointPages))
		q.Add("_pragma", fmt.Sprintf("cache_size(-%d)", writerCacheKiB))
	}
	q.Add("_pragma", "synchronous("+synchronous+")")
	q.Add("_pragma", "foreign_keys(ON)")
	q.Add("_pragma", "temp_store(MEMORY)")
	if readOnly {
		q.Add("_pragma", "query_only(ON)")
	}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: cfg.Path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

// touch makes sure that the file exists and that only its owner may read it.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// storageError is what callers see of a storage fault.
func storageError(cause error) error {
	if e, ok := errors.AsType[*agentid.Error](cause); ok {
		return e
	}
	return agentid.Unavailable("storage_unavailable", cause)
}
