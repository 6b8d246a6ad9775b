package auditlog

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// recover brings into the database what a crash left in the files. A record that is there
// already, because the crash came between its commit and the emptying of its file, is left
// out; half a record at the end was never promised to anyone.
func (j *journal) recover(ctx context.Context) error {
	var found []Entry
	for _, f := range j.files {
		entries, err := readFrames(f)
		if err != nil {
			return err
		}
		found = append(found, entries...)
	}
	slices.SortStableFunc(found, func(a, b Entry) int { return a.record.Time.Compare(b.record.Time) })
	if len(found) > 0 {
		if err := j.db.Write(ctx, func(tx *sqlitedb.Tx) error {
			missing, err := absent(ctx, tx, found)
			if err != nil {
				return err
			}
			return j.add(ctx, tx, missing)
		}); err != nil {
			return fmt.Errorf("auditlog: recover the journal: %w", err)
		}
	}
	return j.clear(0, true)
}

// readFrames reads records up to the first that is torn.
func readFrames(f *os.File) ([]Entry, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("auditlog: journal: %w", err)
	}
	var out []Entry
	r := bufio.NewReader(f)
	for {
		var head [frameHead]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return out, endOrError(err)
		}
		n := binary.BigEndian.Uint32(head[:])
		if n == 0 || n > MaxEncoded {
			return out, nil
		}
		encoded := make([]byte, n)
		if _, err := io.ReadFull(r, encoded); err != nil {
			return out, endOrError(err)
		}
		if crc32.ChecksumIEEE(encoded) != binary.BigEndian.Uint32(head[4:]) {
			return out, nil
		}
		record, err := Decode(encoded)
		if err != nil {
			return nil, fmt.Errorf("auditlog: journal: %w", err)
		}
		out = append(out, Entry{record: record, encoded: encoded})
	}
}

func endOrError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return fmt.Errorf("auditlog: journal: %w", err)
}

const (
	isThere = `SELECT count(*) FROM audit WHERE request = ? AND request <> '' AND record = ?`
	// isAmong looks through more than two journals can hold, for a record of no request.
	isAmong = `SELECT count(*) FROM audit WHERE seq > (SELECT max(seq) FROM audit) - 20000 AND record = ?`
)

// absent are the entries that the log does not hold.
func absent(ctx context.Context, tx *sqlitedb.Tx, entries []Entry) ([]Entry, error) {
	var out []Entry
	for _, e := range entries {
		row := tx.QueryRow(ctx, isThere, e.record.Request, e.encoded)
		if e.record.Request == "" {
			row = tx.QueryRow(ctx, isAmong, e.encoded)
		}
		var n int
		if err := row.Scan(&n); err != nil {
			return nil, fmt.Errorf("auditlog: journal: %w", err)
		}
		if n == 0 {
			out = append(out, e)
		}
	}
	return out, nil
}

// together is how many rows one statement inserts: each statement has a price of its own.
const together = 16

var (
	insertRows     = insertRow + strings.Repeat(`,(?,?,?,?,?,?,?,?)`, together-1)
	columnsPerItem = strings.Count(insertRow, "?")
)

// addSingles appends entries that neither open nor finish anything.
func (l *Log) addSingles(ctx context.Context, tx *sqlitedb.Tx, entries []Entry) error {
	for len(entries) >= together {
		args := make([]any, 0, together*columnsPerItem)
		for i := range together {
			r := &entries[i].record
			args = append(args, r.Request, r.Tenant, r.Principal, r.Agent, r.Token, string(r.Kind), string(r.Phase), entries[i].encoded)
		}
		if _, err := tx.Exec(ctx, insertRows, args...); err != nil {
			return fmt.Errorf("auditlog: append: %w", err)
		}
		entries = entries[together:]
		tx.OnCommit(l.wake)
	}
	_, err := l.Add(ctx, tx, entries...)
	return err
}
