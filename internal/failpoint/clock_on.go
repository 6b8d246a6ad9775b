//go:build failpoint

package failpoint

import (
	"os"
	"strconv"
	"time"

	"github.com/agentid-dev/agentid/internal/boottime"
)

// The environment of clocks that go wrong: by how much the wall clock is off ("-20s"), and
// how fast the boot clock runs ("0.92": slower than it should).
const (
	EnvironmentClock = "AGENTID_CLOCK_OFFSET"
	EnvironmentRate  = "AGENTID_BOOTTIME_RATE"
)

var (
	offset = func() time.Duration { d, _ := time.ParseDuration(os.Getenv(EnvironmentClock)); return d }()
	rate   = func() float64 {
		if r, err := strconv.ParseFloat(os.Getenv(EnvironmentRate), 64); err == nil && r > 0 {
			return r
		}
		return 1
	}()
)

// BootTime is boottime.Now at the rate that the environment says.
func BootTime() time.Duration { return time.Duration(float64(boottime.Now()) * rate) }

// Now is time.Now, off by what the environment says.
func Now() time.Time { return time.Now().Add(offset) }
