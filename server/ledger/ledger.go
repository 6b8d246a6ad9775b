// Package ledger keeps what is not a relationship: settings, agent keys, sealed
// credentials and signing keys, issued tokens, revocation epochs, use counts, holds and
// the audit log. It is one SQLite file, and every change is one transaction that is on
// disk when the method returns, together with the audit records given to it.
//
// It owns the tables, their versions, and the sweeper that resolves what nobody
// settled. It decides nothing: whether an agent is live is the graph's, and whether an
// operation is allowed is the policy's.
//
// Errors are agentid.Error values. KindUnavailable means that the disk or the file
// failed: nothing was changed, or it is not known, and the caller refuses. Errors of
// the other kinds changed nothing.
package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/boottime"
	"github.com/agentid-dev/agentid/internal/recall"
	"github.com/agentid-dev/agentid/internal/seal"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// DefaultSweepEvery is how often the sweeper looks for what is due.
const DefaultSweepEvery = time.Second

// Config of a ledger. Path and SealKey are required.
type Config struct {
	Path    string
	SealKey *seal.Key
	Now     func() time.Time // default: time.Now
	// BootTime is a clock that nobody sets, by which a step of Now is told from time that
	// has passed. Default: boottime.Now where Now is left out too, else steps are not told.
	BootTime func() time.Duration
	Logger   *slog.Logger // default: discards
	// SweepEvery is the sweeper's interval; default 1 s, negative: only Sweep sweeps.
	SweepEvery time.Duration
	// Newer says whether zookie a is of a later revision than b. Default: compares the
	// decimal revisions of the embedded store and of CockroachDB.
	Newer func(a, b agentid.Zookie) (bool, error)
}

// Ledger is one open ledger. It is safe for concurrent use.
type Ledger struct {
	cfg     Config
	db      *sqlitedb.DB
	log     *auditlog.Log
	hmacKey []byte
	holds   *holds
	reads   *statements

	clock stepped

	generations generations
	secrets     *recall.Values[secretKey, knownSecret]

	mu      sync.Mutex
	changed chan struct{} // closed when connectors or credentials change

	stop    context.CancelFunc
	stopped chan struct{}
}

// Open opens or creates the ledger at cfg.Path. It refuses a ledger that another key
// sealed, and one of a later version. What a crash left in flight is unknown from here
// on, and swept at its deadline.
func Open(ctx context.Context, cfg Config) (*Ledger, error) {
	if cfg.Path == "" || cfg.SealKey == nil {
		return nil, errors.New("ledger: path and sealing key are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
		if cfg.BootTime == nil {
			cfg.BootTime = boottime.Now
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.SweepEvery == 0 {
		cfg.SweepEvery = DefaultSweepEvery
	}
	if cfg.Newer == nil {
		cfg.Newer = newerDecimal
	}
	db, err := sqlitedb.Open(ctx, sqlitedb.Config{Path: cfg.Path, Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	l := &Ledger{
		clock: stepped{now: cfg.Now, boot: cfg.BootTime},
		cfg:   cfg, db: db, log: auditlog.New(db, cfg.Now),
		holds: newHolds(), reads: newStatements(db.Readers()), changed: make(chan struct{}), stopped: make(chan struct{}),
	}
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("ledger: %w", err), l.log.Close(), db.Close())
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	go l.sweepLoop(background)
	return l, nil
}

func (l *Ledger) start(ctx context.Context) error {
	if err := l.watch(); err != nil {
		return err
	}
	if err := l.migrate(ctx); err != nil {
		return err
	}
	if err := l.initialise(ctx); err != nil {
		return err
	}
	if err := l.log.OpenJournal(ctx, l.cfg.Path+"-audit"); err != nil {
		return err
	}
	if err := l.recoverEffects(ctx); err != nil {
		return err
	}
	return l.loadHolds(ctx)
}

// Close stops the sweeper and closes the file. Running writes end first.
func (l *Ledger) Close() error {
	l.stop()
	<-l.stopped
	if err := errors.Join(l.log.Close(), l.db.Close()); err != nil {
		return fmt.Errorf("ledger: close: %w", err)
	}
	return nil
}

// Ping reads from the ledger: an error means that it cannot be read.
func (l *Ledger) Ping(ctx context.Context) error {
	_, err := l.meta(ctx, metaIncarnation)
	return err
}

func (l *Ledger) now() time.Time { return l.cfg.Now() }

// write runs fn in one durable transaction and appends the records to it. A record
// that cannot be written takes fn's work back. The caller's cancellation is honoured
// before the transaction only: an interrupted statement would end the transactions of
// others in the same batch.
func (l *Ledger) write(ctx context.Context, records []auditlog.Record, fn func(ctx context.Context, tx *sqlitedb.Tx) error) error {
	entries, err := l.log.PrepareAll(records...)
	if err != nil {
		return err
	}
	inner := context.WithoutCancel(ctx)
	return l.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		err := fn(inner, tx)
		if errors.Is(err, errUnchanged) {
			return err
		}
		if err == nil {
			_, err = l.log.Add(inner, tx, entries...)
		}
		return err
	})
}

// errUnchanged ends a transaction that has nothing to do, without its records.
var errUnchanged = errors.New("unchanged")

// query runs a query: on the readers, or inside a transaction.
type query func(ctx context.Context, text string, args ...any) (*sql.Rows, error)

func (l *Ledger) reader() query { return l.reads.query }

// rows calls scan for every row.
func rows(ctx context.Context, q query, scan func(row *sql.Rows) error, text string, args ...any) error {
	r, err := q(ctx, text, args...)
	if err != nil {
		return readError(err)
	}
	defer func() { _ = r.Close() }()
	for r.Next() {
		if err := scan(r); err != nil {
			return err
		}
	}
	if err := r.Err(); err != nil {
		return readError(err)
	}
	return nil
}

// one scans at most one row and reports whether there was one.
func one(ctx context.Context, q query, dest []any, text string, args ...any) (bool, error) {
	found := false
	err := rows(ctx, q, func(r *sql.Rows) error {
		found = true
		return r.Scan(dest...)
	}, text, args...)
	return found, err
}

// exists reports whether the query gives a row.
func exists(ctx context.Context, q query, text string, args ...any) (bool, error) {
	found := false
	err := rows(ctx, q, func(*sql.Rows) error { found = true; return nil }, text, args...)
	return found, err
}

func readError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return agentid.Unavailable("ledger_unavailable", err)
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}
