package graphstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/tuple"
)

const (
	sqlTransactionsAfter = `SELECT rev, metadata FROM transactions WHERE rev > ? AND rev <= ? ORDER BY rev LIMIT 64`
	sqlChangesOf         = `SELECT data FROM changes WHERE rev = ? ORDER BY seq`
)

// hub wakes the watches after each commit.
type hub struct {
	mu sync.Mutex
	ch chan struct{}
}

func (h *hub) init() { h.ch = make(chan struct{}) }

func (h *hub) wait() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ch
}

func (h *hub) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.ch)
	h.ch = make(chan struct{})
}

// Watch sends what changed after a revision, then each commit as it comes. A
// commit wakes the watch, which reads the change log, so a slow watch costs no
// memory. It ends with one error: datastore.WatchCanceledError when ctx ended,
// WatchDisconnectedError when the receiver was too slow, InvalidRevisionError when
// the revision is too old, from the future or of another store.
func (s *Store) Watch(ctx context.Context, after datastore.Revision, opts datastore.WatchOptions) (<-chan datastore.RevisionChanges, <-chan error) {
	if opts.WatchBufferLength == 0 {
		opts.WatchBufferLength = s.cfg.WatchBuffer
	}
	if opts.WatchBufferWriteTimeout <= 0 {
		opts.WatchBufferWriteTimeout = defaultWatchWriteTimeout
	}
	out := make(chan datastore.RevisionChanges, opts.WatchBufferLength)
	errs := make(chan error, 1)
	w := &watch{s: s, opts: opts, out: out}
	err := w.start(after)
	if err == nil {
		err = s.background(func() {
			defer close(errs)
			defer close(out)
			errs <- w.run(ctx)
		})
	}
	if err != nil {
		errs <- err
		close(out)
		close(errs)
	}
	return out, errs
}

type watch struct {
	s      *Store
	opts   datastore.WatchOptions
	out    chan<- datastore.RevisionChanges
	cursor int64 // everything up to it was sent
}

func (w *watch) start(after datastore.Revision) error {
	if w.s.closed.Load() {
		return ErrClosed
	}
	if w.opts.EmissionStrategy == datastore.EmitImmediatelyStrategy && !w.wants(datastore.WatchCheckpoints) {
		return errors.New("graphstore: emit immediately needs checkpoints")
	}
	rev, ok := after.(Revision)
	if !ok {
		return datastore.NewInvalidRevisionErr(after, datastore.CouldNotDetermineRevision)
	}
	w.cursor = int64(rev)
	return w.s.readable(w.cursor)
}

func (w *watch) wants(c datastore.WatchContent) bool { return w.opts.Content&c == c }

func (w *watch) run(ctx context.Context) error {
	for {
		woken := w.s.hub.wait()
		for w.cursor < w.s.head.Load().rev {
			if err := w.send(ctx); err != nil {
				return err
			}
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return watchEnded(ctx)
		case <-w.s.running.Done():
			return ErrClosed
		}
	}
}

func watchEnded(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return datastore.NewWatchCanceledErr()
	}
	return fmt.Errorf("graphstore: watch: %w", ctx.Err())
}

// loggedRevision is a revision as the log has it.
type loggedRevision struct {
	rev      int64
	metadata []byte
}

// send reads the next revisions from the log and hands them over.
func (w *watch) send(ctx context.Context) error {
	var revs []loggedRevision
	err := w.s.readers.query(ctx, sqlTransactionsAfter, []any{w.cursor, w.s.head.Load().rev}, 2, func(v []driver.Value) error {
		revs = append(revs, loggedRevision{asInt(v[0]), asBytes(v[1])})
		return nil
	})
	if err != nil {
		return w.readFailed(ctx, err)
	}
	for _, r := range revs {
		changes, err := w.load(ctx, r)
		if err == nil {
			err = w.s.readable(w.cursor) // the collection takes the log away too
		}
		if err != nil {
			return w.readFailed(ctx, err)
		}
		if err := w.emit(ctx, changes); err != nil {
			return err
		}
		w.cursor = r.rev
	}
	return nil
}

func (w *watch) readFailed(ctx context.Context, err error) error {
	var stale datastore.InvalidRevisionError
	var full datastore.MaximumChangesSizeExceededError
	switch {
	case ctx.Err() != nil:
		return watchEnded(ctx)
	case errors.As(err, &stale), errors.As(err, &full), errors.Is(err, ErrClosed):
		return err
	}
	return datastore.NewWatchTemporaryErr(err)
}

func (w *watch) load(ctx context.Context, r loggedRevision) (datastore.RevisionChanges, error) {
	out := datastore.RevisionChanges{Revision: Revision(r.rev)}
	size := uint64(0)
	err := w.s.readers.query(ctx, sqlChangesOf, []any{r.rev}, 1, func(v []driver.Value) error {
		data := asBytes(v[0])
		size += uint64(len(data))
		if limit := w.opts.MaximumBufferedChangesByteSize; limit > 0 && size > limit {
			return datastore.NewMaximumChangesSizeExceededError(limit)
		}
		list, err := decodeChanges(data)
		if err != nil {
			return err
		}
		for i := range list {
			relationship := list[i].op == opTouch || list[i].op == opDelete
			if relationship && !w.wants(datastore.WatchRelationships) || !relationship && !w.wants(datastore.WatchSchema) {
				continue
			}
			if err := list[i].addTo(&out); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || r.metadata == nil {
		return out, err
	}
	metadata := &structpb.Struct{}
	if err := proto.Unmarshal(r.metadata, metadata); err != nil {
		return out, fmt.Errorf("%w: metadata: %w", errChanges, err)
	}
	out.Metadatas = []*structpb.Struct{metadata}
	return out, nil
}

// emit sends one revision and its checkpoint.
func (w *watch) emit(ctx context.Context, c datastore.RevisionChanges) error {
	something := len(c.RelationshipChanges)+len(c.ChangedDefinitions)+len(c.DeletedNamespaces)+len(c.DeletedCaveats) > 0
	var events []datastore.RevisionChanges
	switch {
	case w.opts.EmissionStrategy == datastore.EmitImmediatelyStrategy:
		events = split(c)
	case something:
		events = append(events, c)
	}
	if w.wants(datastore.WatchCheckpoints) {
		events = append(events, datastore.RevisionChanges{Revision: c.Revision, IsCheckpoint: true})
	}
	for _, e := range events {
		if err := w.push(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// split gives each change of a revision an event of its own.
func split(c datastore.RevisionChanges) []datastore.RevisionChanges {
	var out []datastore.RevisionChanges
	for _, u := range c.RelationshipChanges {
		out = append(out, datastore.RevisionChanges{Revision: c.Revision, RelationshipChanges: []tuple.RelationshipUpdate{u}})
	}
	if len(c.ChangedDefinitions)+len(c.DeletedNamespaces)+len(c.DeletedCaveats) > 0 {
		schema := c
		schema.RelationshipChanges, schema.Metadatas = nil, nil
		out = append(out, schema)
	}
	if len(c.Metadatas) > 0 {
		out = append(out, datastore.RevisionChanges{Revision: c.Revision, Metadatas: c.Metadatas})
	}
	return out
}

func (w *watch) push(ctx context.Context, e datastore.RevisionChanges) error {
	select {
	case w.out <- e:
		return nil
	default:
	}
	timer := time.NewTimer(w.opts.WatchBufferWriteTimeout)
	defer timer.Stop()
	select {
	case w.out <- e:
		return nil
	case <-timer.C:
		return datastore.NewWatchDisconnectedErr()
	case <-ctx.Done():
		return watchEnded(ctx)
	case <-w.s.running.Done():
		return ErrClosed
	}
}
