//go:build !linux

// Package boottime is the clock that leases are counted on: it runs while the machine
// sleeps and is never set. It has no meaning across a restart of the machine.
package boottime

import "time"

// Now is the wall clock where no better one is offered: a step of it ends leases early or
// makes a revocation wait longer. Gateways apart from the broker are for Linux.
func Now() time.Duration { return time.Duration(time.Now().Round(0).UnixNano()) }
