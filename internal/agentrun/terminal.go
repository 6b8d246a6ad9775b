package agentrun

import (
	"os"

	"golang.org/x/sys/unix"
)

// foreground reports whether this process is in the foreground group of its terminal:
// what is typed there reaches the command by itself.
func foreground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false // no terminal
	}
	defer func() { _ = tty.Close() }()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
