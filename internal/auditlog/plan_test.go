package auditlog

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// emptyLog is a log in a database of its own.
func emptyLog(t *testing.T) *Log {
	t.Helper()
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Config{Path: filepath.Join(t.TempDir(), "a.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.NoError(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(t.Context(), Schema+SchemaRows)
		return err
	}))
	return New(db, time.Now)
}

// TestEveryFilterHasItsIndex: no filter may read the whole log, whatever its size.
func TestEveryFilterHasItsIndex(t *testing.T) {
	l := emptyLog(t)
	for name, q := range map[string]Query{
		"all":   {Tenant: "t", Agent: "a", Token: "x", Principal: "p", Kind: Issue},
		"one":   {Agent: "a"},
		"kinds": {Kind: Issue},
	} {
		for _, newest := range []bool{false, true} {
			q.Newest = newest
			s := &search{q: q, need: q.needs()}
			text, args := s.stretches(0, 10, 64)
			plan := explain(t, l, text, args)
			require.Contains(t, plan, "SEARCH k USING PRIMARY KEY (field=? AND value=? AND stretch>? AND stretch<?)", name)
			require.NotContains(t, plan, "SCAN", name)
			require.NotContains(t, plan, "TEMP B-TREE", name)
		}
	}
	q := Query{Tenant: "t", Token: "x"}
	_, args := (&search{q: q, need: q.needs()}).stretches(0, 1, 1)
	require.Equal(t, "x", args[1], "the field with the fewest stretches leads")
}

func explain(t *testing.T, l *Log, text string, args []any) string {
	t.Helper()
	rows, err := l.db.Readers().QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+text, args...)
	require.NoError(t, err)
	var plan strings.Builder
	for rows.Next() {
		var id, parent, unused int
		var detail string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
		plan.WriteString(detail + "\n")
	}
	require.NoError(t, rows.Close())
	require.NoError(t, rows.Err())
	return plan.String()
}
