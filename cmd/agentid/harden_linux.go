package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// keepMemory keeps other processes of the same user from reading this one's memory,
// where a key is: through /proc, by ptrace, in a core dump.
func keepMemory() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keep the key from other processes: %w", err)
	}
	return nil
}
