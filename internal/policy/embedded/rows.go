package embedded

import (
	"context"
	"fmt"
	"slices"

	"github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/datastore/options"
	"github.com/authzed/spicedb/pkg/tuple"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/schema"
)

// rowsPerResource is how many relationships of one resource are read ahead at most; one
// with more is read relation by relation, as the engine asks.
const rowsPerResource = 24

// object is a resource by type and id.
type object struct{ typ, id string }

// rows are the relationships of the resources that a bulk asks about, read once at the
// bulk's revision: all of a resource's, or it is not here. They end with the bulk.
type rows struct {
	of map[object][]tuple.Relationship
}

// readAhead reads the resources of a bulk, one indexed read for each type. A lineage of
// more than one agent is left to the engine, which asks for all of it at once.
func (c *Checker) readAhead(ctx context.Context, at datastore.Revision, checks []policy.Check, lineage lineage) (*rows, error) {
	byType := make(map[string][]string, 4)
	for i := range checks {
		r := checks[i].Resource
		if r.Type() == schema.TypeAgent && lineage.size() > 1 {
			continue
		}
		if id := r.ObjectID(); !slices.Contains(byType[r.Type()], id) {
			byType[r.Type()] = append(byType[r.Type()], id)
		}
	}
	out := &rows{of: make(map[object][]tuple.Relationship, len(checks))}
	reader := c.datastore.SnapshotReader(at)
	for typ, ids := range byType {
		if err := out.read(ctx, reader, typ, ids); err != nil {
			return nil, fmt.Errorf("read ahead: %w", err)
		}
	}
	return out, nil
}

func (r *rows) read(ctx context.Context, reader datastore.Reader, typ string, ids []string) error {
	limit := uint64(rowsPerResource*len(ids)) + 1
	found, err := reader.QueryRelationships(ctx, datastore.RelationshipsFilter{OptionalResourceType: typ, OptionalResourceIds: ids}, options.WithLimit(&limit))
	if err != nil {
		return err
	}
	var all []tuple.Relationship
	for rel, err := range found {
		if err != nil {
			return err
		}
		all = append(all, rel)
	}
	if uint64(len(all)) == limit {
		return nil // there may be more
	}
	for _, id := range ids {
		r.of[object{typ, id}] = nil
	}
	for _, rel := range all {
		o := object{rel.Resource.ObjectType, rel.Resource.ObjectID}
		r.of[o] = append(r.of[o], rel)
	}
	return nil
}

// hopeless reports whether a check is a definite no because its resource has no
// relationship that the permission could come from. It is false where that is not known.
func (r *rows) hopeless(s *shape, c policy.Check) bool {
	if s == nil || c.Resource == c.Subject || !s.subject[c.Subject.Type()] {
		return false
	}
	relations, ok := s.of[c.Resource.Type()][c.Permission]
	if !ok {
		return false
	}
	have, ok := r.of[objectOf(c.Resource)]
	return ok && !slices.ContainsFunc(have, func(rel tuple.Relationship) bool {
		return slices.Contains(relations, rel.Resource.Relation)
	})
}

func objectOf(r agentid.Ref) object { return object{r.Type(), r.ObjectID()} }

// query answers a read of resources that are all here, as the datastore would; ok is
// false for any other.
func (r *rows) query(f *datastore.RelationshipsFilter, o *options.QueryOptions) (datastore.RelationshipIterator, bool) {
	if f.OptionalResourceType == "" || len(f.OptionalResourceIds) == 0 || f.OptionalResourceIDPrefix != "" ||
		f.OptionalCaveatNameFilter.Option != datastore.CaveatFilterOptionNone || f.OptionalExpirationOption != datastore.ExpirationFilterOptionNone ||
		o.Sort != options.Unsorted || o.Limit != nil || o.After != nil || o.BeforeOrEqual != nil {
		return nil, false
	}
	for _, id := range f.OptionalResourceIds {
		if _, ok := r.of[object{f.OptionalResourceType, id}]; !ok {
			return nil, false
		}
	}
	return func(yield func(tuple.Relationship, error) bool) {
		for _, id := range f.OptionalResourceIds {
			for _, rel := range r.of[object{f.OptionalResourceType, id}] {
				// A row that had expired was not read; the bulk is one instant.
				if (!o.SkipCaveats || rel.OptionalCaveat == nil) && f.Test(rel) && !yield(rel, nil) {
					return
				}
			}
		}
	}, true
}

// reader reads through the rows of the bulk that asks.
type reader struct {
	datastore.Reader
	at datastore.Revision
}

// QueryRelationships implements datastore.Reader.
func (r reader) QueryRelationships(ctx context.Context, f datastore.RelationshipsFilter, opts ...options.QueryOptionsOption) (datastore.RelationshipIterator, error) {
	if p, ok := ctx.Value(pinKey{}).(*pin); ok && p.rows != nil && r.at.Equal(p.head.Revision) {
		if found, ok := p.rows.query(&f, options.NewQueryOptionsWithOptions(opts...)); ok {
			return found, nil
		}
	}
	return r.Reader.QueryRelationships(ctx, f, opts...)
}
