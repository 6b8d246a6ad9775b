// Package graphstore keeps the relationship graph: a durable SpiceDB datastore on
// one SQLite file. It owns the tables, revisions, snapshots, garbage collection,
// the watch and the commit hook. It does not know what the relationships mean, it
// evaluates no permission, and how a commit reaches the disk is sqlitedb's.
//
// Every relationship is a row that carries the revision that created it and the
// revision that deleted it, so a snapshot is a number and holds no transaction
// open. Rows are kept twice, ordered by resource and ordered by subject. A change
// log, one entry for each revision, feeds the watch and the garbage collection.
//
// One process opens the file at a time; a lock beside it refuses a second one.
// That is why the head revision may live in memory.
package graphstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/authzed/spicedb/pkg/datastore"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// Defaults of Config.
const (
	DefaultGCWindow          = 24 * time.Hour
	DefaultGCInterval        = 3 * time.Minute
	defaultWatchBuffer       = 128
	defaultWatchWriteTimeout = time.Second
)

// ErrClosed is the cause of every refusal after Close.
var ErrClosed = errors.New("graphstore: closed")

// forever is the deleting revision of a row that is not deleted.
const forever = math.MaxInt64

// Config of a store. Path is required.
type Config struct {
	Path        string        // the database file; its directory exists
	GCWindow    time.Duration // how long a past revision stays readable; default 24 h
	GCInterval  time.Duration // how often garbage is collected; default 3 min
	Readers     int           // reading connections; default: twice the CPUs, at least 4
	WatchBuffer uint16        // revisions that a slow watcher may lag in memory; default 128

	// OnCommit runs for each committed revision, in revision order, after the
	// revision can be read and before its writer returns. It must be quick and
	// must not write.
	OnCommit func(Commit)

	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default slog.Default()
}

// Store is an open graph. It implements datastore.Datastore.
type Store struct {
	cfg      Config
	db       *sqlitedb.DB
	lock     *fileLock
	readers  *readerPool
	uniqueID string

	head   atomic.Pointer[head]
	oldest atomic.Int64 // the oldest readable revision
	schema atomic.Pointer[cachedSchema]
	next   counter
	hub    hub

	gcDone   atomic.Bool
	gcMu     sync.Mutex // one collection at a time
	stop     context.CancelFunc
	running  context.Context //nolint:containedctx // ends the background work, carries no values
	wg       sync.WaitGroup  // guarded by bgMu against Add after Close
	bgMu     sync.Mutex
	closed   atomic.Bool
	closeErr error
	once     sync.Once
}

var (
	_ datastore.Datastore                   = (*Store)(nil)
	_ datastore.GarbageCollectableDatastore = (*Store)(nil)
	_ datastore.EngineIdentifiable          = (*Store)(nil)
)

// Open opens or creates the graph at cfg.Path and starts its garbage collection.
// It reads a handful of rows, whatever the file holds. A file that another
// process has open, or of another format, is refused.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Path == "" {
		return nil, errors.New("graphstore: Path is required")
	}
	cfg = withDefaults(cfg)
	lock, err := lockFile(cfg.Path + ".lock")
	if err != nil {
		return nil, agentid.Unavailable("graph_unavailable", fmt.Errorf("graphstore: %w", err))
	}
	s := &Store{cfg: cfg, lock: lock}
	s.hub.init()
	s.running, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.release())
	}
	return s, s.background(s.collectForever)
}

// background runs fn in a goroutine that Close waits for; it refuses after Close.
func (s *Store) background(fn func()) error {
	s.bgMu.Lock()
	defer s.bgMu.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	s.wg.Go(fn)
	return nil
}

func withDefaults(cfg Config) Config {
	if cfg.GCWindow <= 0 {
		cfg.GCWindow = DefaultGCWindow
	}
	if cfg.GCInterval <= 0 {
		cfg.GCInterval = DefaultGCInterval
	}
	if cfg.WatchBuffer == 0 {
		cfg.WatchBuffer = defaultWatchBuffer
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Readers <= 0 {
		cfg.Readers = defaultReaders()
	}
	return cfg
}

func (s *Store) open(ctx context.Context) error {
	if err := create(ctx, s.cfg.Path); err != nil {
		return agentid.Unavailable("graph_unavailable", fmt.Errorf("graphstore: create %s: %w", s.cfg.Path, err))
	}
	db, err := sqlitedb.Open(ctx, sqlitedb.Config{Path: s.cfg.Path, Readers: s.cfg.Readers, Logger: s.cfg.Logger})
	if err != nil {
		return fmt.Errorf("graphstore: %w", err)
	}
	s.db = db
	s.readers = newReaderPool(db.Readers(), s.cfg.Readers)
	if err := s.prepare(ctx); err != nil {
		return fmt.Errorf("graphstore: prepare %s: %w", s.cfg.Path, err)
	}
	return s.load(ctx)
}

// Close stops the background work and the watches, waits for the running commit
// and closes the file. Later calls give the same result.
func (s *Store) Close() error {
	s.once.Do(func() {
		s.bgMu.Lock()
		s.closed.Store(true)
		s.bgMu.Unlock()
		s.stop()
		s.wg.Wait()
		s.closeErr = s.release()
	})
	return s.closeErr
}

func (s *Store) release() error {
	s.stop()
	var errs []error
	if s.readers != nil {
		errs = append(errs, s.readers.close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	return errors.Join(append(errs, s.lock.release())...)
}

// MetricsID names the datastore in metrics.
func (s *Store) MetricsID() (string, error) { return engineName, nil }

const engineName = "graphstore"

// EngineName names the implementation.
func (s *Store) EngineName() string { return engineName }

// UniqueID is the identity that the file got when it was created. Zookies carry a
// prefix of it, so a zookie of another graph is recognised.
func (s *Store) UniqueID(context.Context) (string, error) {
	if s.closed.Load() {
		return "", ErrClosed
	}
	return s.uniqueID, nil
}

// ReadyState reads one row from the file. An error means that the storage does
// not answer: do not send requests here.
func (s *Store) ReadyState(ctx context.Context) (datastore.ReadyState, error) {
	done := make(chan error, 1)
	err := s.background(func() {
		_, err := s.lastTransaction(ctx, s.readers)
		done <- err
	})
	if err != nil {
		return datastore.ReadyState{}, err
	}
	select {
	case err := <-done:
		if err != nil {
			return datastore.ReadyState{Message: "the graph cannot be read"}, err
		}
		return datastore.ReadyState{IsReady: true}, nil
	case <-ctx.Done():
		return datastore.ReadyState{Message: "the storage does not answer"}, ctx.Err()
	}
}

// Features says what the store can do.
func (s *Store) Features(context.Context) (*datastore.Features, error) { return s.OfflineFeatures() }

// OfflineFeatures is Features without looking at the file.
func (s *Store) OfflineFeatures() (*datastore.Features, error) {
	yes := datastore.Feature{Status: datastore.FeatureSupported}
	return &datastore.Features{
		Watch:                 yes,
		WatchEmitsImmediately: yes,
		ContinuousCheckpointing: datastore.Feature{
			Status: datastore.FeatureUnsupported,
			Reason: "checkpoints come with commits; an idle graph is silent",
		},
		IntegrityData: datastore.Feature{Status: datastore.FeatureUnsupported, Reason: "relationships are not signed"},
	}, nil
}

// micros is now in the unit of the tables: microseconds since 1970.
func (s *Store) micros() int64 { return s.cfg.Now().UnixMicro() }
