package graphstore_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	ds "github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/tuple"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/graphstore"
)

// TestReadResourcesEqualsQueries reads resources of every size at once, at the head and
// at an older revision, and wants what single queries give; one that holds too many gives
// nothing and hides no other.
func TestReadResourcesEqualsQueries(t *testing.T) {
	c := newClock()
	s := open(t, graphstore.Config{Now: c.now})
	rng := rand.New(rand.NewPCG(2, 7)) // reproducible, not secret
	const most = 8
	var wanted []graphstore.Resource
	var updates []tuple.RelationshipUpdate
	for i := range 20 {
		res := graphstore.Resource{Type: fmt.Sprintf("type%d", i%3), ID: fmt.Sprintf("acme/r%d", i)}
		for j := range []int{0, 1, 3, most, most + 1, 40}[i%6] {
			rel := tuple.MustParse(fmt.Sprintf("%s:%s#%s@agent:a%d", res.Type, res.ID, []string{"reader", "writer"}[j%2], j))
			if rng.IntN(4) == 0 {
				at := c.now().Add(time.Minute)
				rel.OptionalExpiration = &at
			}
			updates = append(updates, tuple.Touch(rel))
		}
		if i%4 == 1 {
			res.Relation = "reader"
		}
		wanted = append(wanted, res)
	}
	full := write(t, s, updates...)
	write(t, s, remove("type1:acme/r1#reader@agent:a0"), touch("type0:acme/r0#reader@agent:late"))
	for _, at := range []ds.Revision{full, headOf(t, s)} {
		compareReads(t, s, at, wanted, most)
	}
	c.advance(time.Hour)
	compareReads(t, s, full, wanted, most)
	rng.Shuffle(len(wanted), func(i, j int) { wanted[i], wanted[j] = wanted[j], wanted[i] })
	compareReads(t, s, full, wanted, most)
	compareReads(t, s, full, nil, most)
}

func compareReads(t *testing.T, s *graphstore.Store, at ds.Revision, wanted []graphstore.Resource, most int) {
	t.Helper()
	reader, ok := s.SnapshotReader(at).(graphstore.ResourceReader)
	require.True(t, ok)
	rows, complete, err := reader.ReadResources(t.Context(), wanted, most)
	require.NoError(t, err)
	require.Len(t, rows, len(wanted))
	whole := 0
	for i, res := range wanted {
		it, err := s.SnapshotReader(at).QueryRelationships(t.Context(), ds.RelationshipsFilter{
			OptionalResourceType: res.Type, OptionalResourceIds: []string{res.ID}, OptionalResourceRelation: res.Relation,
		})
		require.NoError(t, err)
		want, err := ds.IteratorToSlice(it)
		require.NoError(t, err)
		if !complete[i] {
			require.Empty(t, rows[i])
			continue
		}
		whole++
		require.ElementsMatch(t, want, rows[i], "%v", res)
		require.LessOrEqual(t, len(want), most)
	}
	require.GreaterOrEqual(t, whole, len(wanted)/4)
}

func TestReadResourcesOfAnUnreadableRevision(t *testing.T) {
	s := open(t, graphstore.Config{})
	reader, ok := s.SnapshotReader(foreign{}).(graphstore.ResourceReader)
	require.True(t, ok)
	_, _, err := reader.ReadResources(t.Context(), []graphstore.Resource{{Type: "agent", ID: "a"}}, 8)
	require.Error(t, err)
}
