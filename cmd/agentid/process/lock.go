package process

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// errInUse means that another process serves this data.
var errInUse = errors.New("another agentid runs over this data folder")

// lock takes an exclusive lock that goes with the process, however it ends.
func lock(path string) (*os.File, error) {
	const ownerOnly = 0o600
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, ownerOnly)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errInUse
		}
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return f, nil
}
