//go:build failpoint

// Package failpoint lets crash tests kill the program between two steps.
package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Environment is "step" or "step:n": the program kills itself with SIGKILL when it
// comes to that step for the n-th time (the first, when n is absent).
const Environment = "AGENTID_KILL_AT"

var hits atomic.Int64

// Hit kills the process if the environment names this step.
func Hit(step string) {
	want, count, counted := strings.Cut(os.Getenv(Environment), ":")
	if want != step {
		return
	}
	n := int64(1)
	if counted {
		n, _ = strconv.ParseInt(count, 10, 64)
	}
	if hits.Add(1) == n {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way: take no further step
	}
}
