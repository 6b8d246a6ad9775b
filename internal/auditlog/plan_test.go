package auditlog

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// TestEveryFilterHasItsIndex: no filter may read the whole log, whatever its size.
func TestEveryFilterHasItsIndex(t *testing.T) {
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Config{Path: filepath.Join(t.TempDir(), "a.db")})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.NoError(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(t.Context(), Schema)
		return err
	}))
	_ = New(db, time.Now)
	for index, q := range map[string]Query{
		"audit_request ":      {Tenant: "t", Request: "r", Agent: "a", Token: "x"},
		"audit_token ":        {Tenant: "t", Agent: "a", Token: "x", Kind: Issue},
		"audit_agent ":        {Tenant: "t", Agent: "a", Principal: "p"},
		"audit_principal ":    {Tenant: "t", Principal: "p"},
		"audit_tenant ":       {Tenant: "t", Kind: Issue},
		"INTEGER PRIMARY KEY": {Kind: Issue},
	} {
		for _, newest := range []bool{false, true} {
			q.Newest, q.After, q.Limit = newest, 5, 10
			text, args := q.sql()
			rows, err := db.Readers().QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+text, args...)
			require.NoError(t, err)
			var plan strings.Builder
			for rows.Next() {
				var id, parent, unused int
				var detail string
				require.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
				plan.WriteString(detail + "\n")
			}
			require.NoError(t, rows.Close())
			require.Contains(t, plan.String(), index)
			require.NotContains(t, plan.String(), "TEMP B-TREE")
		}
	}
}
