package ledger

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/seal"
)

// earlier is a ledger as an earlier program left it, at a version.
func earlier(t *testing.T, path string, version int, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	all := append([]string{}, migrations[:version]...)
	all = append(all, fmt.Sprintf("PRAGMA user_version = %d", version))
	for _, text := range append(all, statements...) {
		_, err := db.ExecContext(t.Context(), text)
		require.NoError(t, err, text)
	}
}

// TestALedgerOfAnEarlierProgramIsTakenOver: its audit log, what is open in it, its effects
// and its counts are there, and the log goes on where it ended.
func TestALedgerOfAnEarlierProgramIsTakenOver(t *testing.T) {
	var rows []string
	at := time.Unix(1_790_000_000, 0)
	for i := range 2500 {
		r := auditlog.Record{Kind: auditlog.Operation, Phase: auditlog.Single, Request: fmt.Sprintf("r%d", i), Tenant: "acme", Agent: fmt.Sprintf("agent:acme/a%d", i%7)}
		if i == 2000 {
			r.Phase = auditlog.Begin
		}
		e, err := auditlog.Prepare(r, at)
		require.NoError(t, err)
		rows = append(rows, fmt.Sprintf(`INSERT INTO audit (request, tenant, principal, agent, token, kind, phase, record) VALUES ('%s', 'acme', '', '%s', '', 'operation', '%s', CAST('%s' AS BLOB))`,
			r.Request, r.Agent, r.Phase, e.Encoded()))
	}
	rows = append(rows, `INSERT INTO audit_open (request, seq) VALUES ('r2000', 2001)`,
		`INSERT INTO effects (nonce, of, token, uses, digest, hold_key, hold_amount, state, stands, open, attempt, request, begin, created) VALUES (x'01', 0, 't', '[]', 'd', 'k', 5, 1, 1, 1, 0, 'r2000', 2001, 7)`,
		`INSERT INTO uses (token, capability, used, updated) VALUES ('t', 'c', 3, 9)`)
	path := filepath.Join(t.TempDir(), "ledger.db")
	earlier(t, path, 4, rows...)

	key, _, err := seal.FileOrNew(filepath.Join(t.TempDir(), "seal.key"))
	require.NoError(t, err)
	l, err := Open(t.Context(), Config{Path: path, SealKey: key, Now: func() time.Time { return at }})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	page, err := l.log.Query(t.Context(), auditlog.Query{Agent: "agent:acme/a3", Limit: auditlog.MaxLimit})
	require.NoError(t, err)
	require.Len(t, page.Records, 357)
	require.EqualValues(t, 4, page.Records[0].Seq)
	page, err = l.log.Query(t.Context(), auditlog.Query{Request: "r2400"})
	require.NoError(t, err)
	require.Len(t, page.Records, 1)
	open, err := l.log.Open(t.Context(), "acme")
	require.NoError(t, err)
	require.Len(t, open, 1)
	require.Equal(t, "r2000", open[0].Request)
	require.NoError(t, l.log.Append(t.Context(), true, auditlog.Record{Kind: auditlog.Admin, Phase: auditlog.Single, Tenant: "acme"}))
	size, err := l.log.Size(t.Context())
	require.NoError(t, err)
	require.GreaterOrEqual(t, size, int64(2501))
	next, err := l.log.At(t.Context(), 2501)
	require.NoError(t, err)
	require.NotEmpty(t, next.Kind)
	var held, used, since int64
	require.NoError(t, l.db.Readers().QueryRowContext(t.Context(), `SELECT hold_amount FROM effects WHERE request = 'r2000'`).Scan(&held))
	require.NoError(t, l.db.Readers().QueryRowContext(t.Context(), `SELECT used, since FROM uses`).Scan(&used, &since))
	require.Equal(t, []int64{5, 3, 9}, []int64{held, used, since})
}
