package embedded

import (
	"context"
	"fmt"
	"slices"

	"github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/datastore/options"
	"github.com/authzed/spicedb/pkg/tuple"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/schema"
)

// readAheadRows is how many relationships are read ahead at once; a resource with more is
// read relation by relation, as the engine asks.
const readAheadRows = 32

// rows are the relationships of the resources that a bulk asks about, read once at the
// bulk's revision: all of a resource's, or of one relation of it, or it is not here. They
// end with the bulk.
type rows struct {
	of map[graphstore.Resource][]tuple.Relationship
}

// readAhead reads the resources of a bulk, and what else "alive" looks at and can be told
// from it, in one query. A lineage of more than one agent is left to the engine, which
// asks for all of it at once. A datastore that cannot do it reads nothing ahead.
func (c *Checker) readAhead(ctx context.Context, at datastore.Revision, checks []policy.Check, lineage lineage) (*rows, error) {
	out := &rows{}
	reader, ok := c.datastore.SnapshotReader(at).(graphstore.ResourceReader)
	if !ok {
		return out, nil
	}
	wanted := make([]graphstore.Resource, 0, len(checks)+2)
	want := func(r graphstore.Resource) {
		if !slices.Contains(wanted, r) {
			wanted = append(wanted, r)
		}
	}
	for i := range checks {
		if r := checks[i].Resource; r.Type() != schema.TypeAgent || lineage.size() == 1 {
			want(whole(r))
		}
	}
	for i := range checks {
		for _, r := range enabling(checks[i]) {
			if !slices.Contains(wanted, graphstore.Resource{Type: r.Type, ID: r.ID}) {
				want(r)
			}
		}
	}
	found, all, err := reader.ReadResources(ctx, wanted, readAheadRows)
	if err != nil {
		return nil, fmt.Errorf("read ahead: %w", err)
	}
	out.of = make(map[graphstore.Resource][]tuple.Relationship, len(wanted))
	for i, r := range wanted {
		if all[i] {
			out.of[r] = found[i]
		}
	}
	return out, nil
}

// enabling are the relations beside its resource that a check is likely to look at.
func enabling(c policy.Check) []graphstore.Resource {
	switch {
	case c.Permission == schema.AgentAlive:
		return []graphstore.Resource{{Type: schema.TypeTenant, ID: c.Resource.Tenant(), Relation: schema.TenantEnabled}}
	case c.Subject.Type() == schema.TypePrincipal:
		return []graphstore.Resource{{Type: schema.TypePrincipal, ID: c.Subject.ObjectID(), Relation: schema.PrincipalEnabled}}
	}
	return nil
}

func whole(r agentid.Ref) graphstore.Resource {
	return graphstore.Resource{Type: r.Type(), ID: r.ObjectID()}
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
	have, ok := r.of[whole(c.Resource)]
	return ok && !slices.ContainsFunc(have, func(rel tuple.Relationship) bool {
		return slices.Contains(relations, rel.Resource.Relation)
	})
}

// settled reports whether a check is a definite yes because the subject, or everyone of
// its type, stands without a caveat in a relation that grants the permission by itself,
// and gives the relationship. A resource with too many relationships was not read and
// settles nothing.
func (r *rows) settled(s *shape, c policy.Check) (tuple.Relationship, bool) {
	if s == nil {
		return tuple.Relationship{}, false
	}
	relations := s.grants[c.Resource.Type()][c.Permission]
	have := r.of[whole(c.Resource)]
	at := slices.IndexFunc(have, func(rel tuple.Relationship) bool {
		return rel.OptionalCaveat == nil && rel.Subject.ObjectType == c.Subject.Type() && rel.Subject.Relation == tuple.Ellipsis &&
			(rel.Subject.ObjectID == c.Subject.ObjectID() || rel.Subject.ObjectID == tuple.PublicWildcard) &&
			slices.Contains(relations, rel.Resource.Relation)
	})
	if at < 0 {
		return tuple.Relationship{}, false
	}
	return have[at], true
}

// about gives the rows that hold all of one relation of a resource.
func (r *rows) about(typ, id, relation string) ([]tuple.Relationship, bool) {
	if have, ok := r.of[graphstore.Resource{Type: typ, ID: id}]; ok {
		return have, true
	}
	if relation == "" {
		return nil, false
	}
	have, ok := r.of[graphstore.Resource{Type: typ, ID: id, Relation: relation}]
	return have, ok
}

// query answers a read of resources that are all here, as the datastore would; ok is
// false for any other.
func (r *rows) query(f *datastore.RelationshipsFilter, o *options.QueryOptions) (datastore.RelationshipIterator, bool) {
	if f.OptionalResourceType == "" || len(f.OptionalResourceIds) == 0 || f.OptionalResourceIDPrefix != "" ||
		f.OptionalCaveatNameFilter.Option != datastore.CaveatFilterOptionNone || f.OptionalExpirationOption != datastore.ExpirationFilterOptionNone ||
		o.Sort != options.Unsorted || o.Limit != nil || o.After != nil || o.BeforeOrEqual != nil {
		return nil, false
	}
	for _, id := range f.OptionalResourceIds {
		if _, ok := r.about(f.OptionalResourceType, id, f.OptionalResourceRelation); !ok {
			return nil, false
		}
	}
	return func(yield func(tuple.Relationship, error) bool) {
		for _, id := range f.OptionalResourceIds {
			have, _ := r.about(f.OptionalResourceType, id, f.OptionalResourceRelation)
			for _, rel := range have {
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
			return watch(ctx, found), nil
		}
	}
	found, err := r.Reader.QueryRelationships(ctx, f, opts...)
	if err != nil {
		return nil, err //nolint:wrapcheck // a datastore's errors are told apart by their type
	}
	return watch(ctx, found), nil
}
