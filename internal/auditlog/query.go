package auditlog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/agentid-dev/agentid"
)

// Page sizes.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// Query selects records. Empty fields select all. Texts are compared exactly with what
// was recorded, ids in the text form of agentid.Ref.
type Query struct {
	Tenant, Principal, Agent, Token, Request string
	Kind                                     Kind
	// After is the position that the page begins behind, from a Cursor or a record's
	// Seq. With Newest it begins before it.
	After int64
	// Newest gives the newest first.
	Newest bool
	Limit  int // default 100, at most 1000
}

// Page is one part of an answer.
type Page struct {
	Records []Record
	Next    string // the cursor of the next page; empty at the end
	End     int64  // the position that the page goes up to
}

// ParseCursor reads a Page's Next into a Query's After. Anything else is KindInvalid.
func ParseCursor(cursor string) (int64, error) {
	digits, ok := strings.CutPrefix(cursor, "s")
	n, err := strconv.ParseUint(digits, 10, 63)
	if !ok || err != nil || formatCursor(int64(n)) != cursor {
		return 0, agentid.Invalidf("cursor", "is not one that this log gave")
	}
	return int64(n), nil
}

func formatCursor(seq int64) string { return "s" + strconv.FormatInt(seq, 10) }

// Query reads one page of the log, in order of Seq.
func (l *Log) Query(ctx context.Context, q Query) (Page, error) {
	if q.Limit == 0 {
		q.Limit = DefaultLimit
	}
	if q.Limit < 0 || q.Limit > MaxLimit || q.After < 0 {
		return Page{}, agentid.Invalidf("limit", "want 1 to %d, and a position of 0 or more", MaxLimit)
	}
	_ = l.Flush(ctx) // what the disk does not take cannot be shown yet; what is there can
	text, args := q.sql()
	records, err := l.read(ctx, text, args...)
	if err != nil {
		return Page{}, err
	}
	page := Page{Records: records, End: q.After}
	if len(records) > q.Limit {
		page.Records = records[:q.Limit]
		page.Next = formatCursor(page.Records[q.Limit-1].Seq)
	}
	if n := len(page.Records); n > 0 {
		page.End = page.Records[n-1].Seq
	}
	return page, nil
}

// sql composes constant parts only; every value is bound. The most selective filter
// chooses the index; a plus keeps the others from it.
func (q Query) sql() (string, []any) {
	var b strings.Builder
	b.WriteString(`SELECT seq, record FROM audit WHERE 1`)
	var args []any
	for _, f := range []struct{ choosing, other, value string }{
		{` AND request = ? AND request <> ''`, ``, q.Request},
		{` AND token = ? AND token <> ''`, ` AND +token = ?`, q.Token},
		{` AND agent = ? AND agent <> ''`, ` AND +agent = ?`, q.Agent},
		{` AND principal = ? AND principal <> ''`, ` AND +principal = ?`, q.Principal},
		{` AND tenant = ? AND tenant <> ''`, ` AND +tenant = ?`, q.Tenant},
		{` AND +kind = ?`, ` AND +kind = ?`, string(q.Kind)},
	} {
		if f.value == "" {
			continue
		}
		where := f.choosing
		if len(args) > 0 {
			where = f.other
		}
		b.WriteString(where)
		args = append(args, f.value)
	}
	switch {
	case q.Newest && q.After > 0:
		b.WriteString(` AND seq < ? ORDER BY seq DESC LIMIT ?`)
		args = append(args, q.After)
	case q.Newest:
		b.WriteString(` ORDER BY seq DESC LIMIT ?`)
	default:
		b.WriteString(` AND seq > ? ORDER BY seq LIMIT ?`)
		args = append(args, q.After)
	}
	return b.String(), append(args, q.Limit+1)
}

// Open lists begins without a finish, oldest first, of one tenant or of all ("").
func (l *Log) Open(ctx context.Context, tenant string) ([]Record, error) {
	return l.read(ctx, `SELECT a.seq, a.record FROM audit_open o JOIN audit a ON a.seq = o.seq
		WHERE ? = '' OR a.tenant = ? ORDER BY a.seq`, tenant, tenant)
}

// At is the record at a position: KindNotFound audit_record_unknown past the end.
func (l *Log) At(ctx context.Context, seq int64) (Record, error) {
	records, err := l.read(ctx, `SELECT seq, record FROM audit WHERE seq = ?`, seq)
	if err == nil && len(records) == 0 {
		err = agentid.Errorf(agentid.KindNotFound, "audit_record_unknown", "there is no such record")
	}
	if err != nil {
		return Record{}, err
	}
	return records[0], nil
}

// Size is the number of records: the Seq of the last one.
func (l *Log) Size(ctx context.Context) (int64, error) {
	_ = l.Flush(ctx) // as in Query
	var n sql.NullInt64
	if err := l.db.Readers().QueryRowContext(ctx, `SELECT max(seq) FROM audit`).Scan(&n); err != nil {
		return 0, unavailable(err)
	}
	return n.Int64, nil
}

// Leaves are the canonical bytes of the records from position `from` on, in order.
func (l *Log) Leaves(ctx context.Context, from int64, limit int) (leaves [][]byte, err error) {
	rows, err := l.db.Readers().QueryContext(ctx, `SELECT record FROM audit WHERE seq >= ? ORDER BY seq LIMIT ?`, from, limit)
	if err != nil {
		return nil, unavailable(err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return nil, unavailable(err)
		}
		leaves = append(leaves, b)
	}
	return leaves, rows.Err()
}

func (l *Log) read(ctx context.Context, text string, args ...any) (records []Record, err error) {
	rows, err := l.db.Readers().QueryContext(ctx, text, args...)
	if err != nil {
		return nil, unavailable(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var seq int64
		var encoded sql.RawBytes
		if err := rows.Scan(&seq, &encoded); err != nil {
			return nil, unavailable(err)
		}
		r, err := Decode(encoded)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", seq, err)
		}
		r.Seq = seq
		records = append(records, r)
	}
	if err := rows.Err(); err != nil {
		return nil, unavailable(err)
	}
	return records, nil
}

func unavailable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return agentid.Unavailable("audit_unavailable", err)
}
