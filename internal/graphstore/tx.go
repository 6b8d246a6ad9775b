package graphstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/datastore/options"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

const maxAttempts = 10

// ErrConflict means that what a transaction read has changed before it wrote. The
// store runs the transaction again by itself; a caller sees it only when retries
// are off or used up.
var ErrConflict = errors.New("graphstore: read data changed before the write")

const (
	sqlAddChanges = `INSERT INTO changes(rev, seq, data) VALUES(?, ?, ?)`
)

// transaction as the user's function sees it. Until the first write it reads a
// snapshot and holds nothing, so a function that only reads, or refuses, never
// starts a write. At the first write it takes the single writer; if what it read
// has moved meanwhile, it starts over, and then takes the writer at its first read.
type readWriteTx struct {
	reader
	s      *Store
	ctx    context.Context //nolint:containedctx // the transaction's own; it ends with it
	eager  bool            // take the writer at the first read
	snap   *head           // what reads see before the writer is taken
	read   [2]bool         // what was read from snap, by readKind
	mu     sync.Mutex
	w      *writer // nil until the first write
	failed error   // the first error that makes a commit impossible
}

// writer is the transaction's hold on the single writer.
type writer struct {
	q      txQuerier
	rev    int64
	last   transaction
	live   int64 // change in the number of live relationships
	set    changeSet
	chunks int64
	hash   *string // the new schema hash
	finish chan error
	done   chan error
}

var _ datastore.ReadWriteTransaction = (*readWriteTx)(nil)

// ReadWriteTx runs fn and commits what it wrote; the commit is on disk when the
// call returns. fn may run more than once unless retries are disabled. The
// revision is head if fn wrote nothing. A full or failing disk is a
// KindUnavailable error and leaves nothing behind.
func (s *Store) ReadWriteTx(ctx context.Context, fn datastore.TxUserFunc, opts ...options.RWTOptionsOption) (datastore.Revision, error) {
	cfg := options.NewRWTOptionsWithOptions(opts...)
	attempts := maxAttempts
	if cfg.DisableRetries {
		attempts = 1
	}
	var err error
	for i := range attempts {
		if s.closed.Load() {
			return datastore.NoRevision, ErrClosed
		}
		var rev datastore.Revision
		rev, err = s.attempt(ctx, fn, cfg, i > 0 || cfg.DisableRetries)
		if !errors.Is(err, ErrConflict) || ctx.Err() != nil {
			return rev, err
		}
	}
	return datastore.NoRevision, err
}

func (s *Store) attempt(ctx context.Context, fn datastore.TxUserFunc, cfg *options.RWTOptions, eager bool) (_ datastore.Revision, err error) {
	tx := &readWriteTx{s: s, ctx: ctx, eager: eager, snap: s.head.Load()}
	tx.reader = reader{s: s, at: tx.source, still: tx.still}
	defer func() {
		if tx.w != nil { // fn failed or panicked
			tx.rollback()
		}
	}()
	if want := cfg.SchemaHashPrecondition; want != "" {
		if err := tx.requireSchema(ctx, want); err != nil {
			return datastore.NoRevision, err
		}
	}
	err = fn(ctx, tx)
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.failed != nil {
		return datastore.NoRevision, tx.failed
	}
	if err != nil {
		return datastore.NoRevision, err
	}
	if tx.w == nil {
		return Revision(s.head.Load().rev), nil
	}
	if err := tx.seal(cfg); err != nil {
		return datastore.NoRevision, err
	}
	w := tx.w
	tx.w = nil
	w.finish <- nil
	if err := <-w.done; err != nil {
		return datastore.NoRevision, err
	}
	return Revision(w.rev), nil
}

// source implements reader.at.
func (tx *readWriteTx) source(_ context.Context, what readKind) (querier, int64, error) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.failed != nil {
		return nil, 0, tx.failed
	}
	if tx.w == nil && tx.eager {
		if err := tx.begin(); err != nil {
			return nil, 0, err
		}
	}
	if tx.w != nil {
		return tx.w.q, tx.w.rev, nil
	}
	tx.read[what] = true
	return tx.s.readers, tx.snap.rev, tx.s.readable(tx.snap.rev)
}

// still implements reader.still: inside the writer nothing is collected.
func (tx *readWriteTx) still(rev int64) error {
	if tx.w != nil {
		return nil
	}
	return tx.s.readable(rev)
}

func (tx *readWriteTx) requireSchema(ctx context.Context, want string) error {
	q, rev, err := tx.source(ctx, readDefinitions)
	if err != nil {
		return err
	}
	got := tx.snap.schemaHash
	if tx.w != nil {
		if got, err = schemaHash(ctx, q, rev); err != nil {
			return err
		}
	}
	if got == "" {
		return datastore.ErrSchemaNotFound
	}
	if got != want {
		return datastore.ErrSchemaHashPreconditionFailed
	}
	return nil
}

// write gives the writer, taking it if need be. The caller holds tx.mu.
func (tx *readWriteTx) write() (*writer, error) {
	if tx.failed != nil {
		return nil, tx.failed
	}
	if tx.w == nil {
		if err := tx.begin(); err != nil {
			return nil, err
		}
	}
	return tx.w, nil
}

// begin takes the single writer. sqlitedb runs a callback in it, so a goroutine
// keeps the callback open until the user's function is through.
func (tx *readWriteTx) begin() error {
	s := tx.s
	if err := s.reserve(tx.ctx); err != nil {
		return tx.fail(err)
	}
	w := &writer{finish: make(chan error, 1), done: make(chan error, 1)}
	ready := make(chan struct{})
	go func() {
		w.done <- s.db.Write(tx.ctx, func(t *sqlitedb.Tx) error {
			w.q = txQuerier{t}
			close(ready)
			if err := <-w.finish; err != nil {
				return err
			}
			t.OnCommit(func() { s.publish(w) })
			return nil
		})
	}()
	select {
	case <-ready:
	case err := <-w.done:
		return tx.fail(err)
	}
	tx.w = w
	last, err := s.lastTransaction(tx.ctx, w.q)
	if err != nil {
		return tx.fail(err)
	}
	if tx.read[readRelationships] && last.rev != tx.snap.rev || tx.read[readDefinitions] && last.defs != tx.snap.defs {
		return tx.fail(ErrConflict)
	}
	w.last = last
	if w.rev, err = s.next.take(); err != nil {
		return tx.fail(err)
	}
	return nil
}

// fail makes the transaction impossible to commit and remembers the first reason,
// which the user's function may have rewritten by the time it returns.
func (tx *readWriteTx) fail(err error) error {
	if tx.failed == nil {
		tx.failed = err
	}
	return tx.failed
}

// storage passes an error of a statement on; one of the disk ends the transaction.
func (tx *readWriteTx) storage(err error) error {
	if err == nil {
		return nil
	}
	if !sqlitedb.IsUnique(err) {
		return tx.fail(agentid.Unavailable("storage_unavailable", err))
	}
	return err
}

var errRolledBack = errors.New("graphstore: rolled back")

func (tx *readWriteTx) rollback() {
	tx.w.finish <- errRolledBack
	if err := <-tx.w.done; !errors.Is(err, errRolledBack) {
		tx.s.cfg.Logger.WarnContext(tx.ctx, "graph: a rollback ended otherwise", "error", err)
	}
	tx.w = nil
}

// seal writes the change log and the transaction's own row.
func (tx *readWriteTx) seal(cfg *options.RWTOptions) error {
	w := tx.w
	commit := w.set.take()
	if err := tx.logChanges(commit); err != nil {
		return err
	}
	w.set.list = commit
	defs, schema := w.last.defs, w.last.schema
	if w.set.schema {
		defs = w.rev
	}
	if w.hash != nil {
		schema = w.rev
	}
	var metadata []byte
	if len(cfg.Metadata.GetFields()) > 0 {
		var err error
		if metadata, err = proto.Marshal(cfg.Metadata); err != nil {
			return fmt.Errorf("graphstore: encode metadata: %w", err)
		}
	}
	w.last = transaction{w.rev, max(w.last.at, tx.s.micros()), w.last.live + w.live, defs, schema}
	return tx.exec(sqlAddTransaction, w.rev, w.last.at, w.last.live, defs, schema, metadata)
}

func (tx *readWriteTx) logChanges(list []change) error {
	w := tx.w
	for len(list) > 0 {
		n := min(len(list), changeChunk)
		if err := tx.exec(sqlAddChanges, w.rev, w.chunks, encodeChanges(list[:n])); err != nil {
			return err
		}
		w.chunks++
		list = list[n:]
	}
	return nil
}

func (tx *readWriteTx) exec(text string, args ...any) error {
	_, err := tx.w.q.tx.Exec(context.Background(), text, args...)
	return tx.storage(err)
}

// publish makes a committed revision the head, tells the hook, then the watches.
// The head goes first: whoever sees what the hook raised also reads the new head.
func (s *Store) publish(w *writer) {
	old := s.head.Load()
	h := &head{rev: w.rev, defs: w.last.defs, schema: w.last.schema, schemaHash: old.schemaHash}
	if w.hash != nil {
		h.schemaHash = *w.hash
	}
	s.head.Store(h)
	if s.cfg.OnCommit != nil {
		c := Commit{Revision: Revision(w.rev), SchemaHash: h.schemaHash, Schema: w.set.schema, Truncated: w.set.spilled}
		var out datastore.RevisionChanges
		for i := range w.set.list {
			ch := &w.set.list[i]
			if ch.op != opTouch && ch.op != opDelete {
				continue
			}
			if err := ch.addTo(&out); err != nil {
				c.Truncated = true
			}
		}
		c.Relationships = out.RelationshipChanges
		s.cfg.OnCommit(c)
	}
	s.hub.wake()
}
