package auditlog

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
)

// search is one walk through the log for a query: over the stretches that hold all of its
// keys, in order, until there are enough records.
type search struct {
	q     Query
	need  []need
	found []Record
	end   int64 // everything up to here was looked at; 0 when going backwards or stopped early
}

// need is one filter.
type need struct {
	key
	text []byte // what the canonical bytes of a record with this value hold
	of   func(*Record) string
}

// search looks for one record more than the page has, which tells whether there are more.
func (l *Log) search(ctx context.Context, q Query) (*search, error) {
	s := &search{q: q, need: q.needs()}
	size, err := l.size(ctx)
	if err != nil {
		return nil, err
	}
	from, to := q.After+1, size+1
	if q.Newest {
		from = 1
		if q.After > 0 {
			to = min(to, q.After)
		}
	}
	if q.Request != "" {
		err = l.eachOfRequest(ctx, s, from, to)
	} else {
		err = l.eachStretch(ctx, s, from, to)
	}
	if len(s.found) <= q.Limit && !q.Newest {
		s.end = size
	}
	return s, err
}

func (q Query) needs() []need {
	var all []need
	for _, n := range []need{
		{key: key{fieldTenant, q.Tenant}, text: []byte(`"tenant":`), of: func(r *Record) string { return r.Tenant }},
		{key: key{fieldPrincipal, q.Principal}, text: []byte(`"principal":`), of: func(r *Record) string { return r.Principal }},
		{key: key{fieldAgent, q.Agent}, text: []byte(`"agent":`), of: func(r *Record) string { return r.Agent }},
		{key: key{fieldToken, q.Token}, text: []byte(`"token":`), of: func(r *Record) string { return r.Token }},
		{key: key{fieldKind, string(q.Kind)}, text: []byte(`"kind":`), of: func(r *Record) string { return string(r.Kind) }},
		{key: key{value: q.Request}, text: []byte(`"request":`), of: func(r *Record) string { return r.Request }},
	} {
		if n.value != "" {
			e := encoder{b: n.text}
			e.string(n.value)
			n.text = e.b
			all = append(all, n)
		}
	}
	return all
}

// take looks at one record; false ends the search.
func (s *search) take(seq int64, encoded []byte) (bool, error) {
	for _, n := range s.need {
		if !bytes.Contains(encoded, n.text) { // decoding is dear
			return true, nil
		}
	}
	r, err := decodeAt(seq, encoded)
	if err != nil {
		return false, err
	}
	for _, n := range s.need {
		if n.of(&r) != n.value {
			return true, nil
		}
	}
	s.found = append(s.found, r)
	return len(s.found) <= s.q.Limit, nil
}

func (s *search) full() bool { return len(s.found) > s.q.Limit }

// eachOfRequest looks at the records of the query's request.
func (l *Log) eachOfRequest(ctx context.Context, s *search, from, to int64) error {
	seqs, err := l.numbers(ctx, `SELECT seq FROM audit_request WHERE request = ? AND seq >= ? AND seq < ? ORDER BY seq`, s.q.Request, from, to)
	if s.q.Newest {
		slices.Reverse(seqs)
	}
	for _, seq := range seqs {
		if err != nil || s.full() {
			break
		}
		err = l.between(ctx, seq, seq+1, false, s.take)
	}
	return err
}

// eachStretch looks at the positions of [from, to) in those stretches that hold every key.
func (l *Log) eachStretch(ctx context.Context, s *search, from, to int64) error {
	if len(s.need) == 0 {
		return l.between(ctx, from, to, s.q.Newest, s.take)
	}
	const together = 64 // stretches that are asked for at once
	for from < to && !s.full() {
		text, args := s.stretches(from/stretch, (to-1)/stretch, together)
		all, err := l.numbers(ctx, text, args...)
		if err != nil {
			return err
		}
		for _, at := range all {
			if err := l.between(ctx, max(from, at*stretch), min(to, (at+1)*stretch), s.q.Newest, s.take); err != nil || s.full() {
				return err
			}
		}
		switch {
		case len(all) < together:
			return nil
		case s.q.Newest:
			to = all[len(all)-1] * stretch
		default:
			from = (all[len(all)-1] + 1) * stretch
		}
	}
	return nil
}

// stretches composes constant parts only; every value is bound.
func (s *search) stretches(first, last int64, limit int) (string, []any) {
	var b strings.Builder
	b.WriteString(`SELECT k.stretch FROM audit_key k WHERE k.field = ? AND k.value = ? AND k.stretch BETWEEN ? AND ?`)
	// The field with the most values first: it has the fewest stretches.
	n := slices.Clone(s.need)
	slices.SortFunc(n, func(a, b need) int { return rarity(b.field) - rarity(a.field) })
	args := []any{n[0].field, n[0].value, first, last}
	for _, other := range n[1:] {
		b.WriteString(` AND EXISTS (SELECT 1 FROM audit_key o WHERE o.field = ? AND o.value = ? AND o.stretch = k.stretch)`)
		args = append(args, other.field, other.value)
	}
	b.WriteString(` ORDER BY k.stretch`)
	if s.q.Newest {
		b.WriteString(` DESC`)
	}
	b.WriteString(` LIMIT ?`)
	return b.String(), append(args, limit)
}

// rarity orders fields by how few records share a value.
func rarity(f field) int {
	return map[field]int{fieldToken: 5, fieldAgent: 4, fieldPrincipal: 3, fieldKind: 2, fieldTenant: 1}[f]
}

// between calls fn for the records at [from, to), until it says false.
func (l *Log) between(ctx context.Context, from, to int64, newest bool, fn func(seq int64, encoded []byte) (bool, error)) error {
	text := `SELECT seq, n, record FROM audit WHERE seq > ? AND seq < ? ORDER BY seq`
	if newest {
		text += ` DESC`
	}
	// A row may begin before what it holds.
	return l.rows(ctx, text, []any{from - maxBlock, to}, newest, func(seq int64, encoded []byte) (bool, error) {
		if seq < from || seq >= to {
			return true, nil
		}
		return fn(seq, encoded)
	})
}

// rows calls fn for each record of the rows that a query gives, until it says false.
func (l *Log) rows(ctx context.Context, text string, args []any, backwards bool, fn func(seq int64, encoded []byte) (bool, error)) error {
	rows, err := l.db.Readers().QueryContext(ctx, text, args...)
	if err != nil {
		return unavailable(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var seq, n int64
		var packed []byte
		if err := rows.Scan(&seq, &n, &packed); err != nil {
			return unavailable(err)
		}
		all, err := unpack(n, packed)
		if err != nil {
			return unavailable(err)
		}
		for i := range all {
			if backwards {
				i = len(all) - 1 - i
			}
			if more, err := fn(seq+int64(i), all[i]); err != nil || !more {
				return err
			}
		}
	}
	if err := rows.Err(); err != nil {
		return unavailable(err)
	}
	return nil
}

// numbers is a query's one column.
func (l *Log) numbers(ctx context.Context, text string, args ...any) (all []int64, err error) {
	rows, err := l.db.Readers().QueryContext(ctx, text, args...)
	if err != nil {
		return nil, unavailable(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, unavailable(err)
		}
		all = append(all, n)
	}
	if err := rows.Err(); err != nil {
		return nil, unavailable(err)
	}
	return all, nil
}

func decodeAt(seq int64, encoded []byte) (Record, error) {
	r, err := Decode(encoded)
	if err != nil {
		return Record{}, fmt.Errorf("record %d: %w", seq, err)
	}
	r.Seq = seq
	return r, nil
}
