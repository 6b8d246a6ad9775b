package agents_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/server/ledger"
)

// killDir is where the child process finds the world that it spawns in.
const killDir = "AGENTID_KILL_DIR"

// TestKillChild is not a test of its own: the process of TestAKillDuringASpawn, which
// dies at a failpoint.
func TestKillChild(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		return
	}
	w := openWorld(t, dir)
	s := spec("kid", "worker", "root")
	s.Key = json.RawMessage(os.Getenv("AGENTID_KILL_KEY"))
	_, err := w.service.Spawn(context.Background(), operator, s)
	t.Fatalf("the process outlived its failpoint: %v", err)
}

// Killed at any step, the child is wholly there or not at all once the broker has looked,
// and the slots are as if the answer had been seen.
func TestAKillDuringASpawn(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "agents.test")
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "failpoint", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for step, there := range map[string]bool{"spawn.reserved": false, "spawn.edges": true, "spawn.active": true} {
		t.Run(step, func(t *testing.T) {
			dir, key := t.TempDir(), newPair()
			t.Run("before", func(t *testing.T) {
				w := openWorld(t, dir)
				w.seed()
				limitTenant(ledger.Limits{MaxLive: 2})(w, actor{})
				w.mustStart("root", "root", "")
			})
			cmd := exec.CommandContext(t.Context(), binary, "-test.run=^TestKillChild$")
			cmd.Env = append(os.Environ(), killDir+"="+dir, "AGENTID_KILL_KEY="+string(key.public), "AGENTID_KILL_AT="+step)
			out, err := cmd.CombinedOutput()
			status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
			require.True(t, ok && status.Signaled() && status.Signal() == syscall.SIGKILL, "%v: %s", err, out)

			w := openWorld(t, dir)
			a, err := w.ledger.Agent(t.Context(), agentRef("kid"))
			require.NoError(t, err)
			if step != "spawn.active" {
				require.Equal(t, ledger.AgentSpawning, a.State, "nothing can use it")
				_, err = w.start(spec("early", "worker", "root"))
				w.refused(err, "live_agents_exceeded") // it holds its slot until it is resolved
			}
			w.shift.Add(int64(61 * time.Second))
			must(w.service.Recover(t.Context()))
			if there {
				require.Equal(t, 8, w.edges(agentRef("kid")))
				require.NoError(t, w.decide(agentRef("kid")))
				require.NoError(t, w.use(w.mint(actor{agentRef("kid"), key})))
				_, err = w.start(spec("other", "worker", "root"))
				w.refused(err, "live_agents_exceeded")
				return
			}
			require.Zero(t, w.edges(agentRef("kid")))
			_, err = w.ledger.Agent(t.Context(), agentRef("kid"))
			w.refused(err, "agent_unknown")
			s := spec("kid", "worker", "root")
			s.Key = key.public
			_, err = w.service.Spawn(t.Context(), operator, s)
			require.NoError(t, err, "name, key and slot are free again")
			require.NoError(t, w.decide(agentRef("kid")))
		})
	}
}
