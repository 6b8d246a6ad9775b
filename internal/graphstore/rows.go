package graphstore

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	core "github.com/authzed/spicedb/pkg/proto/core/v1"
	"github.com/authzed/spicedb/pkg/tuple"
)

// The page queries: rows that live at a revision and have not expired, in key
// order. An expiry bound of 0 lets expired rows through. The plus before expires
// keeps the planner from weighing the partial index on it, and there is no LIMIT,
// because each would make SQLite prepare the statement again at every use; rows
// come one by one, and the reader stops. A query of several
// ranges joins them in the order given, one search each; what a range costs beyond
// its search (locks, binding, a result set) it then pays only once.
const (
	rowLives = `deleted > ? AND created <= ? AND (+expires = 0 OR +expires > ?)`

	fewArms  = 4
	manyArms = 40 // the agents of the deepest lineage at once
)

// armSizes are the numbers of ranges that there is a query for.
var armSizes = [...]int{1, fewArms, 8, 16, manyArms}

var pageQueries = map[direction]map[int]string{
	byResource: pagesOf("forward"),
	bySubject:  pagesOf("reverse"),
}

func pagesOf(table string) map[int]string {
	pages := map[int]string{1: onePage(table)}
	for _, arms := range armSizes[1:] {
		pages[arms] = joinedPage(table, arms)
	}
	return pages
}

func onePage(table string) string {
	return `SELECT k, expires, caveat FROM ` + table + ` WHERE k >= ? AND k < ? AND ` + rowLives + ` ORDER BY k`
}

func joinedPage(table string, arms int) string {
	return `WITH r(lo, hi) AS (VALUES (?, ?)` + strings.Repeat(`, (?, ?)`, arms-1) + `) SELECT k, expires, caveat FROM r CROSS JOIN ` +
		table + ` WHERE k >= lo AND k < hi AND ` + rowLives
}

// Page sizes: the first is small, because most queries of a check find few rows.
const (
	firstPage = 64
	nextPage  = 1024
)

// row is a stored relationship.
type row struct {
	key     string
	expires int64
	caveat  []byte
}

// page reads up to limit rows of at most manyArms ranges.
func page(ctx context.Context, q querier, d direction, ranges []keyRange, rev, now int64, limit int, rows []row) ([]row, error) {
	fits, _ := slices.BinarySearch(armSizes[:], len(ranges))
	arms := armSizes[fits]
	args := make([]any, 0, 2*arms+3)
	for _, r := range ranges {
		args = append(args, r.lo, r.hi)
	}
	for len(args) < 2*arms {
		args = append(args, nil) // an empty range
	}
	args = append(args, rev, rev, now)
	err := q.query(ctx, pageQueries[d][arms], args, 3, func(v []driver.Value) error {
		rows = append(rows, row{asText(v[0]), asInt(v[1]), asBytes(v[2])})
		if len(rows) >= limit {
			return errStop
		}
		return nil
	})
	return rows, err
}

// relationship decodes the row.
func (r *row) relationship(d direction) (tuple.Relationship, error) {
	var rel tuple.Relationship
	if err := parseKey(d, r.key, &rel); err != nil {
		return rel, err
	}
	if r.expires != 0 {
		at := time.UnixMicro(r.expires).UTC()
		rel.OptionalExpiration = &at
	}
	if r.caveat != nil {
		c, err := decodeCaveat(r.caveat)
		if err != nil {
			return rel, err
		}
		rel.OptionalCaveat = c
	}
	return rel, nil
}

// A caveat is stored as its name, a zero byte, and its context as a protobuf Struct.
func encodeCaveat(c *core.ContextualizedCaveat) ([]byte, error) {
	if c == nil || c.CaveatName == "" {
		return nil, nil
	}
	if bytes.IndexByte([]byte(c.CaveatName), 0) >= 0 {
		return nil, errors.New("graphstore: a caveat's name holds a zero byte")
	}
	out := append([]byte(c.CaveatName), 0)
	out, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(out, c.Context)
	if err != nil {
		return nil, fmt.Errorf("graphstore: encode caveat context: %w", err)
	}
	return out, nil
}

func decodeCaveat(b []byte) (*core.ContextualizedCaveat, error) {
	name, data, ok := bytes.Cut(b, []byte{0})
	if !ok {
		return nil, errors.New("graphstore: damaged caveat")
	}
	values := &structpb.Struct{}
	if err := proto.Unmarshal(data, values); err != nil {
		return nil, fmt.Errorf("graphstore: damaged caveat context: %w", err)
	}
	return &core.ContextualizedCaveat{CaveatName: string(name), Context: values}, nil
}

// encodeExpiry cuts to whole microseconds, so a relationship never outlives its expiry.
func encodeExpiry(at *time.Time) int64 {
	if at == nil {
		return 0
	}
	return max(1, at.UnixMicro()) // 0 means never
}
