//go:build !linux

package freshness

import "time"

var started = time.Now()

// BootTime counts on the wall clock from the start of the process. Where that is put
// back, it goes back too; a lease is then held longer by as much: run gateways apart from
// their broker on Linux.
func BootTime() time.Duration { return time.Now().Round(0).Sub(started.Round(0)) }
