package graphstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/authzed/spicedb/pkg/datastore"
	core "github.com/authzed/spicedb/pkg/proto/core/v1"
)

const (
	sqlAddDef = `INSERT INTO defs(kind, name, deleted, created, data) VALUES(?, ?, ?, ?, ?)`
	sqlEndDef = `UPDATE defs SET deleted = ? WHERE kind = ? AND name = ? AND deleted = ?`
	sqlCutDef = `DELETE FROM defs WHERE kind = ? AND name = ? AND deleted = ?`
)

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
