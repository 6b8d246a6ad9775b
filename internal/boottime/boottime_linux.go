// Package boottime is the clock that leases are counted on: it runs while the machine
// sleeps and is never set. It has no meaning across a restart of the machine.
package boottime

import (
	"time"

	"golang.org/x/sys/unix"
)

// Now is the time since the machine started, its sleep included (CLOCK_BOOTTIME).
func Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("boottime: " + err.Error()) // every Linux since 2.6.39 has it
	}
	return time.Duration(ts.Nano())
}
