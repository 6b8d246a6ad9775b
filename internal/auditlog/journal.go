package auditlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"time"

	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// A journal takes relaxed records on their way into the database: the operating system
// has each when append returns, in a file of its own, and a few milliseconds later all of
// them go into one durable transaction. Rows for reads cost a tenth of one transaction
// each that way, and what they promise stays: at the operating system before the response
// leaves, on disk within 10 ms.
//
// It has two files and writes them in turn. One is emptied when the transaction that
// holds its records is on disk; what a crash leaves in either is in the database after
// the next open, once.
type journal struct {
	db  *sqlitedb.DB
	add func(ctx context.Context, tx *sqlitedb.Tx, entries []Entry) error

	flushing sync.Mutex // one flush at a time

	mu      sync.Mutex // order of the files and of pending
	files   [2]*os.File
	current int
	pending []Entry // in the current file, and not in the database
	due     *time.Timer
	failed  error // of the last flush; nil once one succeeds
	closed  bool
	work    sync.WaitGroup
}

const (
	// flushDelay leaves half of the 10 ms to the transaction and its fsync.
	flushDelay = 5 * time.Millisecond
	// maxPending is what a stalled disk may pile up: beyond it an append waits for a flush.
	maxPending = 8192
	// frameHead is the length and the checksum before each record.
	frameHead = 8
)

// openJournal opens path+"-0" and path+"-1", and brings what a crash left in them into
// the database.
func openJournal(ctx context.Context, path string, db *sqlitedb.DB, add func(context.Context, *sqlitedb.Tx, []Entry) error) (*journal, error) {
	j := &journal{db: db, add: add}
	const ownerOnly = 0o600
	for i := range j.files {
		f, err := os.OpenFile(fmt.Sprintf("%s-%d", path, i), os.O_RDWR|os.O_CREATE, ownerOnly)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("auditlog: journal: %w", err), j.closeFiles())
		}
		j.files[i] = f
	}
	if err := j.recover(ctx); err != nil {
		return nil, errors.Join(err, j.closeFiles())
	}
	return j, nil
}

// append hands a record to the operating system. An error means that it is not in the
// log: the disk is full or failed, or an earlier record could not be brought in.
func (j *journal) append(ctx context.Context, e Entry) error {
	j.mu.Lock()
	if j.failed != nil || len(j.pending) >= maxPending {
		j.mu.Unlock()
		if err := j.flush(ctx); err != nil {
			return err
		}
		j.mu.Lock()
	}
	defer j.mu.Unlock()
	switch {
	case j.closed:
		return unavailable(sqlitedb.ErrClosed)
	case j.failed != nil: // again, meanwhile
		return j.failed
	}
	f := j.files[j.current]
	if _, err := f.Write(frame(e.encoded)); err != nil {
		j.failed = unavailable(err) // half of it may be there: the next flush empties both files
		return j.failed
	}
	j.pending = append(j.pending, e)
	if j.due == nil {
		j.work.Add(1)
		j.due = time.AfterFunc(flushDelay, func() {
			defer j.work.Done()
			_ = j.flush(context.Background()) // kept in failed
		})
	}
	return nil
}

func frame(encoded []byte) []byte {
	out := make([]byte, frameHead, frameHead+len(encoded))
	binary.BigEndian.PutUint32(out, uint32(len(encoded)))
	binary.BigEndian.PutUint32(out[4:], crc32.ChecksumIEEE(encoded))
	return append(out, encoded...)
}

// flush brings everything that was appended before it into the database, on disk. After
// an error the records stay, here and in their files, and go first the next time; until
// then nothing more is taken.
func (j *journal) flush(ctx context.Context) error {
	j.flushing.Lock()
	defer j.flushing.Unlock()
	batch, full, again := j.begin()
	if len(batch) == 0 && !again {
		return nil
	}
	err := j.db.Write(context.WithoutCancel(ctx), func(tx *sqlitedb.Tx) error { return j.add(ctx, tx, batch) })
	stored := err == nil
	if stored {
		err = j.clear(full, again)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case err == nil && again:
		j.pending, j.failed = nil, nil
	case err != nil:
		j.failed = err
		if !stored && !again { // both files hold records now
			j.pending = append(batch, j.pending...)
		} else if stored && again {
			j.pending = nil
		}
	}
	return err
}

// begin takes what is pending and turns to the other file. After a failure it turns to
// none: nothing was appended since.
func (j *journal) begin() (batch []Entry, full int, again bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.due != nil && j.due.Stop() {
		j.work.Done()
	}
	j.due = nil
	batch, full, again = j.pending, j.current, j.failed != nil
	if !again && len(batch) > 0 {
		j.pending, j.current = nil, 1-j.current
	}
	return batch, full, again
}

// clear empties the file that was brought in, or both.
func (j *journal) clear(full int, both bool) error {
	if both {
		return errors.Join(empty(j.files[0]), empty(j.files[1]))
	}
	return empty(j.files[full])
}

// empty takes the records of a file away: the database has them on disk.
func empty(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return unavailable(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return unavailable(err)
	}
	return nil
}

// close flushes and closes. Records that cannot be brought in stay in the files.
func (j *journal) close() error {
	err := j.flush(context.Background())
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.work.Wait()
	return errors.Join(err, j.flush(context.Background()), j.closeFiles())
}

func (j *journal) closeFiles() error {
	var all []error
	for _, f := range j.files {
		if f != nil {
			all = append(all, f.Close())
		}
	}
	return errors.Join(all...)
}
