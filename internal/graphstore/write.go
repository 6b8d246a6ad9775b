package graphstore

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"

	"github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/datastore/options"
	core "github.com/authzed/spicedb/pkg/proto/core/v1"
	"github.com/authzed/spicedb/pkg/spiceerrors"
	"github.com/authzed/spicedb/pkg/tuple"

	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

const (
	sqlLiveRow    = `SELECT created, expires, caveat FROM forward WHERE k = ? AND deleted = ?`
	sqlAddForward = `INSERT INTO forward(k, deleted, created, expires, caveat) VALUES(?, ?, ?, ?, ?)`
	sqlAddReverse = `INSERT INTO reverse(k, deleted, created, expires, caveat) VALUES(?, ?, ?, ?, ?)`
	sqlEndForward = `UPDATE forward SET deleted = ? WHERE k = ? AND deleted = ?`
	sqlEndReverse = `UPDATE reverse SET deleted = ? WHERE k = ? AND deleted = ?`
	sqlCutForward = `DELETE FROM forward WHERE k = ? AND deleted = ?`
	sqlCutReverse = `DELETE FROM reverse WHERE k = ? AND deleted = ?`

	sqlAddDef = `INSERT INTO defs(kind, name, deleted, created, data) VALUES(?, ?, ?, ?, ?)`
	sqlEndDef = `UPDATE defs SET deleted = ? WHERE kind = ? AND name = ? AND deleted = ?`
	sqlCutDef = `DELETE FROM defs WHERE kind = ? AND name = ? AND deleted = ?`
)

// liveRow is what is stored of a relationship that is not deleted.
type liveRow struct {
	found   bool
	created int64
	expires int64
	caveat  []byte
}

func (tx *readWriteTx) live(key string) (liveRow, error) {
	var l liveRow
	err := tx.w.q.query(tx.ctx, sqlLiveRow, []any{key, int64(forever)}, 3, func(v []driver.Value) error {
		l = liveRow{true, asInt(v[0]), asInt(v[1]), asBytes(v[2])}
		return nil
	})
	return l, tx.storage(err)
}

// WriteRelationships applies the updates in order. Creating what exists is a
// datastore.CreateRelationshipExistsError, also when it has expired and is not yet
// collected; touching what is there unchanged, or deleting what is not, is nothing.
func (tx *readWriteTx) WriteRelationships(_ context.Context, updates []tuple.RelationshipUpdate) error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if len(updates) == 0 {
		return nil
	}
	if _, err := tx.write(); err != nil {
		return err
	}
	for i := range updates {
		u := &updates[i]
		if err := validKeyParts(&u.Relationship); err != nil {
			return err
		}
		var err error
		switch u.Operation {
		case tuple.UpdateOperationCreate:
			err = tx.create(&u.Relationship)
		case tuple.UpdateOperationTouch:
			err = tx.touch(&u.Relationship)
		case tuple.UpdateOperationDelete:
			err = tx.remove(keyOf(byResource, &u.Relationship), &u.Relationship)
		default:
			err = spiceerrors.MustBugf("unknown update operation: %v", u.Operation)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (tx *readWriteTx) create(r *tuple.Relationship) error {
	err := tx.insert(keyOf(byResource, r), r, false)
	if sqlitedb.IsUnique(err) {
		exists := *r
		return datastore.NewCreateRelationshipExistsError(&exists)
	}
	return err
}

func (tx *readWriteTx) touch(r *tuple.Relationship) error {
	key := keyOf(byResource, r)
	old, err := tx.live(key)
	if err != nil {
		return err
	}
	if !old.found {
		return tx.insert(key, r, false)
	}
	caveat, err := encodeCaveat(r.OptionalCaveat)
	if err != nil {
		return err
	}
	if old.expires == encodeExpiry(r.OptionalExpiration) && bytes.Equal(old.caveat, caveat) {
		return nil
	}
	if err := tx.end(key, r, old); err != nil {
		return err
	}
	return tx.insert(key, r, true)
}

func (tx *readWriteTx) insert(key string, r *tuple.Relationship, replaces bool) error {
	caveat, err := encodeCaveat(r.OptionalCaveat)
	if err != nil {
		return err
	}
	w, expires := tx.w, encodeExpiry(r.OptionalExpiration)
	if err := tx.exec(sqlAddForward, key, int64(forever), w.rev, expires, caveat); err != nil {
		return err
	}
	if err := tx.exec(sqlAddReverse, keyOf(bySubject, r), int64(forever), w.rev, expires, caveat); err != nil {
		return err
	}
	w.live++
	return tx.changed(change{op: opTouch, key: key, expires: expires, data: caveat}, replaces)
}

// end closes the live row at this revision. A row of this very transaction was
// never visible to anyone and goes at once.
func (tx *readWriteTx) end(key string, r *tuple.Relationship, old liveRow) error {
	w := tx.w
	w.live--
	reverse := keyOf(bySubject, r)
	if old.created == w.rev {
		if err := tx.exec(sqlCutForward, key, int64(forever)); err != nil {
			return err
		}
		return tx.exec(sqlCutReverse, reverse, int64(forever))
	}
	if err := tx.exec(sqlEndForward, w.rev, key, int64(forever)); err != nil {
		return err
	}
	return tx.exec(sqlEndReverse, w.rev, reverse, int64(forever))
}

func (tx *readWriteTx) remove(key string, r *tuple.Relationship) error {
	old, err := tx.live(key)
	if err != nil || !old.found {
		return err
	}
	if err := tx.end(key, r, old); err != nil {
		return err
	}
	return tx.changed(change{op: opDelete, key: key, expires: old.expires, data: old.caveat}, old.created != tx.w.rev)
}

// changed notes a change and spills the set when it has grown large.
func (tx *readWriteTx) changed(ch change, existed bool) error {
	set := &tx.w.set
	set.add(ch, existed)
	if ch.kind != 0 && ch.kind != defCounter {
		set.schema = true
	}
	if len(set.list) < changeChunk {
		return nil
	}
	set.spilled = true
	return tx.logChanges(set.take())
}

// DeleteRelationships deletes what the filter matches, expired or not, up to the
// limit, and says whether the limit was met.
func (tx *readWriteTx) DeleteRelationships(ctx context.Context, filter *v1.RelationshipFilter, opts ...options.DeleteOptionsOption) (uint64, bool, error) {
	f, err := datastore.RelationshipsFilterFromPublicFilter(filter)
	if err != nil {
		return 0, false, err
	}
	limit := uint64(0)
	if o := options.NewDeleteOptionsWithOptionsAndDefaults(opts...); o.DeleteLimit != nil {
		limit = *o.DeleteLimit
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if _, err := tx.write(); err != nil {
		return 0, false, err
	}
	return tx.deleteMatching(ctx, f, limit)
}

func (tx *readWriteTx) deleteMatching(ctx context.Context, f datastore.RelationshipsFilter, limit uint64) (uint64, bool, error) {
	p := planForward(f, options.Unsorted)
	var n uint64
	for _, rg := range p.ranges {
		for {
			rows, err := page(ctx, tx.w.q, p.dir, []keyRange{rg}, tx.w.rev, 0, nextPage, nil)
			if err != nil {
				return n, false, tx.storage(err)
			}
			for i := range rows {
				rel, err := rows[i].relationship(p.dir)
				if err != nil {
					return n, false, err
				}
				if !matches(&p.filter, &rel) {
					continue
				}
				if err := tx.remove(keyOf(byResource, &rel), &rel); err != nil {
					return n, false, err
				}
				if n++; n == limit {
					return n, true, nil
				}
			}
			if len(rows) < nextPage {
				break
			}
			if err := ctx.Err(); err != nil {
				return n, false, err
			}
			rg.lo = rows[len(rows)-1].key + keyEnd
		}
	}
	return n, false, nil
}

// BulkLoad creates every relationship of the source.
func (tx *readWriteTx) BulkLoad(ctx context.Context, source datastore.BulkWriteRelationshipSource) (uint64, error) {
	var n uint64
	for {
		rel, err := source.Next(ctx)
		if err != nil || rel == nil {
			return n, err
		}
		if err := tx.WriteRelationships(ctx, []tuple.RelationshipUpdate{tuple.Create(*rel)}); err != nil {
			return 0, err
		}
		n++
	}
}

// define stores a definition, replacing the one before.
func (tx *readWriteTx) define(kind defKind, name string, data []byte) error {
	existed, err := tx.undefine(kind, name)
	if err != nil {
		return err
	}
	if err := tx.exec(sqlAddDef, int64(kind), name, int64(forever), tx.w.rev, data); err != nil {
		return err
	}
	ch := change{op: opDefine, kind: kind, key: name}
	if kind == defNamespace || kind == defCaveat {
		ch.data = data
	}
	return tx.changed(ch, existed)
}

// undefine ends a definition and says whether there was one.
func (tx *readWriteTx) undefine(kind defKind, name string) (bool, error) {
	w := tx.w
	found, err := getDef(tx.ctx, w.q, kind, name, w.rev)
	if err != nil || len(found) == 0 {
		return false, tx.storage(err)
	}
	if found[0].created == w.rev {
		return true, tx.exec(sqlCutDef, int64(kind), name, int64(forever))
	}
	return true, tx.exec(sqlEndDef, w.rev, int64(kind), name, int64(forever))
}

// LegacyWriteNamespaces stores object definitions.
func (tx *readWriteTx) LegacyWriteNamespaces(_ context.Context, defs ...*core.NamespaceDefinition) error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if _, err := tx.write(); err != nil {
		return err
	}
	for _, d := range defs {
		data, err := d.MarshalVT()
		if err != nil {
			return fmt.Errorf("graphstore: encode definition: %w", err)
		}
		if err := tx.define(defNamespace, d.Name, data); err != nil {
			return err
		}
	}
	return nil
}

// LegacyDeleteNamespaces deletes object definitions, each of which must exist, and
// their relationships if asked.
func (tx *readWriteTx) LegacyDeleteNamespaces(ctx context.Context, names []string, option datastore.DeleteNamespacesRelationshipsOption) error {
	if len(names) == 0 {
		return nil
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if _, err := tx.write(); err != nil {
		return err
	}
	for _, name := range names {
		existed, err := tx.undefine(defNamespace, name)
		if err != nil {
			return err
		}
		if !existed {
			return datastore.NewNamespaceNotFoundErr(name)
		}
		if err := tx.changed(change{op: opRemove, kind: defNamespace, key: name}, true); err != nil {
			return err
		}
		if option != datastore.DeleteNamespacesAndRelationships {
			continue
		}
		if _, _, err := tx.deleteMatching(ctx, datastore.RelationshipsFilter{OptionalResourceType: name}, 0); err != nil {
			return fmt.Errorf("graphstore: delete relationships of %q: %w", name, err)
		}
	}
	return nil
}

// LegacyWriteCaveats stores caveats; a name may come once.
func (tx *readWriteTx) LegacyWriteCaveats(_ context.Context, caveats []*core.CaveatDefinition) error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if _, err := tx.write(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, c := range caveats {
		if seen[c.Name] {
			return fmt.Errorf("graphstore: caveat %q comes twice", c.Name)
		}
		seen[c.Name] = true
		data, err := c.MarshalVT()
		if err != nil {
			return fmt.Errorf("graphstore: encode caveat: %w", err)
		}
		if err := tx.define(defCaveat, c.Name, data); err != nil {
			return err
		}
	}
	return nil
}

// LegacyDeleteCaveats deletes caveats; one that does not exist is nothing.
func (tx *readWriteTx) LegacyDeleteCaveats(_ context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if _, err := tx.write(); err != nil {
		return err
	}
	for _, name := range names {
		existed, err := tx.undefine(defCaveat, name)
		if err != nil {
			return err
		}
		if !existed {
			continue
		}
		if err := tx.changed(change{op: opRemove, kind: defCaveat, key: name}, true); err != nil {
			return err
		}
	}
	return nil
}

// WriteStoredSchema stores the unified schema.
func (tx *readWriteTx) WriteStoredSchema(_ context.Context, schema *core.StoredSchema) error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if _, err := tx.write(); err != nil {
		return err
	}
	data, err := schema.MarshalVT()
	if err != nil {
		return fmt.Errorf("graphstore: encode schema: %w", err)
	}
	if len(data) == 0 {
		return errors.New("graphstore: the schema is empty")
	}
	if err := tx.define(defSchema, schemaName, data); err != nil {
		return err
	}
	hash := schema.GetV1().GetSchemaHash()
	tx.w.hash = &hash
	return nil
}

// RegisterCounter adds a counter; the name must be free.
func (tx *readWriteTx) RegisterCounter(_ context.Context, name string, filter *core.RelationshipFilter) error {
	return tx.counter(name, func(found *definition) ([]byte, error) {
		if found != nil {
			return nil, datastore.NewCounterAlreadyRegisteredErr(name, filter)
		}
		return encodeCounter(0, 0, filter)
	})
}

// StoreCounterValue keeps a counted value with the revision it is of.
func (tx *readWriteTx) StoreCounterValue(_ context.Context, name string, value int, at datastore.Revision) error {
	rev, _ := at.(Revision)
	return tx.counter(name, func(found *definition) ([]byte, error) {
		if found == nil {
			return nil, datastore.NewCounterNotRegisteredErr(name)
		}
		c, err := decodeCounter(*found)
		if err != nil {
			return nil, err
		}
		return encodeCounter(int64(value), int64(rev), c.Filter)
	})
}

// UnregisterCounter removes a counter, which must exist.
func (tx *readWriteTx) UnregisterCounter(_ context.Context, name string) error {
	return tx.counter(name, func(found *definition) ([]byte, error) {
		if found == nil {
			return nil, datastore.NewCounterNotRegisteredErr(name)
		}
		return nil, nil
	})
}

// counter replaces a counter by what edit makes of it; nil data removes it.
func (tx *readWriteTx) counter(name string, edit func(found *definition) ([]byte, error)) error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	w, err := tx.write()
	if err != nil {
		return err
	}
	found, err := getDef(tx.ctx, w.q, defCounter, name, w.rev)
	if err != nil {
		return tx.storage(err)
	}
	var old *definition
	if len(found) > 0 {
		old = &found[0]
	}
	data, err := edit(old)
	if err != nil {
		return err
	}
	if data != nil {
		return tx.define(defCounter, name, data)
	}
	if _, err := tx.undefine(defCounter, name); err != nil {
		return err
	}
	return tx.changed(change{op: opRemove, kind: defCounter, key: name}, true)
}
