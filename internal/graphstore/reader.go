package graphstore

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/datastore/options"
	"github.com/authzed/spicedb/pkg/spiceerrors"
	"github.com/authzed/spicedb/pkg/tuple"
)

// reader reads the graph as it was at one revision.
type reader struct {
	s *Store
	// at gives the source and the revision of the next read, or refuses it.
	at func(ctx context.Context, what readKind) (querier, int64, error)
	// still is asked after rows were read and before they are used.
	still func(rev int64) error
}

// readKind says what a transaction has looked at.
type readKind int

const (
	readRelationships readKind = iota
	readDefinitions
)

var _ datastore.Reader = (*reader)(nil)

// SnapshotReader reads at a revision. A revision that is not readable makes every
// read fail; CheckRevision says so beforehand.
func (s *Store) SnapshotReader(revision datastore.Revision) datastore.Reader {
	r, ok := revision.(Revision)
	return &reader{
		s: s,
		at: func(context.Context, readKind) (querier, int64, error) {
			if s.closed.Load() {
				return nil, 0, ErrClosed
			}
			if !ok {
				return nil, 0, datastore.NewInvalidRevisionErr(revision, datastore.CouldNotDetermineRevision)
			}
			return s.readers, int64(r), s.readable(int64(r))
		},
		still: s.readable,
	}
}

// QueryRelationships reads relationships from the resource's side.
func (r *reader) QueryRelationships(ctx context.Context, filter datastore.RelationshipsFilter, opts ...options.QueryOptionsOption) (datastore.RelationshipIterator, error) {
	o := options.NewQueryOptionsWithOptions(opts...)
	return r.find(ctx, planForward(filter, o.Sort), view{
		sort: o.Sort, limit: o.Limit, after: o.After, last: o.BeforeOrEqual,
		skipCaveats: o.SkipCaveats, skipExpiration: o.SkipExpiration,
	})
}

// ReverseQueryRelationships reads relationships from the subject's side.
func (r *reader) ReverseQueryRelationships(ctx context.Context, subjects datastore.SubjectsFilter, opts ...options.ReverseQueryOptionsOption) (datastore.RelationshipIterator, error) {
	o := options.NewReverseQueryOptionsWithOptions(opts...)
	filter := datastore.RelationshipsFilter{OptionalSubjectsSelectors: []datastore.SubjectsSelector{subjects.AsSelector()}}
	if o.ResRelation != nil {
		filter.OptionalResourceType, filter.OptionalResourceRelation = o.ResRelation.Namespace, o.ResRelation.Relation
	}
	return r.find(ctx, planReverse(filter), view{
		sort: o.SortForReverse, limit: o.LimitForReverse, after: o.AfterForReverse,
		skipCaveats: o.SkipCaveatsForReverse, skipExpiration: o.SkipExpirationForReverse,
	})
}

// view is what of a plan's rows the caller wants, in which order.
type view struct {
	sort           options.SortOrder
	limit          *uint64
	after, last    options.Cursor
	skipCaveats    bool // the caller says there are none; a caveated row must not pass as plain
	skipExpiration bool
}

func (r *reader) find(ctx context.Context, p plan, v view) (datastore.RelationshipIterator, error) {
	if v.after != nil && v.sort == options.Unsorted {
		return nil, datastore.ErrCursorsWithoutSorting
	}
	order := p.dir
	switch v.sort {
	case options.Unsorted, options.ChooseEfficient:
	case options.ByResource:
		order = byResource
	case options.BySubject:
		order = bySubject
	default:
		return nil, spiceerrors.MustBugf("unknown sort order: %v", v.sort)
	}
	q, rev, err := r.at(ctx, readRelationships)
	if err != nil {
		return nil, err
	}
	after, last := cursorKey(order, v.after), cursorKey(order, v.last)
	now := r.s.micros()
	if order == p.dir {
		p.ranges = between(p.ranges, after, last)
		return func(yield func(tuple.Relationship, error) bool) {
			if p.probe != nil && after == "" && last == "" && r.tryProbe(ctx, q, p, v, rev, now, yield) {
				return
			}
			r.walk(ctx, q, p, v, rev, now, yield)
		}, nil
	}
	return func(yield func(tuple.Relationship, error) bool) {
		r.sorted(ctx, q, p, v, order, rev, now, after, last, yield)
	}, nil
}

func cursorKey(d direction, c options.Cursor) string {
	if c == nil {
		return ""
	}
	return keyOf(d, c)
}

// walk yields the plan's rows in the order of its keys, page by page. No statement
// is open while the caller works on a row.
func (r *reader) walk(ctx context.Context, q querier, p plan, v view, rev, now int64, yield func(tuple.Relationship, error) bool) {
	left := ^uint64(0)
	if v.limit != nil {
		left = *v.limit
	}
	var buf [8]row
	arms, size := fewArms, firstPage
	if len(p.ranges) <= manyArms {
		arms = manyArms // all in one query
	}
	for ranges := p.ranges; len(ranges) > 0 && left > 0; {
		arms = min(arms, len(ranges))
		size = int(min(uint64(size), left))
		rows, err := page(ctx, q, p.dir, ranges[:arms], rev, now, size, buf[:0])
		if err == nil {
			err = cmp.Or(r.still(rev), ctx.Err())
		}
		if err != nil {
			yield(tuple.Relationship{}, err)
			return
		}
		for i := range rows {
			rel, ok, err := r.accept(&rows[i], p, v)
			if !ok && err == nil {
				continue
			}
			if !yield(rel, err) || err != nil {
				return
			}
			if left--; left == 0 {
				return
			}
		}
		if len(rows) < size {
			ranges = ranges[arms:]
		} else {
			ranges = between(ranges, rows[len(rows)-1].key, "")
		}
		arms, size = manyArms, nextPage
	}
}

// tryProbe answers from the subject's side and says whether it could. It yields
// nothing otherwise.
func (r *reader) tryProbe(ctx context.Context, q querier, p plan, v view, rev, now int64, yield func(tuple.Relationship, error) bool) bool {
	var buf [4]row
	rows, err := page(ctx, q, bySubject, []keyRange{*p.probe}, rev, now, probeRows, buf[:0])
	if err == nil {
		err = cmp.Or(r.still(rev), ctx.Err())
	}
	if err != nil {
		yield(tuple.Relationship{}, err)
		return true
	}
	if len(rows) == probeRows {
		return false
	}
	p.dir = bySubject
	n := uint64(0)
	for i := range rows {
		if v.limit != nil && n == *v.limit {
			break
		}
		rel, ok, err := r.accept(&rows[i], p, v)
		if !ok && err == nil {
			continue
		}
		if !yield(rel, err) || err != nil {
			break
		}
		n++
	}
	return true
}

func (r *reader) accept(row *row, p plan, v view) (tuple.Relationship, bool, error) {
	if v.skipCaveats && row.caveat != nil {
		return tuple.Relationship{}, false, nil
	}
	rel, err := row.relationship(p.dir)
	if err != nil {
		return rel, false, err
	}
	return rel, matches(&p.filter, &rel), nil
}

// sorted yields the plan's rows in the other order. With a limit it keeps only as
// many rows as that, whatever it reads.
func (r *reader) sorted(ctx context.Context, q querier, p plan, v view, order direction, rev, now int64, after, last string, yield func(tuple.Relationship, error) bool) {
	type keyed struct {
		key string
		rel tuple.Relationship
	}
	byKey := func(a, b keyed) int { return cmp.Compare(a.key, b.key) }
	limit := math.MaxInt / 4
	if v.limit != nil && *v.limit < uint64(limit) {
		limit = int(*v.limit)
	}
	var found []keyed
	all := v
	all.limit = nil
	failed := false
	r.walk(ctx, q, p, all, rev, now, func(rel tuple.Relationship, err error) bool {
		if err != nil {
			failed = true
			yield(rel, fmt.Errorf("graphstore: read to sort: %w", err))
			return false
		}
		k := keyOf(order, &rel)
		if after != "" && k <= after || last != "" && k > last {
			return true
		}
		found = append(found, keyed{k, rel})
		if len(found) >= 2*limit && len(found) >= nextPage {
			slices.SortFunc(found, byKey)
			found = slices.Clip(found[:limit])
		}
		return true
	})
	if failed {
		return
	}
	slices.SortFunc(found, byKey)
	for _, f := range found[:min(limit, len(found))] {
		if !yield(f.rel, nil) {
			return
		}
	}
}
