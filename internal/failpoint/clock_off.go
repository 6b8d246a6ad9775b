//go:build !failpoint

package failpoint

import (
	"time"

	"github.com/agentid-dev/agentid/internal/boottime"
)

// BootTime is boottime.Now.
func BootTime() time.Duration { return boottime.Now() }

// Now is time.Now.
func Now() time.Time { return time.Now() }
