package graphstore

import (
	"bytes"
	"context"
	"database/sql/driver"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"

	"github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/datastore/options"
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
