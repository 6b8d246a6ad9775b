package auditlog

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// Schema creates the tables of the log as they first were. The ledger's first migration
// runs it.
//
//go:embed schema.sql
var Schema string

// SchemaRows makes of them what the log works with. A later migration of the ledger's runs
// it.
//
//go:embed rows.sql
var SchemaRows string

// Log is the audit log in one database.
type Log struct {
	db  *sqlitedb.DB
	now func() time.Time

	journal *journal // nil: relaxed records are transactions of their own
	known   known

	mu   sync.Mutex
	grew chan struct{} // closed at the next commit that appends
}

// New is the log in db, whose tables exist.
func New(db *sqlitedb.DB, now func() time.Time) *Log {
	return &Log{db: db, now: now, grew: make(chan struct{})}
}

// OpenJournal makes relaxed appends cheap: see journal. It brings in what a crash left in
// the files path-0 and path-1. Call it before the first use, and Close at the end.
func (l *Log) OpenJournal(ctx context.Context, path string) error {
	var err error
	l.journal, err = openJournal(ctx, path, l)
	return err
}

// Flush waits until every record that was appended before it is in the database.
func (l *Log) Flush(ctx context.Context) error {
	if l.journal == nil {
		return nil
	}
	return l.journal.flush(ctx)
}

// Close brings in what is under way. The database is closed by its owner, afterwards.
func (l *Log) Close() error {
	if l.journal == nil {
		return nil
	}
	return l.journal.close()
}

const (
	insertRow = `INSERT INTO audit (seq, n, record)
		VALUES (coalesce((SELECT seq + n FROM audit ORDER BY seq DESC LIMIT 1), 1), ?, ?)`
	insertOpen = `INSERT INTO audit_open (request, seq) VALUES (?,?)`
	deleteOpen = `DELETE FROM audit_open WHERE request = ?`
)

// Add appends entries inside the caller's transaction: they are in the log exactly if
// it commits. It returns the position of the last one. A second open begin with the
// request of one that is open is refused.
func (l *Log) Add(ctx context.Context, tx *sqlitedb.Tx, entries ...Entry) (int64, error) {
	var seq int64
	for i := range entries {
		var err error
		if seq, err = l.row(ctx, tx, entries[i:i+1]); err != nil {
			return 0, err
		}
		request := entries[i].record.Request
		switch entries[i].record.Phase {
		case Begin:
			_, err = tx.Exec(ctx, insertOpen, request, seq)
		case Finish:
			_, err = tx.Exec(ctx, deleteOpen, request)
		case Single:
		}
		if sqlitedb.IsUnique(err) {
			return 0, invalid("request %q is open already", request)
		}
		if err != nil {
			return 0, fmt.Errorf("auditlog: open entries: %w", err)
		}
	}
	if len(entries) > 0 {
		tx.OnCommit(l.wake)
	}
	return seq, nil
}

// addSingles appends entries that neither open nor finish anything, as few rows.
func (l *Log) addSingles(ctx context.Context, tx *sqlitedb.Tx, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	for block := range slices.Chunk(entries, maxBlock) {
		if _, err := l.row(ctx, tx, block); err != nil {
			return err
		}
	}
	tx.OnCommit(l.wake)
	return nil
}

// row appends entries as one row and gives the position of the first.
func (l *Log) row(ctx context.Context, tx *sqlitedb.Tx, entries []Entry) (int64, error) {
	for i := range entries {
		if len(entries[i].Encoded()) == 0 {
			return 0, invalid("an entry was not prepared")
		}
	}
	res, err := tx.Exec(ctx, insertRow, len(entries), pack(entries))
	if err != nil {
		return 0, fmt.Errorf("auditlog: append: %w", err)
	}
	seq, err := res.LastInsertId()
	if err == nil {
		err = l.index(ctx, tx, seq, entries)
	}
	if err != nil {
		return 0, fmt.Errorf("auditlog: append: %w", err)
	}
	return seq, nil
}

// Append writes records in a transaction of their own: on disk at return when durable,
// else handed to the operating system at return and on disk within 10 ms.
func (l *Log) Append(ctx context.Context, durable bool, records ...Record) error {
	if !durable && l.journal != nil && len(records) == 1 && records[0].Phase == Single {
		e, err := Prepare(records[0], l.now())
		if err != nil {
			return err
		}
		return l.journal.append(ctx, e)
	}
	entries, err := l.PrepareAll(records...)
	if err != nil || len(entries) == 0 {
		return err
	}
	write := l.db.Write
	if !durable {
		if l.journal != nil && !slices.ContainsFunc(entries, func(e Entry) bool { return e.record.Phase != Single }) {
			return l.journal.append(ctx, entries...) // what a gateway apart hands over
		}
		write = l.db.WriteRelaxed
	}
	return write(ctx, func(tx *sqlitedb.Tx) error {
		_, err := l.Add(ctx, tx, entries...)
		return err
	})
}

// PrepareAll is Prepare for several records, at the log's own time.
func (l *Log) PrepareAll(records ...Record) ([]Entry, error) {
	entries := make([]Entry, 0, len(records))
	for _, r := range records {
		e, err := Prepare(r, l.now())
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Grew is closed when something is appended after this call.
func (l *Log) Grew() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.grew
}

// Tail calls fn for every record after q.After that matches, first those that are
// there, then each new one when its transaction has committed, until ctx ends or fn
// fails. It waits for commits and does not poll. ctx's end is not an error.
func (l *Log) Tail(ctx context.Context, q Query, fn func(Record) error) error {
	q.Newest = false
	for {
		grew := l.Grew() // before the read: nothing that commits after it is missed
		for {
			page, err := l.Query(ctx, q)
			if err != nil {
				if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
					return nil
				}
				return err
			}
			for _, r := range page.Records {
				if err := fn(r); err != nil {
					return err
				}
			}
			q.After = page.End
			if page.Next == "" {
				break
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-grew:
		}
	}
}

func (l *Log) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.grew)
	l.grew = make(chan struct{})
}
