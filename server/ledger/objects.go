package ledger

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// Meta is what the ledger keeps beside a setting. Put ignores the times. A Version
// above 0 must be the current one: KindConflict version_conflict otherwise.
type Meta struct {
	Version          int64
	Created, Updated time.Time
}

// Page selects a part of a list that is ordered by name. The zero Page is its begin.
type Page struct {
	After string // the name that the part begins behind
	Limit int    // default 100, at most 1000
}

// Page sizes.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

func (p Page) limit() (int, error) {
	switch {
	case p.Limit == 0:
		return DefaultPage, nil
	case p.Limit < 0 || p.Limit > MaxPage:
		return 0, agentid.Invalidf("limit", "want 1 to %d", MaxPage)
	}
	return p.Limit, nil
}

// kind describes one sort of setting: its table, and how a T maps to a row.
type kind[T any] struct {
	name   string // "principal": in reasons and messages
	table  objectSQL
	id     func(*T) (tenant, name string)
	alias  func(*T) string // what else must be unique; empty: nothing
	meta   func(*T) *Meta
	check  func(*T) error
	refers func(*T) []reference // what must exist
	usedBy []string             // queries by (tenant, name) whose rows forbid a delete
	named  []string             // the same, by the ref's text
}

type reference struct{ kind, query, tenant, name string }

type objectSQL struct{ get, list, insert, update, remove, exists, byAlias string }

const objectColumns = `tenant, name, spec, version, created, updated`

func objectTable(table string) objectSQL {
	return objectSQL{
		get:     `SELECT ` + objectColumns + ` FROM ` + table + ` WHERE tenant = ? AND name = ?`,
		list:    `SELECT ` + objectColumns + ` FROM ` + table + ` WHERE tenant = ? AND name > ? ORDER BY name LIMIT ?`,
		byAlias: `SELECT ` + objectColumns + ` FROM ` + table + ` WHERE alias = ?`,
		exists:  `SELECT 1 FROM ` + table + ` WHERE tenant = ? AND name = ?`,
		insert:  `INSERT INTO ` + table + ` (tenant, name, alias, spec, version, created, updated) VALUES (?,?,?,?,1,?,?)`,
		update:  `UPDATE ` + table + ` SET alias = ?, spec = ?, version = version + 1, updated = ? WHERE tenant = ? AND name = ?`,
		remove:  `DELETE FROM ` + table + ` WHERE tenant = ? AND name = ?`,
	}
}

func (k *kind[T]) unknown() error {
	return agentid.Errorf(agentid.KindNotFound, k.name+"_unknown", "there is no such %s", k.name)
}

func (k *kind[T]) scan(r *sql.Rows) (T, error) {
	var v T
	var tenant, name string
	var spec []byte
	var m Meta
	var created, updated int64
	if err := r.Scan(&tenant, &name, &spec, &m.Version, &created, &updated); err != nil {
		return v, readError(err)
	}
	if err := json.Unmarshal(spec, &v); err != nil {
		return v, fmt.Errorf("%s %s/%s: %w", k.name, tenant, name, err)
	}
	m.Created, m.Updated = fromMicros(created), fromMicros(updated)
	*k.meta(&v) = m
	return v, nil
}

func (k *kind[T]) read(ctx context.Context, q query, text string, args ...any) ([]T, error) {
	var out []T
	err := rows(ctx, q, func(r *sql.Rows) error {
		v, err := k.scan(r)
		out = append(out, v)
		return err
	}, text, args...)
	return out, err
}

func (k *kind[T]) first(ctx context.Context, q query, text string, args ...any) (T, error) {
	found, err := k.read(ctx, q, text, args...)
	if err == nil && len(found) == 0 {
		err = k.unknown()
	}
	if err != nil {
		var zero T
		return zero, err
	}
	return found[0], nil
}

func (k *kind[T]) get(ctx context.Context, q query, tenant, name string) (T, error) {
	return k.first(ctx, q, k.table.get, tenant, name)
}

func (k *kind[T]) list(ctx context.Context, q query, tenant string, p Page) ([]T, error) {
	limit, err := p.limit()
	if err != nil {
		return nil, err
	}
	return k.read(ctx, q, k.table.list, tenant, p.After, limit)
}

// put creates or replaces v, and reports whether anything changed. Records are written
// only with a change.
func (k *kind[T]) put(ctx context.Context, l *Ledger, v T, records []auditlog.Record, also ...func(context.Context, *sqlitedb.Tx) error) (T, bool, error) {
	var zero T
	if err := k.check(&v); err != nil {
		return zero, false, err
	}
	tenant, name := k.id(&v)
	err := l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		if err := k.store(ctx, tx, &v, l.now()); err != nil {
			return err
		}
		for _, f := range also {
			if err := f(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	changed := err == nil
	if err != nil && !errors.Is(err, errUnchanged) {
		return zero, false, err
	}
	stored, err := k.get(ctx, l.reader(), tenant, name)
	return stored, changed, err
}

func (k *kind[T]) store(ctx context.Context, tx *sqlitedb.Tx, v *T, now time.Time) error {
	tenant, name := k.id(v)
	for _, r := range k.refers(v) {
		if ok, err := exists(ctx, tx.Query, r.query, r.tenant, r.name); err != nil {
			return err
		} else if !ok {
			return agentid.Errorf(agentid.KindNotFound, r.kind+"_unknown", "there is no such %s", r.kind).WithField(r.kind)
		}
	}
	spec, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", k.name, err)
	}
	var alias any
	if a := k.alias(v); a != "" {
		alias = a
	}
	have, err := k.get(ctx, tx.Query, tenant, name)
	switch want := k.meta(v).Version; {
	case agentid.KindOf(err) == agentid.KindNotFound && err != nil && want == 0:
		_, err = tx.Exec(ctx, k.table.insert, tenant, name, alias, spec, micros(now), micros(now))
	case err != nil:
		return err
	case want != 0 && want != k.meta(&have).Version:
		return agentid.Errorf(agentid.KindConflict, "version_conflict", "the %s is at version %d by now", k.name, k.meta(&have).Version)
	default:
		if old, err := json.Marshal(&have); err == nil && bytes.Equal(old, spec) {
			return errUnchanged
		}
		_, err = tx.Exec(ctx, k.table.update, alias, spec, micros(now), tenant, name)
	}
	if sqlitedb.IsUnique(err) {
		return agentid.Errorf(agentid.KindConflict, k.name+"_exists", "another %s has it already", k.name)
	}
	return err
}

// remove deletes a setting that nothing refers to: KindConflict in_use otherwise.
func (k *kind[T]) remove(ctx context.Context, l *Ledger, tenant, name, ref string, records []auditlog.Record, also ...func(context.Context, *sqlitedb.Tx) error) error {
	return l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		if err := k.unused(ctx, tx, tenant, name, ref); err != nil {
			return err
		}
		res, err := tx.Exec(ctx, k.table.remove, tenant, name)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, k.unknown())
		}
		if _, err := tx.Exec(ctx, `DELETE FROM freezes WHERE ref = ?`, ref); err != nil {
			return err
		}
		for _, f := range also {
			if err := f(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
}

func (k *kind[T]) unused(ctx context.Context, tx *sqlitedb.Tx, tenant, name, ref string) error {
	for i, text := range append(append([]string{}, k.usedBy...), k.named...) {
		args := []any{tenant, name}
		if i >= len(k.usedBy) {
			args = []any{ref}
		}
		if used, err := exists(ctx, tx.Query, text, args...); err != nil {
			return err
		} else if used {
			return agentid.Errorf(agentid.KindConflict, "in_use", "something still refers to this %s", k.name)
		}
	}
	return nil
}
