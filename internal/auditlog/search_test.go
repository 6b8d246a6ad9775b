package auditlog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// some is a record with values that few others have, one in a while.
func some(rng *rand.Rand, i int) Record {
	pick := func(name string, n int) string {
		if k := rng.IntN(n + 1); k > 0 {
			return fmt.Sprintf("%s%d<\"é", name, k)
		}
		return ""
	}
	r := Record{
		Kind: []Kind{Operation, Operation, Operation, Issue, Admin}[rng.IntN(5)], Phase: Single, Request: fmt.Sprintf("r%d", i/2),
		Tenant: pick("t", 2), Principal: pick("p", 4), Agent: pick("a", 40), Token: pick("k", 400),
	}
	if i%9 == 0 {
		r.Request = ""
	}
	if i > 1500 && i < 3000 { // a stretch where a value is not
		r.Tenant = "t1<\"é"
	}
	return r
}

// TestASearchFindsWhatAWalkFinds: for any filters, direction, page size and place to begin,
// over rows of one and of many records that lie across the index's stretches.
func TestASearchFindsWhatAWalkFinds(t *testing.T) {
	l := emptyLog(t)
	rng := rand.New(rand.NewPCG(1, 2))
	var all []Record
	for len(all) < 4*stretch {
		entries := make([]Entry, 1+rng.IntN(3)*rng.IntN(300))
		for i := range entries {
			var err error
			entries[i], err = Prepare(some(rng, len(all)), time.Unix(1_700_000_000, 0))
			require.NoError(t, err)
			r := entries[i].Record()
			r.Seq = int64(len(all)) + 1
			all = append(all, r)
		}
		require.NoError(t, l.db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
			if len(entries)%3 == 0 {
				_, err := l.Add(t.Context(), tx, entries...)
				return err
			}
			return l.addSingles(t.Context(), tx, entries)
		}))
	}
	size, err := l.Size(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, len(all), size)
	for range 150 {
		like := all[rng.IntN(len(all))]
		q := Query{Limit: 1 + rng.IntN(60), Newest: rng.IntN(2) == 0, After: rng.Int64N(size + 2)}
		for i, set := range []func(){
			func() { q.Tenant = like.Tenant }, func() { q.Agent = like.Agent }, func() { q.Principal = like.Principal },
			func() { q.Token = like.Token }, func() { q.Kind = like.Kind }, func() { q.Request = like.Request },
		} {
			if rng.IntN(3+i) == 0 {
				set()
			}
		}
		page, err := l.Query(t.Context(), q)
		require.NoError(t, err)
		want, more := walk(all, q)
		require.Equal(t, want, page.Records, "%+v", q)
		require.Equal(t, more, page.Next != "", "%+v", q)
		if !q.Newest && !more {
			require.Equal(t, max(size, q.After), page.End, "what follows begins behind all that was looked at")
		}
	}
	for _, seq := range []int64{1, 77, stretch, stretch + 1, size} {
		r, err := l.At(t.Context(), seq)
		require.NoError(t, err)
		require.Equal(t, all[seq-1], r)
	}
	leaves, err := l.Leaves(t.Context(), size-300, 200)
	require.NoError(t, err)
	require.Len(t, leaves, 200)
	r, err := Decode(leaves[0])
	require.NoError(t, err)
	require.Equal(t, all[size-301].ID, r.ID)
}

// walk answers a query from everything.
func walk(all []Record, q Query) (found []Record, more bool) {
	all = slices.Clone(all)
	if q.Newest {
		slices.Reverse(all)
	}
	for _, r := range all {
		switch {
		case q.Newest && q.After > 0 && r.Seq >= q.After, !q.Newest && r.Seq <= q.After,
			q.Tenant != "" && r.Tenant != q.Tenant, q.Agent != "" && r.Agent != q.Agent, q.Principal != "" && r.Principal != q.Principal,
			q.Token != "" && r.Token != q.Token, q.Kind != "" && r.Kind != q.Kind, q.Request != "" && r.Request != q.Request:
			continue
		}
		if len(found) == q.Limit {
			return found, true
		}
		found = append(found, r)
	}
	return found, false
}

// TestARowThatIsDamagedIsAnError, and nothing is shown in its place.
func TestARowThatIsDamagedIsAnError(t *testing.T) {
	var entries []Entry
	for i := range 3 {
		e, err := Prepare(some(rand.New(rand.NewPCG(1, 2)), i), time.Unix(1_700_000_000, 0))
		require.NoError(t, err)
		entries = append(entries, e)
	}
	packed := pack(entries)
	all, err := unpack(3, packed)
	require.NoError(t, err)
	for i := range all {
		require.Equal(t, entries[i].Encoded(), all[i])
	}
	for name, damaged := range map[string][]byte{"cut": packed[:len(packed)-1], "empty": nil, "huge": {0xff, 0xff, 0xff, 0xff, 0x0f, 0}} {
		_, err := unpack(3, damaged)
		require.Error(t, err, name)
	}
	for _, n := range []int64{2, 4, 0, -1} {
		_, err := unpack(n, packed)
		require.Error(t, err, n)
	}
}
