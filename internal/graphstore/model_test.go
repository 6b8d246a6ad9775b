package graphstore_test

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	ds "github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/datastore/options"
	"github.com/authzed/spicedb/pkg/tuple"

	"github.com/agentid-dev/agentid/internal/graphstore"
)

// model is what the store ought to hold: at each revision, a plain set.
type model struct {
	now  map[string]tuple.Relationship
	past []snapshotOf
}

type snapshotOf struct {
	rev  ds.Revision
	rels []tuple.Relationship
}

var (
	someTypes = []string{"doc", "docs", "folder"}
	someIDs   = []string{"a", "a/b", "ab", "b", "z-1"}
	someRels  = []string{"viewer", "view"}
	someSubs  = []string{tuple.Ellipsis, "member"}
	someCavs  = []string{"", `[cav1]`, `[cav2:{"n":1}]`}
)

func drawRel(t *rapid.T) tuple.Relationship {
	pick := func(from []string, label string) string { return rapid.SampledFrom(from).Draw(t, label) }
	text := pick(someTypes, "type") + ":" + pick(someIDs, "id") + "#" + pick(someRels, "rel") + "@" +
		pick(someTypes, "stype") + ":" + pick(someIDs, "sid")
	if r := pick(someSubs, "srel"); r != tuple.Ellipsis {
		text += "#" + r
	}
	return tuple.MustParse(text + pick(someCavs, "caveat"))
}

func keyText(r tuple.Relationship) string { return tuple.StringWithoutCaveatOrExpiration(r) }

// step applies a random transaction to both.
func (m *model) step(t *rapid.T, s ds.Datastore) {
	next := map[string]tuple.Relationship{}
	for k, v := range m.now {
		next[k] = v
	}
	rev, err := s.ReadWriteTx(context.Background(), func(ctx context.Context, rwt ds.ReadWriteTransaction) error {
		for range rapid.IntRange(1, 4).Draw(t, "ops") {
			r := drawRel(t)
			_, there := next[keyText(r)]
			var err error
			switch rapid.SampledFrom([]string{"touch", "delete", "create", "filter"}).Draw(t, "op") {
			case "touch":
				next[keyText(r)] = r
				err = rwt.WriteRelationships(ctx, []tuple.RelationshipUpdate{tuple.Touch(r)})
			case "delete":
				delete(next, keyText(r))
				err = rwt.WriteRelationships(ctx, []tuple.RelationshipUpdate{tuple.Delete(r)})
			case "create":
				err = rwt.WriteRelationships(ctx, []tuple.RelationshipUpdate{tuple.Create(r)})
				require.Equal(t, there, err != nil)
				if !there {
					next[keyText(r)] = r
				}
				err = nil
			case "filter":
				n, _, delErr := rwt.DeleteRelationships(ctx, &v1.RelationshipFilter{ResourceType: r.Resource.ObjectType, OptionalRelation: r.Resource.Relation})
				err = delErr
				for k, v := range next {
					if v.Resource.ObjectType == r.Resource.ObjectType && v.Resource.Relation == r.Resource.Relation {
						delete(next, k)
						n--
					}
				}
				require.Zero(t, n)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}, options.WithDisableRetries(true))
	require.NoError(t, err)
	m.now = next
	snap := snapshotOf{rev: rev}
	for _, r := range next {
		snap.rels = append(snap.rels, r)
	}
	m.past = append(m.past, snap)
}

func drawSelector(t *rapid.T) ds.SubjectsSelector {
	var sel ds.SubjectsSelector
	sel.OptionalSubjectType = rapid.SampledFrom(append([]string{""}, someTypes...)).Draw(t, "seltype")
	sel.OptionalSubjectIds = rapid.SliceOfNDistinct(rapid.SampledFrom(someIDs), 0, 2, rapid.ID).Draw(t, "selids")
	switch rapid.IntRange(0, 4).Draw(t, "selrel") {
	case 1:
		sel.RelationFilter = sel.RelationFilter.WithEllipsisRelation()
	case 2:
		sel.RelationFilter = sel.RelationFilter.WithNonEllipsisRelation("member")
	case 3:
		sel.RelationFilter = sel.RelationFilter.WithOnlyNonEllipsisRelations()
	case 4:
		sel.RelationFilter = sel.RelationFilter.WithEllipsisRelation().WithNonEllipsisRelation("member")
	}
	return sel
}

func drawFilter(t *rapid.T) ds.RelationshipsFilter {
	var f ds.RelationshipsFilter
	f.OptionalResourceType = rapid.SampledFrom(append([]string{""}, someTypes...)).Draw(t, "ftype")
	f.OptionalResourceRelation = rapid.SampledFrom(append([]string{""}, someRels...)).Draw(t, "frel")
	switch rapid.IntRange(0, 2).Draw(t, "fids") {
	case 1:
		f.OptionalResourceIds = rapid.SliceOfNDistinct(rapid.SampledFrom(someIDs), 1, 3, rapid.ID).Draw(t, "ids")
	case 2:
		f.OptionalResourceIDPrefix = "a"
	}
	if rapid.Bool().Draw(t, "probe") { // many resources, one subject
		f.OptionalResourceType, f.OptionalResourceIDPrefix, f.OptionalResourceRelation = "doc", "", "viewer"
		f.OptionalResourceIds = rapid.SliceOfNDistinct(rapid.SampledFrom(someIDs), 3, 4, rapid.ID).Draw(t, "probeids")
		f.OptionalSubjectsSelectors = []ds.SubjectsSelector{{
			OptionalSubjectType: "doc", OptionalSubjectIds: []string{"a"}, RelationFilter: ds.SubjectRelationFilter{}.WithEllipsisRelation(),
		}}
		return f
	}
	for range rapid.IntRange(0, 2).Draw(t, "selectors") {
		f.OptionalSubjectsSelectors = append(f.OptionalSubjectsSelectors, drawSelector(t))
	}
	switch rapid.IntRange(0, 3).Draw(t, "caveats") {
	case 1:
		f.OptionalCaveatNameFilter = ds.WithCaveatName("cav1")
	case 2:
		f.OptionalCaveatNameFilter = ds.WithNoCaveat()
	}
	return f
}

// wants says, independently of the store, whether a filter wants a relationship.
func wants(f ds.RelationshipsFilter, r tuple.Relationship) bool {
	selectors := f.OptionalSubjectsSelectors
	f.OptionalSubjectsSelectors = nil
	if !f.Test(r) {
		return false
	}
	return len(selectors) == 0 || slices.ContainsFunc(selectors, func(sel ds.SubjectsSelector) bool {
		rf := sel.RelationFilter
		sel.RelationFilter = ds.SubjectRelationFilter{}
		plain := r.Subject.Relation == tuple.Ellipsis
		byRelation := rf.IsEmpty() || rf.OnlyNonEllipsisRelations && !plain ||
			rf.IncludeEllipsisRelation && plain || rf.NonEllipsisRelation != "" && rf.NonEllipsisRelation == r.Subject.Relation
		return sel.Test(r.Subject) && byRelation
	})
}

// compare asks the store a random question about a random past revision.
func (m *model) compare(t *rapid.T, s ds.Datastore) {
	snap := rapid.SampledFrom(m.past).Draw(t, "snapshot")
	f := drawFilter(t)
	want := []string{}
	for _, r := range snap.rels {
		if wants(f, r) {
			want = append(want, tuple.MustString(r))
		}
	}
	slices.Sort(want)
	order := rapid.SampledFrom([]options.SortOrder{options.Unsorted, options.ByResource, options.BySubject, options.ChooseEfficient}).Draw(t, "order")
	opts := []options.QueryOptionsOption{options.WithSort(order)}
	var limit uint64
	if order != options.Unsorted {
		limit = rapid.Uint64Range(0, 3).Draw(t, "limit")
	}
	got := []string{}
	var cursor options.Cursor
	for {
		page := opts
		if limit > 0 {
			page = append(slices.Clone(opts), options.WithLimit(&limit), options.WithAfter(cursor))
		}
		it, err := s.SnapshotReader(snap.rev).QueryRelationships(context.Background(), f, page...)
		require.NoError(t, err)
		rels, err := ds.IteratorToSlice(it)
		require.NoError(t, err)
		for _, r := range rels {
			got = append(got, tuple.MustString(r))
		}
		if limit == 0 || len(rels) == 0 {
			break
		}
		require.LessOrEqual(t, uint64(len(rels)), limit)
		cursor = options.ToCursor(rels[len(rels)-1])
	}
	slices.Sort(got)
	require.Equal(t, want, got)
}

// TestAgreesWithModel: random transactions, random questions at random revisions,
// pages included; then the watch's stream alone rebuilds the final state.
func TestAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := open(t, graphstore.Config{})
		defer func() { require.NoError(rt, s.Close()) }()
		start := headOf(t, s)
		m := &model{now: map[string]tuple.Relationship{}}
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			m.step(rt, s)
			m.compare(rt, s)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		changes, errs := s.Watch(ctx, start, ds.WatchOptions{Content: everyContent})
		seen := map[string]tuple.Relationship{}
		last := m.past[len(m.past)-1].rev
		for c := range changes {
			for _, u := range c.RelationshipChanges {
				delete(seen, keyText(u.Relationship))
				if u.Operation == tuple.UpdateOperationTouch {
					seen[keyText(u.Relationship)] = u.Relationship
				}
			}
			if c.IsCheckpoint && c.Revision.Equal(last) {
				break
			}
		}
		cancel()
		<-errs
		require.Equal(rt, len(m.now), len(seen))
		for k, r := range m.now {
			require.Equal(rt, tuple.MustString(r), tuple.MustString(seen[k]))
		}
	})
}
