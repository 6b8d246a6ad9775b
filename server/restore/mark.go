// Package restore recognises a ledger that went back in time, and holds what must not
// come back with it.
//
// It owns the mark: a small file beside the data, that no backup contains, with the
// newest epoch that was given out. A restored ledger is behind its mark, or has none.
// What happens then is server/ledger's and server/admin's: a new incarnation, and every
// agent frozen until somebody has looked.
package restore

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/agentid-dev/agentid"
)

// MarkFile is the name of the mark in the data folder. A backup leaves it out.
const MarkFile = "epoch.mark"

// ErrNoMark means that there is no mark, or none that can be read.
var ErrNoMark = errors.New("there is no mark")

const (
	slotSize  = 512 // one sector: written whole or not at all
	ownerOnly = 0o600
)

// Marked is what a mark says.
type Marked struct {
	N           uint64        `json:"n"` // the later of two slots
	Incarnation string        `json:"incarnation"`
	Epoch       agentid.Epoch `json:"epoch"`
}

// Mark is the file. It is safe for concurrent use: those who wait share a write.
type Mark struct {
	want atomic.Int64 // the highest epoch that somebody wants marked

	mu     sync.Mutex
	file   *os.File
	last   Marked
	failed error // after a failed write nothing of the file is known
}

// Open opens the mark in a folder and says what it holds. ErrNoMark with a Mark that can
// be begun: there is none, or both of its copies are damaged.
func Open(dir string) (*Mark, Marked, error) {
	path := filepath.Join(dir, MarkFile)
	_, err := os.Stat(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, ownerOnly)
	if err != nil {
		return nil, Marked{}, fmt.Errorf("open the mark: %w", err)
	}
	m := &Mark{file: file}
	if fresh {
		if err := syncDir(dir); err != nil {
			return nil, Marked{}, errors.Join(err, file.Close())
		}
	}
	for slot := range int64(2) {
		if read, ok := m.read(slot); ok && read.N > m.last.N {
			m.last = read
		}
	}
	if m.last.N == 0 {
		return m, Marked{}, ErrNoMark
	}
	m.want.Store(int64(m.last.Epoch))
	return m, m.last, nil
}

func (m *Mark) read(slot int64) (Marked, bool) {
	buf := make([]byte, slotSize)
	if _, err := m.file.ReadAt(buf, slot*slotSize); err != nil {
		return Marked{}, false
	}
	sum, text, ok := strings.Cut(strings.TrimRight(string(buf), "\x00\n"), " ")
	want, err := strconv.ParseUint(sum, 16, 32)
	if !ok || err != nil || uint64(crc32.ChecksumIEEE([]byte(text))) != want {
		return Marked{}, false
	}
	var out Marked
	return out, json.Unmarshal([]byte(text), &out) == nil
}

// Mark puts an epoch on disk, unless a later one is there. An error means that it is not
// known to be: from then on every call fails, until the program starts again.
func (m *Mark) Mark(epoch agentid.Epoch) error {
	for {
		have := m.want.Load()
		if have >= int64(epoch) || m.want.CompareAndSwap(have, int64(epoch)) {
			break
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	if m.last.Epoch >= epoch {
		return nil
	}
	return m.write(Marked{N: m.last.N + 1, Incarnation: m.last.Incarnation, Epoch: agentid.Epoch(m.want.Load())})
}

// Begin starts the mark of an incarnation.
func (m *Mark) Begin(incarnation string, epoch agentid.Epoch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	m.want.Store(int64(epoch))
	return m.write(Marked{N: m.last.N + 1, Incarnation: incarnation, Epoch: epoch})
}

// write puts next into the slot that does not hold the last. The caller holds m.mu.
func (m *Mark) write(next Marked) error {
	text, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode the mark: %w", err)
	}
	buf := make([]byte, slotSize)
	copy(buf, fmt.Sprintf("%08x %s\n", crc32.ChecksumIEEE(text), text))
	_, err = m.file.WriteAt(buf, int64(next.N%2)*slotSize)
	if err == nil {
		err = m.file.Sync()
	}
	if err != nil {
		m.failed = fmt.Errorf("write the mark: %w", err)
		return m.failed
	}
	m.last = next
	return nil
}

// Close closes the file.
func (m *Mark) Close() error { return m.file.Close() }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open the data folder: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
