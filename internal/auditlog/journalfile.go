package auditlog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"

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
	missing, err := j.log.absent(ctx, found)
	if err == nil && len(missing) > 0 {
		err = j.log.db.Write(ctx, func(tx *sqlitedb.Tx) error { return j.log.addSingles(ctx, tx, missing) })
	}
	if err != nil {
		return fmt.Errorf("auditlog: recover the journal: %w", err)
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
		framed := make([]byte, frameHead+int(n))
		encoded := framed[frameHead:]
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
		out = append(out, Entry{record: record, framed: framed})
	}
}

func endOrError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return fmt.Errorf("auditlog: journal: %w", err)
}

// absent are the entries that the log does not hold. One that it holds is found by its
// request or, without one, among the newest: more of them than two files can hold.
func (l *Log) absent(ctx context.Context, entries []Entry) ([]Entry, error) {
	const newest = 20_000
	var recent map[string]struct{} // read when it is needed
	var out []Entry
	for _, e := range entries {
		there := false
		same := func(_ int64, encoded []byte) (bool, error) {
			there = there || bytes.Equal(encoded, e.Encoded())
			return !there, nil
		}
		switch request := e.record.Request; {
		case request != "":
			seqs, err := l.numbers(ctx, `SELECT seq FROM audit_request WHERE request = ?`, request)
			if err != nil {
				return nil, err
			}
			for _, seq := range seqs {
				if err := l.between(ctx, seq, seq+1, false, same); err != nil {
					return nil, err
				}
			}
		case recent == nil:
			size, err := l.size(ctx)
			if err != nil {
				return nil, err
			}
			recent = map[string]struct{}{}
			if err := l.between(ctx, size-newest, size+1, false, func(_ int64, encoded []byte) (bool, error) {
				recent[string(encoded)] = struct{}{}
				return true, nil
			}); err != nil {
				return nil, err
			}
			fallthrough
		default:
			_, there = recent[string(e.Encoded())]
		}
		if !there {
			out = append(out, e)
		}
	}
	return out, nil
}
