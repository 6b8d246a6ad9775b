package auditlog

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"math"
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
	s, err := l.search(ctx, q)
	if err != nil {
		return Page{}, err
	}
	page := Page{Records: s.found, End: max(q.After, s.end)}
	if len(s.found) > q.Limit {
		page.Records = s.found[:q.Limit]
		page.Next = formatCursor(page.Records[q.Limit-1].Seq)
		page.End = page.Records[q.Limit-1].Seq
	}
	return page, nil
}

// Open lists begins without a finish, oldest first, of one tenant or of all ("").
func (l *Log) Open(ctx context.Context, tenant string) ([]Record, error) {
	var all []Record
	err := l.rows(ctx, `SELECT a.seq, a.n, a.record FROM audit_open o JOIN audit a ON a.seq = o.seq ORDER BY a.seq`, nil, false,
		func(seq int64, encoded []byte) (bool, error) {
			r, err := decodeAt(seq, encoded)
			if err == nil && (tenant == "" || r.Tenant == tenant) {
				all = append(all, r)
			}
			return true, err
		})
	return all, err
}

// At is the record at a position: KindNotFound audit_record_unknown past the end.
func (l *Log) At(ctx context.Context, seq int64) (Record, error) {
	var found *Record
	err := l.between(ctx, seq, seq+1, false, func(at int64, encoded []byte) (bool, error) {
		r, err := decodeAt(at, encoded)
		found = &r
		return false, err
	})
	switch {
	case err != nil:
		return Record{}, err
	case found == nil:
		return Record{}, agentid.Errorf(agentid.KindNotFound, "audit_record_unknown", "there is no such record")
	}
	return *found, nil
}

// Size is the number of records: the Seq of the last one.
func (l *Log) Size(ctx context.Context) (int64, error) {
	_ = l.Flush(ctx) // as in Query
	return l.size(ctx)
}

func (l *Log) size(ctx context.Context) (int64, error) {
	var n int64
	err := l.db.Readers().QueryRowContext(ctx, `SELECT seq + n - 1 FROM audit ORDER BY seq DESC LIMIT 1`).Scan(&n)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, unavailable(err)
	}
	return n, nil
}

// Leaves are the canonical bytes of the records from position `from` on, in order.
func (l *Log) Leaves(ctx context.Context, from int64, limit int) (leaves [][]byte, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = l.between(ctx, from, math.MaxInt64, false, func(_ int64, encoded []byte) (bool, error) {
		leaves = append(leaves, bytes.Clone(encoded))
		return len(leaves) < limit, nil
	})
	return leaves, err
}

func unavailable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return agentid.Unavailable("audit_unavailable", err)
}
