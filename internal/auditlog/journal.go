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
// has each when append returns, in a file of its own; a few milliseconds later the file is
// synced; and once a second, or for a query, all of them go into one durable transaction,
// many to a row. A record costs a small part of a transaction of its own that way, and
// what is promised stays: at the operating system before the response leaves, on disk
// within 10 ms.
//
// It has two files and writes them in turn. One is emptied when the transaction that
// holds its records is on disk; what a crash leaves in either is in the database after
// the next open, once.
type journal struct {
	log *Log

	absorbing sync.Mutex // one flush at a time

	mu       sync.Mutex // order of the files and of pending
	files    [2]*os.File
	current  int
	pending  []Entry // in the current file, and not in the database
	unsynced bool    // the current file has records that are not on disk
	failed   error   // of the last sync or flush; nil once a flush succeeds
	closed   bool

	dirty chan struct{} // the file has something to sync
	kept  chan struct{} // something waits for the database
	full  chan struct{} // so much that it should not wait
	stop  chan struct{}
	work  sync.WaitGroup
}

const (
	// syncDelay leaves the rest of the 10 ms to the sync.
	syncDelay = 6 * time.Millisecond
	// absorbDelay is how long records wait in the journal to share rows and a transaction.
	absorbDelay = time.Second
	// absorbAt is how many records wait for no longer.
	absorbAt = 4096
	// maxPending is what a stalled database may pile up: beyond it an append waits for a flush.
	maxPending = 4 * absorbAt
	// frameHead is the length and the checksum before each record.
	frameHead = 8
)

// openJournal opens path+"-0" and path+"-1", and brings what a crash left in them into
// the database.
func openJournal(ctx context.Context, path string, l *Log) (*journal, error) {
	signal := func() chan struct{} { return make(chan struct{}, 1) }
	j := &journal{log: l, dirty: signal(), kept: signal(), full: signal(), stop: make(chan struct{})}
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
	j.work.Go(j.syncs)
	j.work.Go(j.absorbs)
	return j, nil
}

// append hands records to the operating system, together. An error means that none is in
// the log: the disk is full or failed, or an earlier record could not be brought in.
func (j *journal) append(ctx context.Context, entries ...Entry) error {
	framed := frames(entries)
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
	if _, err := j.files[j.current].Write(framed); err != nil {
		j.failed = unavailable(err) // half of it may be there: the next flush empties both files
		return j.failed
	}
	before := len(j.pending)
	j.pending = append(j.pending, entries...)
	if !j.unsynced {
		j.unsynced = true
		tell(j.dirty)
	}
	if before == 0 {
		tell(j.kept)
	}
	if before < absorbAt && len(j.pending) >= absorbAt {
		tell(j.full)
	}
	return nil
}

// frames is what the file gets: each record after its length and its checksum.
func frames(entries []Entry) []byte {
	size := 0
	for _, e := range entries {
		sum := e.framed[:frameHead]
		binary.BigEndian.PutUint32(sum, uint32(len(e.Encoded())))
		binary.BigEndian.PutUint32(sum[4:], crc32.ChecksumIEEE(e.Encoded()))
		size += len(e.framed)
	}
	if len(entries) == 1 {
		return entries[0].framed
	}
	all := make([]byte, 0, size)
	for _, e := range entries {
		all = append(all, e.framed...)
	}
	return all
}

func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wait reports false when the journal stops.
func (j *journal) wait(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-j.stop:
		return false
	}
}

// syncs brings the current file to disk a moment after it was written.
func (j *journal) syncs() {
	for j.wait(j.dirty) {
		select {
		case <-time.After(syncDelay):
		case <-j.stop: // close brings the rest in
			return
		}
		j.mu.Lock()
		f, due := j.files[j.current], j.unsynced
		j.unsynced = false
		j.mu.Unlock()
		if !due {
			continue
		}
		if err := onDisk(f); err != nil {
			j.mu.Lock()
			j.failed = err
			j.mu.Unlock()
		}
		j.log.wake() // who follows the log has something to ask for
	}
}

// absorbs brings records into the database, many at a time.
func (j *journal) absorbs() {
	for j.wait(j.kept) {
		select {
		case <-time.After(absorbDelay):
		case <-j.full:
		case <-j.stop:
			return
		}
		_ = j.flush(context.Background()) // kept in failed
	}
}

// flush brings everything that was appended before it into the database, on disk. After
// an error the records stay, here and in their files, and go first the next time; until
// then nothing more is taken.
func (j *journal) flush(ctx context.Context) error {
	j.absorbing.Lock()
	defer j.absorbing.Unlock()
	batch, full, unsynced, again := j.begin()
	if len(batch) == 0 && !again {
		return nil
	}
	err := j.absorb(context.WithoutCancel(ctx), batch, full, unsynced)
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
func (j *journal) begin() (batch []Entry, full int, unsynced, again bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	batch, full, unsynced, again = j.pending, j.current, j.unsynced, j.failed != nil
	if !again && len(batch) > 0 {
		j.pending, j.current, j.unsynced = nil, 1-j.current, false
	}
	return batch, full, unsynced, again
}

// absorb commits a batch. Its file is synced first where that is due: a large transaction
// may take longer than what was promised.
func (j *journal) absorb(ctx context.Context, batch []Entry, full int, unsynced bool) error {
	if unsynced && len(batch) > maxBlock {
		if err := onDisk(j.files[full]); err != nil {
			return err
		}
	}
	return j.log.db.Write(ctx, func(tx *sqlitedb.Tx) error { return j.log.addSingles(ctx, tx, batch) })
}

func onDisk(f *os.File) error {
	if err := f.Sync(); err != nil {
		return unavailable(err)
	}
	return nil
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
	j.mu.Lock()
	again := j.closed
	j.closed = true
	j.mu.Unlock()
	if again {
		return nil
	}
	close(j.stop)
	j.work.Wait()
	return errors.Join(j.flush(context.Background()), j.closeFiles())
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
