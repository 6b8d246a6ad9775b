package graphstore_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ds "github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/datastore/options"
	"github.com/authzed/spicedb/pkg/tuple"

	"github.com/agentid-dev/agentid/internal/graphstore"
)

const benchAgents = 1000

// BenchmarkCheck compares a check on this store with one on SpiceDB's memory
// store, at 1,000 agents: go test -bench 'Check' -benchtime 2s ./internal/graphstore
func BenchmarkCheck(b *testing.B) {
	stores := map[string]ds.Datastore{"graphstore": open(b, graphstore.Config{}), "memdb": openMemory(b)}
	for _, name := range []string{"graphstore", "memdb"} {
		fill(b, stores[name], benchAgents)
		p := checker(b, stores[name])
		for _, kind := range checkKinds {
			b.Run(kind+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					ask(b, p, kind, rand.IntN(benchAgents))
				}
			})
		}
	}
}

func BenchmarkForwardQuery(b *testing.B) {
	s := open(b, graphstore.Config{})
	fill(b, s, benchAgents)
	benchQuery(b, s, func(r ds.Reader, i int) (ds.RelationshipIterator, error) {
		return r.QueryRelationships(context.Background(), ds.RelationshipsFilter{
			OptionalResourceType: "agent", OptionalResourceIds: []string{agentID(i)}, OptionalResourceRelation: "lineage",
		})
	})
}

func BenchmarkReverseQuery(b *testing.B) {
	s := open(b, graphstore.Config{})
	fill(b, s, benchAgents)
	benchQuery(b, s, func(r ds.Reader, i int) (ds.RelationshipIterator, error) {
		return r.ReverseQueryRelationships(context.Background(), ds.SubjectsFilter{
			SubjectType: "agent", OptionalSubjectIds: []string{agentID(i)},
			RelationFilter: ds.SubjectRelationFilter{}.WithEllipsisRelation(),
		}, options.WithResRelation(&options.ResourceRelation{Namespace: "agent", Relation: "lineage"}))
	})
}

func benchQuery(b *testing.B, s *graphstore.Store, query func(r ds.Reader, i int) (ds.RelationshipIterator, error)) {
	b.Helper()
	head, err := s.HeadRevision(context.Background())
	require.NoError(b, err)
	r := s.SnapshotReader(head.Revision)
	b.ReportAllocs()
	for b.Loop() {
		it, err := query(r, rand.IntN(benchAgents))
		if err != nil {
			b.Fatal(err)
		}
		rels, err := ds.IteratorToSlice(it)
		if err != nil || len(rels) == 0 {
			b.Fatal(len(rels), err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	b.Run("single", func(b *testing.B) {
		s := open(b, graphstore.Config{})
		i := 0
		for b.Loop() {
			i++
			writeLineage(b, s, i)
		}
	})
	b.Run("parallel64", func(b *testing.B) {
		s := open(b, graphstore.Config{})
		b.SetParallelism(32) // times GOMAXPROCS
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				writeLineage(b, s, rand.Int())
			}
		})
	})
}

func writeLineage(tb testing.TB, s ds.Datastore, i int) {
	_, err := s.ReadWriteTx(context.Background(), func(ctx context.Context, rwt ds.ReadWriteTransaction) error {
		return rwt.WriteRelationships(ctx, []tuple.RelationshipUpdate{tuple.Touch(lineageOf(i))})
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// lineageOf is the self edge of agent i.
func lineageOf(i int) tuple.Relationship {
	a := tuple.ObjectAndRelation{ObjectType: "agent", ObjectID: agentID(i), Relation: tuple.Ellipsis}
	r := tuple.Relationship{RelationshipReference: tuple.RelationshipReference{Resource: a, Subject: a}}
	r.Resource.Relation = "lineage"
	return r
}

// TestCheckCostsLikeMemory holds the ratio of BenchmarkCheck in every run: the best
// of several interleaved rounds, so that a busy machine hurts both alike.
func TestCheckCostsLikeMemory(t *testing.T) {
	const rounds, checks, limit = 8, 200, 1.5
	stores := []ds.Datastore{open(t, graphstore.Config{}), openMemory(t)}
	ours, memory := 0, 1
	ask := func(i int, kind string) func() {
		p := checker(t, stores[i])
		return func() {
			for range checks {
				ask(t, p, kind, rand.IntN(benchAgents))
			}
		}
	}
	for _, s := range stores {
		fill(t, s, benchAgents)
	}
	for _, kind := range checkKinds {
		run := []func(){ask(ours, kind), ask(memory, kind)}
		best := []time.Duration{time.Hour, time.Hour}
		for range rounds {
			for i := range run {
				began := time.Now()
				run[i]()
				best[i] = min(best[i], time.Since(began))
			}
		}
		ratio := float64(best[ours]) / float64(best[memory])
		t.Logf("%-6s graphstore %v, memdb %v, ratio %.2f", kind, best[ours]/checks, best[memory]/checks, ratio)
		require.LessOrEqual(t, ratio, limit, kind)
	}
}
