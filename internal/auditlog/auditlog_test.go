package auditlog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 1, 12, 0, 0, 123_456_789, time.UTC)

func open(t *testing.T) (*auditlog.Log, *sqlitedb.DB) {
	t.Helper()
	db, err := sqlitedb.Open(t.Context(), sqlitedb.Config{Path: filepath.Join(t.TempDir(), "a.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.NoError(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(t.Context(), auditlog.Schema+auditlog.SchemaRows)
		return err
	}))
	return auditlog.New(db, func() time.Time { return now }), db
}

func record(request string, p auditlog.Phase) auditlog.Record {
	return auditlog.Record{Kind: auditlog.Operation, Phase: p, Request: request, Tenant: "acme", Agent: "agent:acme/a"}
}

func TestZeroIsDeny(t *testing.T) {
	e, err := auditlog.Prepare(record("r", auditlog.Single), now)
	require.NoError(t, err)
	require.Contains(t, string(e.Encoded()), `"decision":"deny"`)
	var d auditlog.Decision
	for _, text := range []string{"", "Allow", "yes", "1", "allow "} {
		d = auditlog.Allow
		require.NoError(t, d.UnmarshalText([]byte(text)))
		require.Equal(t, auditlog.Deny, d, text)
	}
	require.NoError(t, d.UnmarshalText([]byte("allow")))
	require.Equal(t, auditlog.Allow, d)
}

func TestRecordsThatAreRefused(t *testing.T) {
	for name, edit := range map[string]func(*auditlog.Record){
		"no kind":           func(r *auditlog.Record) { r.Kind = "" },
		"unknown kind":      func(r *auditlog.Record) { r.Kind = "x" },
		"no phase":          func(r *auditlog.Record) { r.Phase = "" },
		"begin of nothing":  func(r *auditlog.Record) { r.Phase, r.Request = auditlog.Begin, "" },
		"finish of nothing": func(r *auditlog.Record) { r.Phase, r.Request = auditlog.Finish, "" },
		"unknown decision":  func(r *auditlog.Record) { r.Decision = 2 },
		"far time":          func(r *auditlog.Record) { r.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		r := record("r", auditlog.Single)
		edit(&r)
		_, err := auditlog.Prepare(r, now)
		require.Equal(t, "audit_record_invalid", agentid.ReasonOf(err), name)
	}
	log, db := open(t)
	require.Error(t, log.Append(t.Context(), true, auditlog.Record{}))
	require.Error(t, db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
		_, err := log.Add(t.Context(), tx, auditlog.Entry{})
		return err
	}))
}

func TestTextFromOutsideIsHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"plain text":                   "plain text",
		"a\nb\r\tc":                    `a\x0ab\x0d\x09c`,
		"\x1b[31mred\x1b[0m":           `\x1b[31mred\x1b[0m`,
		"\u0085\u009b1m":               `\u0085\u009b1m`,
		"line\u2028para\u2029":         `line\u2028para\u2029`,
		"bidi\u202eevil\u2066":         `bidi\u202eevil\u2066`,
		"zero\u200bwidth\ufeff":        `zero\u200bwidth\ufeff`,
		"\xff\xfe":                     `\xff\xfe`,
		"cut \xe2\x82":                 `cut \xe2\x82`,
		"\x00nul\x7f":                  `\x00nul\x7f`,
		`back\slash \u2028`:            `back\\slash \\u2028`,
		"größe ✓ 漢字":                   "größe ✓ 漢字",
		"\U000e0001tag":                `\U000e0001tag`,
		"\ufffd":                       "\ufffd",
		"nbsp\u00a0":                   `nbsp\u00a0`,
		"Bearer abcdefghijklmnop":      "[redacted]",
		"key sk_live_abcdef123456":     "key [redacted]",
		"x eyJhbGciOi.eyJzdWIi.c2ln y": "x [redacted] y",
		"agentid_admin_0123456789abcdef_abcdefghijklmnop": "[redacted]",
	} {
		require.Equal(t, want, auditlog.Clean(in, 512))
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\n\u2028\xff\\", 40)
	f.Add(strings.Repeat("é", 300), 200)
	f.Fuzz(func(t *testing.T, in string, limit int) {
		limit = 80 + limit&0x3ff
		out := auditlog.Clean(in, limit)
		if len(out) > limit || !utf8.ValidString(out) {
			t.Fatalf("%d bytes over %d, or invalid: %q", len(out), limit, out)
		}
		for _, r := range out {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q holds %U", out, r)
			}
		}
	})
}

func TestHugeTextsAreCutWithAHash(t *testing.T) {
	a, b := strings.Repeat("x", 1<<20), strings.Repeat("x", 1<<20)+"y"
	r := record("r", auditlog.Single)
	r.Resource = a
	e, err := auditlog.Prepare(r, now)
	require.NoError(t, err)
	require.Len(t, e.Record().Resource, auditlog.MaxText)
	require.Contains(t, e.Record().Resource, "(1048576 bytes, sha256:")
	require.NotEqual(t, auditlog.Clean(a, 100), auditlog.Clean(b, 100), "the hash tells two apart")
}

func TestARecordIsBounded(t *testing.T) {
	huge := strings.Repeat("\x01é\"", 1000)
	r := auditlog.Record{
		Kind: auditlog.Operation, Phase: auditlog.Single, ID: huge, Request: huge, Tenant: huge, Principal: huge, Agent: huge, AgentType: huge,
		Operation: huge, Resource: huge, InputsDigest: huge, Token: huge, PolicyVersion: huge, Zookie: agentid.Zookie(huge), Reason: huge, Field: huge,
		Notes: map[string]string{},
	}
	for i := range 1000 {
		r.Lineage = append(r.Lineage, huge)
		r.Legs = append(r.Legs, auditlog.Leg{Name: huge, Outcome: huge})
		r.Constraints = append(r.Constraints, auditlog.Outcome{Field: huge, Kind: huge, Outcome: huge})
		r.Notes[fmt.Sprintf("%d%s", i, huge)] = huge
	}
	e, err := auditlog.Prepare(r, now)
	require.NoError(t, err)
	require.LessOrEqual(t, len(e.Encoded()), auditlog.MaxEncoded)
	got := e.Record()
	require.Len(t, got.Lineage, auditlog.MaxLineage)
	require.Len(t, got.Legs, auditlog.MaxLegs)
	require.Len(t, got.Constraints, auditlog.MaxOutcomes)
	require.Len(t, got.Notes, auditlog.MaxNotes)
	require.Equal(t, "truncated", got.Legs[auditlog.MaxLegs-1].Name)
	require.Len(t, r.Legs, 1000, "the caller's record is not touched")
	require.Equal(t, huge, r.Lineage[0])
	require.NotContains(t, string(e.Encoded()), "\n")
}

func TestTheEncodingIsCanonical(t *testing.T) {
	r := record("r", auditlog.Single)
	r.ID, r.Notes = "id", map[string]string{"b": "2", "a": "<1>&"}
	first, err := auditlog.Prepare(r, now)
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"id","time":"2026-11-01T12:00:00.123456Z","kind":"operation","phase":"single","request":"r",
		"tenant":"acme","agent":"agent:acme/a","decision":"deny","notes":{"a":"<1>&","b":"2"}}`, string(first.Encoded()))
	require.Contains(t, string(first.Encoded()), `{"a":"<1>&","b":"2"}`)
	for range 20 {
		again, err := auditlog.Prepare(r, now)
		require.NoError(t, err)
		require.Equal(t, first.Encoded(), again.Encoded())
	}
	back, err := auditlog.Decode(first.Encoded())
	require.NoError(t, err)
	require.Equal(t, first.Record(), back)
	js, err := json.Marshal(back)
	require.NoError(t, err)
	require.JSONEq(t, string(first.Encoded()), string(js))
}

func TestFinishUnknownEscapesOnce(t *testing.T) {
	r := record("r", auditlog.Begin)
	r.Resource = "a\nb"
	begin, err := auditlog.Prepare(r, now)
	require.NoError(t, err)
	finish, err := auditlog.FinishUnknown(begin.Record(), now.Add(time.Minute))
	require.NoError(t, err)
	got := finish.Record()
	require.Equal(t, `a\x0ab`, got.Resource)
	require.Equal(t, auditlog.Finish, got.Phase)
	require.Equal(t, "outcome_unknown", got.Reason)
	require.NotEqual(t, begin.Record().ID, got.ID)
}

func TestOpenEntries(t *testing.T) {
	log, _ := open(t)
	ctx := t.Context()
	require.NoError(t, log.Append(ctx, true, record("r1", auditlog.Begin), record("r2", auditlog.Begin), record("r1", auditlog.Finish)))
	entries, err := log.Open(ctx, "acme")
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, "r2", entries[0].Request)
	none, err := log.Open(ctx, "beta")
	require.NoError(t, err)
	require.Empty(t, none)
	require.Error(t, log.Append(ctx, true, record("r2", auditlog.Begin)), "it is open already")
	size, err := log.Size(ctx)
	require.NoError(t, err)
	require.Equal(t, int64(3), size, "a refused append leaves no gap")
	require.NoError(t, log.Append(ctx, false, record("r3", auditlog.Single)))
	r, err := log.At(ctx, 4)
	require.NoError(t, err)
	require.Equal(t, int64(4), r.Seq)
	_, err = log.At(ctx, 5)
	require.Equal(t, agentid.KindNotFound, agentid.KindOf(err))
	leaves, err := log.Leaves(ctx, 2, 10)
	require.NoError(t, err)
	require.Len(t, leaves, 3)
}

func TestQuery(t *testing.T) {
	log, _ := open(t)
	ctx := t.Context()
	for i := range 25 {
		r := record(fmt.Sprintf("r%d", i), auditlog.Single)
		r.Agent = fmt.Sprintf("agent:acme/a%d", i%2)
		if i%5 == 0 {
			r.Tenant, r.Token, r.Kind, r.Principal = "beta", "tok", auditlog.Issue, "principal:beta/p"
		}
		require.NoError(t, log.Append(ctx, false, r))
	}
	count := func(q auditlog.Query) int {
		page, err := log.Query(ctx, q)
		require.NoError(t, err)
		return len(page.Records)
	}
	require.Equal(t, 25, count(auditlog.Query{}))
	require.Equal(t, 5, count(auditlog.Query{Tenant: "beta"}))
	require.Equal(t, 5, count(auditlog.Query{Token: "tok"}))
	require.Equal(t, 5, count(auditlog.Query{Principal: "principal:beta/p"}))
	require.Equal(t, 5, count(auditlog.Query{Kind: auditlog.Issue}))
	require.Equal(t, 1, count(auditlog.Query{Request: "r3"}))
	require.Equal(t, 10, count(auditlog.Query{Agent: "agent:acme/a1", Tenant: "acme"}))
	require.Equal(t, 0, count(auditlog.Query{Tenant: "beta' OR '1'='1"}))
	require.Equal(t, 0, count(auditlog.Query{Kind: "issue' --"}))

	var seqs []int64
	q := auditlog.Query{Tenant: "acme", Limit: 7, Newest: true}
	for {
		page, err := log.Query(ctx, q)
		require.NoError(t, err)
		for _, r := range page.Records {
			seqs = append(seqs, r.Seq)
		}
		if page.Next == "" {
			break
		}
		q.After, err = auditlog.ParseCursor(page.Next)
		require.NoError(t, err)
	}
	require.Len(t, seqs, 20)
	for i := 1; i < len(seqs); i++ {
		require.Less(t, seqs[i], seqs[i-1])
	}
	for _, bad := range []auditlog.Query{{Limit: -1}, {Limit: auditlog.MaxLimit + 1}, {After: -1}} {
		_, err := log.Query(ctx, bad)
		require.Equal(t, agentid.KindInvalid, agentid.KindOf(err))
	}
}

func TestForgedCursorsAreRefused(t *testing.T) {
	for _, c := range []string{"", "1", "s", "s-1", "s+1", "s01", "s1 ", "s1;DROP TABLE audit", "s9223372036854775808", "S1", "s1.0", "s0x1", "s1'"} {
		_, err := auditlog.ParseCursor(c)
		require.Equal(t, agentid.KindInvalid, agentid.KindOf(err), c)
	}
	n, err := auditlog.ParseCursor("s42")
	require.NoError(t, err)
	require.Equal(t, int64(42), n)
}

// TestTailMissesNothing follows the log while eight writers append to it, durable and
// relaxed, and sees every record once and in order.
func TestTailMissesNothing(t *testing.T) {
	log, db := open(t)
	const writers, each = 8, 50
	var wg sync.WaitGroup
	require.NoError(t, log.Append(t.Context(), true, record("before", auditlog.Single)))
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := log.Append(t.Context(), i%2 == 0, record(fmt.Sprintf("w%d-%d", w, i), auditlog.Single)); err != nil {
					t.Error(err)
				}
				_ = db.Write(t.Context(), func(tx *sqlitedb.Tx) error { // taken back: never seen
					e, _ := auditlog.Prepare(record("never", auditlog.Single), now)
					_, _ = log.Add(t.Context(), tx, e)
					return context.Canceled
				})
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	next := int64(1)
	require.NoError(t, log.Tail(ctx, auditlog.Query{Tenant: "acme", Limit: 3}, func(r auditlog.Record) error {
		if r.Seq != next || r.Request == "never" {
			return fmt.Errorf("got %d (%s), want %d", r.Seq, r.Request, next)
		}
		if next++; next > writers*each+1 {
			cancel()
		}
		return nil
	}))
	wg.Wait()
	require.Equal(t, int64(writers*each+2), next)
	err := log.Tail(t.Context(), auditlog.Query{}, func(auditlog.Record) error { return context.DeadlineExceeded })
	require.ErrorIs(t, err, context.DeadlineExceeded, "the caller's error ends it")
}
