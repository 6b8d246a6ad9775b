package graphstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"

	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

const formatVersion = 1

// pageSize is larger than SQLite's own, so that the inner pages of the tables of a
// million agents fit into a reader's cache and a lookup misses at most one page.
const pageSize = 8192

// revisionBlock is how many revisions one write to the file reserves. A revision
// is used only after its block is on disk, so none comes twice, whatever happens
// to the transaction or to the process.
const revisionBlock = 1 << 20

// The tables. Times are microseconds since 1970, 0 is "never"; deleted is the
// revision that ended the row, math.MaxInt64 while it lives. k is the composed key
// of key.go.
var tables = []string{
	`CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value ANY NOT NULL) WITHOUT ROWID, STRICT`,
	`CREATE TABLE IF NOT EXISTS forward(k TEXT NOT NULL, deleted INTEGER NOT NULL, created INTEGER NOT NULL,
		expires INTEGER NOT NULL, caveat BLOB, PRIMARY KEY(k, deleted)) WITHOUT ROWID, STRICT`,
	`CREATE TABLE IF NOT EXISTS reverse(k TEXT NOT NULL, deleted INTEGER NOT NULL, created INTEGER NOT NULL,
		expires INTEGER NOT NULL, caveat BLOB, PRIMARY KEY(k, deleted)) WITHOUT ROWID, STRICT`,
	`CREATE INDEX IF NOT EXISTS forward_expires ON forward(expires) WHERE expires > 0`,
	`CREATE TABLE IF NOT EXISTS defs(kind INTEGER NOT NULL, name TEXT NOT NULL, deleted INTEGER NOT NULL,
		created INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY(kind, name, deleted)) WITHOUT ROWID, STRICT`,
	`CREATE TABLE IF NOT EXISTS transactions(rev INTEGER PRIMARY KEY, at INTEGER NOT NULL, live INTEGER NOT NULL,
		defs INTEGER NOT NULL, schema INTEGER NOT NULL, metadata BLOB) STRICT`,
	`CREATE TABLE IF NOT EXISTS changes(rev INTEGER NOT NULL, seq INTEGER NOT NULL, data BLOB NOT NULL,
		PRIMARY KEY(rev, seq)) WITHOUT ROWID, STRICT`,
}

const (
	sqlGetMeta = `SELECT value FROM meta WHERE key = ?`
	sqlSetMeta = `INSERT INTO meta(key, value) VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value`

	sqlLastTransaction = `SELECT rev, at, live, defs, schema FROM transactions ORDER BY rev DESC LIMIT 1`
	sqlOldest          = `SELECT rev FROM transactions ORDER BY rev LIMIT 1`
	sqlTransactionAt   = `SELECT at FROM transactions WHERE rev = ?`
	sqlAddTransaction  = `INSERT INTO transactions(rev, at, live, defs, schema, metadata) VALUES(?, ?, ?, ?, ?, ?)`
)

// Keys of meta.
const (
	metaFormat   = "format"
	metaUniqueID = "unique_id"
	metaCeiling  = "revision_ceiling" // no revision above it was ever used
	metaOldest   = "oldest_revision"  // nothing below it may be read
)

// create makes an empty database of our page size where there is none. It must
// come first: the size is fixed once the file is in WAL mode.
func create(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil || info.Size() > 0 {
		return err
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf(`PRAGMA page_size = %d; PRAGMA user_version = %d`, pageSize, formatVersion))
	return errors.Join(err, db.Close())
}

// prepare creates what is missing, in one transaction.
func (s *Store) prepare(ctx context.Context) error {
	version, err := metaInt(ctx, s.readers, metaFormat)
	if err == nil && version != formatVersion {
		return fmt.Errorf("format %d, this program reads format %d", version, formatVersion)
	}
	if err == nil {
		return nil
	}
	return s.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		for _, t := range tables {
			if _, err := tx.Exec(ctx, t); err != nil {
				return fmt.Errorf("create tables: %w", err)
			}
		}
		for _, m := range []struct {
			key   string
			value any
		}{{metaFormat, formatVersion}, {metaUniqueID, uuid.NewString()}, {metaCeiling, 1}, {metaOldest, 1}} {
			if _, err := tx.Exec(ctx, sqlSetMeta, m.key, m.value); err != nil {
				return fmt.Errorf("set %s: %w", m.key, err)
			}
		}
		_, err := tx.Exec(ctx, sqlAddTransaction, 1, s.micros(), 0, 1, 1, nil)
		return err
	})
}

// load reads the few rows that live in memory.
func (s *Store) load(ctx context.Context) error {
	var err error
	if s.uniqueID, err = metaText(ctx, s.readers, metaUniqueID); err != nil {
		return fmt.Errorf("graphstore: read unique id: %w", err)
	}
	ceiling, err := metaInt(ctx, s.readers, metaCeiling)
	if err != nil {
		return fmt.Errorf("graphstore: read revision ceiling: %w", err)
	}
	s.next.init(ceiling)
	oldest, err := metaInt(ctx, s.readers, metaOldest)
	if err != nil {
		return fmt.Errorf("graphstore: read oldest revision: %w", err)
	}
	s.oldest.Store(oldest)
	last, err := s.lastTransaction(ctx, s.readers)
	if err != nil {
		return fmt.Errorf("graphstore: read head: %w", err)
	}
	hash, err := schemaHash(ctx, s.readers, last.rev)
	if err != nil {
		return err
	}
	s.head.Store(&head{rev: last.rev, defs: last.defs, schema: last.schema, schemaHash: hash})
	return nil
}

// transaction is a row of the table of the same name.
type transaction struct {
	rev    int64 // its revision
	at     int64 // commit time, never less than that of an earlier revision
	live   int64 // relationships alive after it
	defs   int64 // the last revision up to it that changed a definition
	schema int64 // the last revision up to it that changed the stored schema
}

func (s *Store) lastTransaction(ctx context.Context, q querier) (transaction, error) {
	var t transaction
	found := false
	err := q.query(ctx, sqlLastTransaction, nil, 5, func(v []driver.Value) error {
		t = transaction{asInt(v[0]), asInt(v[1]), asInt(v[2]), asInt(v[3]), asInt(v[4])}
		found = true
		return nil
	})
	if err == nil && !found {
		err = errors.New("no transaction in the file")
	}
	return t, err
}

func metaValue(ctx context.Context, q querier, key string) (any, error) {
	var value any
	err := q.query(ctx, sqlGetMeta, []any{key}, 1, func(v []driver.Value) error {
		value = v[0]
		return nil
	})
	if err == nil && value == nil {
		err = fmt.Errorf("%s: %w", key, sql.ErrNoRows)
	}
	return value, err
}

func metaInt(ctx context.Context, q querier, key string) (int64, error) {
	v, err := metaValue(ctx, q, key)
	return asInt(v), err
}

func metaText(ctx context.Context, q querier, key string) (string, error) {
	v, err := metaValue(ctx, q, key)
	return asText(v), err
}
