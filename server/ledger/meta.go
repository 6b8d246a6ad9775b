package ledger

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/seal"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

//go:embed people.sql
var peopleSchema string

//go:embed schema.sql
var schema string

//go:embed workloads.sql
var workloadsSchema string

//go:embed lean.sql
var leanSchema string

// migrations bring a ledger from version i to i+1. They are only ever added to.
var migrations = []string{schema + auditlog.Schema, peopleSchema, workloadsSchema, selectionSchema, leanSchema + auditlog.SchemaRows}

const (
	metaIncarnation = "incarnation"
	metaSentinel    = "sentinel"
	metaHMACKey     = "hmac_key"
	metaFloorZookie = "floor_zookie"
	metaFloorEpoch  = "floor_epoch"
	metaChange      = "change"

	sentinelText = "agentid ledger"
)

func (l *Ledger) migrate(ctx context.Context) error {
	return l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		var version int
		if err := tx.QueryRow(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
			return fmt.Errorf("read the schema's version: %w", err)
		}
		if version > len(migrations) {
			return fmt.Errorf("the file has version %d, this program knows %d: use a later program", version, len(migrations))
		}
		for ; version < len(migrations); version++ {
			if _, err := tx.Exec(ctx, migrations[version]); err != nil {
				return fmt.Errorf("migrate from version %d: %w", version, err)
			}
			if _, err := tx.Exec(ctx, `PRAGMA user_version = `+strconv.Itoa(version+1)); err != nil {
				return fmt.Errorf("migrate from version %d: %w", version, err)
			}
		}
		return nil
	})
}

// initialise gives a new ledger its incarnation and keys, and tries the sealing key on
// one that has them.
func (l *Ledger) initialise(ctx context.Context) error {
	err := l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		if have, err := exists(ctx, tx.Query, `SELECT 1 FROM meta WHERE name = ?`, metaSentinel); err != nil || have {
			return err
		}
		return l.begin(ctx, tx)
	})
	if err != nil {
		return err
	}
	sentinel, err := l.openMeta(ctx, metaSentinel)
	if errors.Is(err, seal.ErrWrongKey) || (err == nil && string(sentinel) != sentinelText) {
		return fmt.Errorf("%s does not belong to this ledger; restore the key that was made with it: %w", l.cfg.SealKey, err)
	}
	if err != nil {
		return err
	}
	l.hmacKey, err = l.openMeta(ctx, metaHMACKey)
	return err
}

func (l *Ledger) begin(ctx context.Context, tx *sqlitedb.Tx) error {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	for name, plain := range map[string][]byte{metaSentinel: []byte(sentinelText), metaHMACKey: key} {
		sealed, err := l.cfg.SealKey.Seal(plain, "meta", name)
		if err != nil {
			return err
		}
		if err := setMeta(ctx, tx, name, sealed); err != nil {
			return err
		}
	}
	return newIncarnation(ctx, tx)
}

// StartIncarnation gives the ledger a new incarnation: every token from before is
// refused. It is called after a restore from a backup, whose epochs went back.
func (l *Ledger) StartIncarnation(ctx context.Context, records ...auditlog.Record) (string, error) {
	if err := l.write(ctx, records, newIncarnation); err != nil {
		return "", err
	}
	l.notifyChanged()
	return l.Incarnation(ctx)
}

// Incarnation names this life of the ledger: 32 hex digits.
func (l *Ledger) Incarnation(ctx context.Context) (string, error) {
	v, err := l.meta(ctx, metaIncarnation)
	return string(v), err
}

func newIncarnation(ctx context.Context, tx *sqlitedb.Tx) error {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	return setMeta(ctx, tx, metaIncarnation, []byte(hex.EncodeToString(id[:])))
}

func (l *Ledger) meta(ctx context.Context, name string) ([]byte, error) {
	return getMeta(ctx, l.reader(), name)
}

// getMeta is nil for a name that has no value.
func getMeta(ctx context.Context, q query, name string) ([]byte, error) {
	var v []byte
	_, err := one(ctx, q, []any{&v}, `SELECT value FROM meta WHERE name = ?`, name)
	return v, err
}

func setMeta(ctx context.Context, tx *sqlitedb.Tx, name string, value []byte) error {
	_, err := tx.Exec(ctx, `INSERT INTO meta (name, value) VALUES (?,?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
	return err
}

func getMetaInt(ctx context.Context, q query, name string) (int64, error) {
	v, err := getMeta(ctx, q, name)
	if err != nil || v == nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("meta %s: %w", name, err)
	}
	return n, nil
}

func setMetaInt(ctx context.Context, tx *sqlitedb.Tx, name string, n int64) error {
	return setMeta(ctx, tx, name, []byte(strconv.FormatInt(n, 10)))
}

func (l *Ledger) openMeta(ctx context.Context, name string) ([]byte, error) {
	sealed, err := l.meta(ctx, name)
	if err != nil {
		return nil, err
	}
	plain, err := l.cfg.SealKey.Open(sealed, "meta", name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return plain, nil
}
