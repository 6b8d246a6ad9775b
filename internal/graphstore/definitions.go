package graphstore

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/authzed/spicedb/pkg/datastore"
	core "github.com/authzed/spicedb/pkg/proto/core/v1"
)

// defKind says what a definition row holds. The numbers are in the file.
type defKind int64

const (
	defNamespace defKind = 1
	defCaveat    defKind = 2
	defCounter   defKind = 3
	defSchema    defKind = 4
)

const schemaName = "schema"

const (
	sqlGetDef   = `SELECT name, created, data, deleted FROM defs WHERE kind = ? AND name = ? AND deleted > ? AND created <= ?`
	sqlListDefs = `SELECT name, created, data, deleted FROM defs WHERE kind = ? AND deleted > ? AND created <= ? ORDER BY name`
)

// definition is a stored definition as it was at some revision.
type definition struct {
	name    string
	created int64
	data    []byte
	deleted int64
}

func scanDef(into *[]definition) rowFunc {
	return func(v []driver.Value) error {
		*into = append(*into, definition{asText(v[0]), asInt(v[1]), asBytes(v[2]), asInt(v[3])})
		return nil
	}
}

// getDef gives at most one definition.
func getDef(ctx context.Context, q querier, kind defKind, name string, rev int64) ([]definition, error) {
	var found []definition
	err := q.query(ctx, sqlGetDef, []any{int64(kind), name, rev, rev}, 4, scanDef(&found))
	return found, err
}

func (r *reader) get(ctx context.Context, kind defKind, name string) ([]definition, error) {
	q, rev, err := r.at(ctx, readDefinitions)
	if err != nil {
		return nil, err
	}
	found, err := getDef(ctx, q, kind, name, rev)
	if err == nil {
		err = r.still(rev)
	}
	return found, err
}

func (r *reader) list(ctx context.Context, kind defKind) ([]definition, error) {
	q, rev, err := r.at(ctx, readDefinitions)
	if err != nil {
		return nil, err
	}
	var found []definition
	err = q.query(ctx, sqlListDefs, []any{int64(kind), rev, rev}, 4, scanDef(&found))
	if err == nil {
		err = r.still(rev)
	}
	return found, err
}

// message is a definition's protobuf form.
type message interface {
	UnmarshalVT([]byte) error
	datastore.SchemaDefinition
}

func decodeAll[T message](defs []definition, empty func() T) ([]datastore.RevisionedDefinition[T], error) {
	out := make([]datastore.RevisionedDefinition[T], 0, len(defs))
	for _, d := range defs {
		m := empty()
		if err := m.UnmarshalVT(d.data); err != nil {
			return nil, fmt.Errorf("graphstore: damaged definition %q: %w", d.name, err)
		}
		out = append(out, datastore.RevisionedDefinition[T]{Definition: m, LastWrittenRevision: Revision(d.created)})
	}
	return out, nil
}

func newNamespace() *core.NamespaceDefinition { return &core.NamespaceDefinition{} }
func newCaveat() *core.CaveatDefinition       { return &core.CaveatDefinition{} }

// LegacyReadNamespaceByName reads one object definition.
func (r *reader) LegacyReadNamespaceByName(ctx context.Context, name string) (*core.NamespaceDefinition, datastore.Revision, error) {
	found, err := r.get(ctx, defNamespace, name)
	if err != nil {
		return nil, datastore.NoRevision, err
	}
	defs, err := decodeAll(found, newNamespace)
	if err != nil {
		return nil, datastore.NoRevision, err
	}
	if len(defs) == 0 {
		return nil, datastore.NoRevision, datastore.NewNamespaceNotFoundErr(name)
	}
	return defs[0].Definition, defs[0].LastWrittenRevision, nil
}

// LegacyListAllNamespaces reads all object definitions.
func (r *reader) LegacyListAllNamespaces(ctx context.Context) ([]datastore.RevisionedNamespace, error) {
	found, err := r.list(ctx, defNamespace)
	if err != nil {
		return nil, err
	}
	return decodeAll(found, newNamespace)
}

// LegacyLookupNamespacesWithNames reads the object definitions that exist of names.
func (r *reader) LegacyLookupNamespacesWithNames(ctx context.Context, names []string) ([]datastore.RevisionedNamespace, error) {
	found, err := r.lookup(ctx, defNamespace, names)
	if err != nil {
		return nil, err
	}
	return decodeAll(found, newNamespace)
}

// LegacyReadCaveatByName reads one caveat.
func (r *reader) LegacyReadCaveatByName(ctx context.Context, name string) (*core.CaveatDefinition, datastore.Revision, error) {
	found, err := r.get(ctx, defCaveat, name)
	if err != nil {
		return nil, datastore.NoRevision, err
	}
	defs, err := decodeAll(found, newCaveat)
	if err != nil {
		return nil, datastore.NoRevision, err
	}
	if len(defs) == 0 {
		return nil, datastore.NoRevision, datastore.NewCaveatNameNotFoundErr(name)
	}
	return defs[0].Definition, defs[0].LastWrittenRevision, nil
}

// LegacyListAllCaveats reads all caveats.
func (r *reader) LegacyListAllCaveats(ctx context.Context) ([]datastore.RevisionedCaveat, error) {
	found, err := r.list(ctx, defCaveat)
	if err != nil {
		return nil, err
	}
	return decodeAll(found, newCaveat)
}

// LegacyLookupCaveatsWithNames reads the caveats that exist of names.
func (r *reader) LegacyLookupCaveatsWithNames(ctx context.Context, names []string) ([]datastore.RevisionedCaveat, error) {
	found, err := r.lookup(ctx, defCaveat, names)
	if err != nil {
		return nil, err
	}
	return decodeAll(found, newCaveat)
}

func (r *reader) lookup(ctx context.Context, kind defKind, names []string) ([]definition, error) {
	seen := make(map[string]bool, len(names))
	var out []definition
	for _, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		found, err := r.get(ctx, kind, name)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// cachedSchema is the newest stored schema that was read, decoded. The value is
// shared, so what SpiceDB derives from it is derived once.
type cachedSchema struct {
	created int64
	schema  *datastore.ReadOnlyStoredSchema
}

// ReadStoredSchema reads the unified schema.
func (r *reader) ReadStoredSchema(ctx context.Context) (*datastore.ReadOnlyStoredSchema, error) {
	q, rev, err := r.at(ctx, readDefinitions)
	if err != nil {
		return nil, err
	}
	if c := r.s.schema.Load(); c != nil && q == querier(r.s.readers) && c.created == r.s.head.Load().schema && rev >= c.created {
		return c.schema, nil
	}
	found, err := getDef(ctx, q, defSchema, schemaName, rev)
	if err == nil {
		err = r.still(rev)
	}
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, datastore.ErrSchemaNotFound
	}
	stored := &core.StoredSchema{}
	if err := stored.UnmarshalVT(found[0].data); err != nil {
		return nil, fmt.Errorf("graphstore: damaged schema: %w", err)
	}
	schema := datastore.NewReadOnlyStoredSchemaWithSize(stored, len(found[0].data))
	if found[0].deleted == forever && q == querier(r.s.readers) {
		r.s.schema.Store(&cachedSchema{found[0].created, schema})
	}
	return schema, nil
}

// schemaHash is the hash of the stored schema at a revision; "" without a schema.
func schemaHash(ctx context.Context, q querier, rev int64) (string, error) {
	found, err := getDef(ctx, q, defSchema, schemaName, rev)
	if err != nil || len(found) == 0 {
		return "", err
	}
	stored := &core.StoredSchema{}
	if err := stored.UnmarshalVT(found[0].data); err != nil {
		return "", fmt.Errorf("graphstore: damaged schema: %w", err)
	}
	return stored.GetV1().GetSchemaHash(), nil
}

// LookupCounters reads all registered counters.
func (r *reader) LookupCounters(ctx context.Context) ([]datastore.RelationshipCounter, error) {
	found, err := r.list(ctx, defCounter)
	if err != nil {
		return nil, err
	}
	var out []datastore.RelationshipCounter
	for _, d := range found {
		c, err := decodeCounter(d)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// CountRelationships counts what a counter's filter matches now, at this revision.
func (r *reader) CountRelationships(ctx context.Context, name string) (int, error) {
	found, err := r.get(ctx, defCounter, name)
	if err != nil {
		return 0, err
	}
	if len(found) == 0 {
		return 0, datastore.NewCounterNotRegisteredErr(name)
	}
	c, err := decodeCounter(found[0])
	if err != nil {
		return 0, err
	}
	filter, err := datastore.RelationshipsFilterFromCoreFilter(c.Filter)
	if err != nil {
		return 0, err
	}
	it, err := r.QueryRelationships(ctx, filter)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, err := range it {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// A counter is stored as its value, the revision that the value is of (0: never
// counted), and its filter.
func encodeCounter(value, at int64, filter *core.RelationshipFilter) ([]byte, error) {
	b := binary.AppendVarint(nil, value)
	b = binary.AppendVarint(b, at)
	data, err := filter.MarshalVT()
	return append(b, data...), err
}

func decodeCounter(d definition) (datastore.RelationshipCounter, error) {
	value, n := binary.Varint(d.data)
	at, m := binary.Varint(d.data[max(0, n):])
	if n <= 0 || m <= 0 {
		return datastore.RelationshipCounter{}, errors.New("graphstore: damaged counter")
	}
	filter := &core.RelationshipFilter{}
	if err := filter.UnmarshalVT(d.data[n+m:]); err != nil {
		return datastore.RelationshipCounter{}, fmt.Errorf("graphstore: damaged counter: %w", err)
	}
	c := datastore.RelationshipCounter{Name: d.name, Filter: filter, Count: int(value), ComputedAtRevision: datastore.NoRevision}
	if at > 0 {
		c.ComputedAtRevision = Revision(at)
	}
	return c, nil
}
