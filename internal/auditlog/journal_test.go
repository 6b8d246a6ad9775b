package auditlog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// journalled is a log with a journal, over files that can be opened again.
type journalled struct {
	*auditlog.Log
	db  *sqlitedb.DB
	dir string
}

func openJournalled(t *testing.T, dir string) *journalled {
	t.Helper()
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Config{Path: filepath.Join(dir, "log.db")})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	_ = db.Write(t.Context(), func(tx *sqlitedb.Tx) error { // there already, the second time
		_, err := tx.Exec(t.Context(), auditlog.Schema+auditlog.SchemaRows)
		return err
	})
	l := auditlog.New(db, time.Now)
	require.NoError(t, l.OpenJournal(t.Context(), filepath.Join(dir, "log.db-audit")))
	t.Cleanup(func() { _ = l.Close() })
	return &journalled{l, db, dir}
}

func single(request string) auditlog.Record {
	return auditlog.Record{Kind: auditlog.Operation, Phase: auditlog.Single, Request: request, Tenant: "acme", Agent: "agent:acme/a", Decision: auditlog.Allow}
}

// requests are those of all records, in the log's order.
func (j *journalled) requests(t *testing.T) []string {
	t.Helper()
	page, err := j.Query(t.Context(), auditlog.Query{Limit: auditlog.MaxLimit})
	require.NoError(t, err)
	var out []string
	for _, r := range page.Records {
		out = append(out, r.Request)
	}
	return out
}

func (j *journalled) files(t *testing.T) (all []byte) {
	t.Helper()
	for i := range 2 {
		data, err := os.ReadFile(filepath.Join(j.dir, fmt.Sprintf("log.db-audit-%d", i)))
		require.NoError(t, err)
		all = append(all, data...)
	}
	return all
}

func TestARelaxedRecordIsAtTheOperatingSystemWhenAppendReturns(t *testing.T) {
	j := openJournalled(t, t.TempDir())
	require.NoError(t, j.Append(t.Context(), false, single("r1")))
	rows, err := j.db.Readers().QueryContext(t.Context(), `SELECT count(*) FROM audit`)
	require.NoError(t, err)
	require.True(t, rows.Next())
	var inDatabase int
	require.NoError(t, rows.Scan(&inDatabase))
	require.NoError(t, rows.Close())
	if inDatabase == 0 { // else the flush was faster than this test
		require.Contains(t, string(j.files(t)), `"r1"`)
	}
	require.Equal(t, []string{"r1"}, j.requests(t), "a query sees what was appended before it")
	require.Empty(t, j.files(t), "what is in the database is in no file")
}

// TestRecordsThatComeTogether are all handed over at once, and none where one is refused.
func TestRecordsThatComeTogether(t *testing.T) {
	j := openJournalled(t, t.TempDir())
	var batch []auditlog.Record
	var want []string
	for i := range 100 {
		batch, want = append(batch, single(fmt.Sprintf("r%d", i))), append(want, fmt.Sprintf("r%d", i))
	}
	bad := append(append([]auditlog.Record{}, batch...), auditlog.Record{Kind: "other", Phase: auditlog.Single})
	require.Error(t, j.Append(t.Context(), false, bad...))
	require.Empty(t, j.files(t))
	require.NoError(t, j.Append(t.Context(), false, batch...))
	if files := j.files(t); len(files) > 0 { // else the flush was faster than this test
		require.Contains(t, string(files), `"r0"`)
		require.Contains(t, string(files), `"r99"`)
	}
	left := j.files(t)
	require.Equal(t, want, j.requests(t))

	dir := t.TempDir() // a crash in the middle of the write: what is whole is there
	require.NoError(t, os.WriteFile(filepath.Join(dir, "log.db-audit-0"), left[:len(left)*2/3], 0o600))
	some := openJournalled(t, dir).requests(t)
	require.Equal(t, want[:len(some)], some)
}

// TestWhatACrashLeavesIsInTheLogOnce: the files as they are before the flush, after the
// commit but not emptied, and with half a record at the end.
func TestWhatACrashLeavesIsInTheLogOnce(t *testing.T) {
	from := openJournalled(t, t.TempDir())
	var left []byte
	for i := 0; len(left) == 0; i++ { // a flush may come in between
		require.NoError(t, from.Append(t.Context(), false, single(fmt.Sprintf("a%d", i))))
		left = from.files(t)
	}
	for name, torn := range map[string][]byte{"whole": nil, "half a head": {0, 0}, "half a record": {0, 0, 1, 0, 1, 2, 3, 4, '{'}, "nonsense": {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "log.db-audit-1")
			require.NoError(t, os.WriteFile(path, append(append([]byte{}, left...), torn...), 0o600))
			j := openJournalled(t, dir)
			want := j.requests(t)
			require.NotEmpty(t, want)
			require.Empty(t, j.files(t))
			require.NoError(t, j.Append(t.Context(), true, single("later")))
			require.NoError(t, j.Close())
			require.NoError(t, j.db.Close())
			require.NoError(t, os.WriteFile(path, left, 0o600), "the crash came before the file was emptied")
			again := openJournalled(t, dir)
			require.Equal(t, append(want, "later"), again.requests(t), "nothing is there twice")
		})
	}
}

func TestManyAtOnceAreAllThereAndInOrderForEach(t *testing.T) {
	j := openJournalled(t, t.TempDir())
	const writers, each = 8, 200
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				if err := j.Append(t.Context(), i%50 == 49, single(fmt.Sprintf("%d/%03d", w, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	seen := map[string]bool{}
	for after := int64(0); ; {
		page, err := j.Query(t.Context(), auditlog.Query{Limit: auditlog.MaxLimit, After: after})
		require.NoError(t, err)
		for _, r := range page.Records {
			require.False(t, seen[r.Request], "twice")
			seen[r.Request] = true
		}
		if page.Next == "" {
			break
		}
		after = page.End
	}
	require.Len(t, seen, writers*each)
}

// TestAClosedLogTakesNothing, and what was appended before is in it.
func TestAClosedLogTakesNothing(t *testing.T) {
	dir := t.TempDir()
	j := openJournalled(t, dir)
	require.NoError(t, j.Append(t.Context(), false, single("r1")))
	require.NoError(t, j.Close())
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(j.Append(t.Context(), false, single("r2"))))
	require.NoError(t, j.db.Close())
	require.Equal(t, []string{"r1"}, openJournalled(t, dir).requests(t))
}

// TestADatabaseThatTakesNothingRefusesAndLosesNothing: what was handed over before stays
// in the files, and is in the log after the next start.
func TestADatabaseThatTakesNothingRefusesAndLosesNothing(t *testing.T) {
	dir := t.TempDir()
	j := openJournalled(t, dir)
	require.NoError(t, j.db.Close())
	var handed []string
	for i := 0; ; i++ {
		name := fmt.Sprintf("r%d", i)
		err := j.Append(t.Context(), false, single(name))
		if err != nil {
			require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err))
			break
		}
		handed = append(handed, name)
		require.Error(t, j.Flush(t.Context()))
	}
	require.NotEmpty(t, handed)
	require.Error(t, j.Close())
	require.Equal(t, handed, openJournalled(t, dir).requests(t))
}
