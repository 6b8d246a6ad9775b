package graphstore_test

import (
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// freeze takes all of SQLite's WAL locks, as a hung process on the file would, so
// that neither a read nor a write can begin.
func freeze(tb testing.TB, path string) {
	tb.Helper()
	f, err := os.OpenFile(path+"-shm", os.O_RDWR, 0)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = f.Close() })
	const firstLock, locks = 120, 8 // SQLite's WAL-index lock bytes
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: firstLock, Len: locks}
	require.NoError(tb, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock))
}
