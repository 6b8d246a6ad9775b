package graphstore

import (
	"context"
	"sort"

	"github.com/authzed/spicedb/pkg/tuple"
)

// Resource names the relationships of one resource: all of them, or those of one of its
// relations.
type Resource struct {
	Type, ID string
	Relation string // empty: all
}

// ResourceReader reads several resources at once. The readers of a Store implement it.
type ResourceReader interface {
	// ReadResources gives, for each resource, its relationships that live at the
	// reader's revision and have not expired, and whether these are all: of one with
	// more than most relationships, or so, it gives none and false. No resource may
	// hold another. An error is KindUnavailable.
	ReadResources(ctx context.Context, resources []Resource, most int) (rows [][]tuple.Relationship, all []bool, err error)
}

var _ ResourceReader = (*reader)(nil)

// ReadResources implements ResourceReader: one search for each resource, in one query
// for all of them, and another only after a resource that holds too many.
func (r *reader) ReadResources(ctx context.Context, resources []Resource, most int) ([][]tuple.Relationship, []bool, error) {
	type searched struct {
		at keyRange
		of int
	}
	left := make([]searched, len(resources))
	for i, res := range resources {
		prefix := res.Type + separator + res.ID + separator
		if res.Relation != "" {
			prefix += res.Relation + separator
		}
		left[i] = searched{prefixRange(prefix), i}
	}
	sort.Slice(left, func(i, j int) bool { return left[i].at.lo < left[j].at.lo })
	rows, all := make([][]tuple.Relationship, len(resources)), make([]bool, len(resources))
	limit := uint64(most) + 1
	for len(left) > 0 {
		p := plan{dir: byResource, ranges: make([]keyRange, 0, len(left))}
		for _, s := range left {
			p.ranges = append(p.ranges, s.at)
		}
		found, err := r.find(ctx, p, view{limit: &limit})
		if err != nil {
			return nil, nil, err
		}
		at, n := 0, uint64(0)
		for rel, err := range found {
			if err != nil {
				return nil, nil, err
			}
			for !resources[left[at].of].holds(&rel) {
				at++ // the rows come in the order of the keys
			}
			rows[left[at].of] = append(rows[left[at].of], rel)
			n++
		}
		cut := len(left)
		if n == limit { // the last one read may have more, those behind it were not read
			cut = at + 1
			rows[left[at].of] = nil
		}
		for i, s := range left[:cut] {
			all[s.of] = n < limit || i < at
		}
		left = left[cut:]
	}
	return rows, all, nil
}

func (r Resource) holds(rel *tuple.Relationship) bool {
	return rel.Resource.ObjectType == r.Type && rel.Resource.ObjectID == r.ID && (r.Relation == "" || rel.Resource.Relation == r.Relation)
}
