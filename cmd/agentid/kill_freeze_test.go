package main

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKillInTheMiddleOfTakingAway kills the program at every step of a freeze and of a
// revocation in bulk. What was begun is completed before anything is served again, and
// undoing it brings everything back: no denial outlives its reason.
func TestKillInTheMiddleOfTakingAway(t *testing.T) {
	s := newSite(t)
	s.start()
	first := s.acme()
	second := s.agent("refunds-2")
	s.kill()
	one := []string{"revoke", "agent:acme/refunds-1", "--reason", "kill"}
	many := []string{"revoke", "--tenant", "acme", "--filter", "type=refund-agent", "--reason", "kill"}
	held := []string{"revoke", "--tenant", "acme", "--filter", "operation=payments:refund", "--reason", "kill"}
	for _, c := range []struct {
		step string
		args []string
	}{
		{"revoke.intent", one},
		{"revoke.denied", one},
		{"revoke.edge", one},
		{"revoke.settled", one},
		{"revoke.told", one},
		{"revoke.intent", many},
		{"bulk.denied", many},
		{"bulk.batch", many},
		{"revoke.settled", many},
		{"revoke.intent", held},
		{"bulk.withdrawn", held},
		{"revoke.denied", []string{"revoke", "principal:acme/alice", "--reason", "kill"}},
	} {
		t.Run(fmt.Sprintf("%s %s", c.step, c.args[1]), func(t *testing.T) {
			s.start()
			token := s.mustMint(first)
			other := s.mustMint(second)
			s.kill()
			s.start("AGENTID_KILL_AT=" + c.step)
			code, out := s.cli(c.args...)
			require.NotZero(t, code, out)
			s.died()

			s.start()
			status, answer, err := (&caller{site: s, agent: first}).do(t.Context(), "GET", "/v1/charges/ch_ada", "", "", token)
			require.NoError(t, err)
			require.GreaterOrEqual(t, status, 401, "%s", answer)
			require.Less(t, status, 500, "%s", answer)
			if len(c.args) > 4 {
				status, answer, err = (&caller{site: s, agent: second}).do(t.Context(), "GET", "/v1/charges/ch_ada", "", "", other)
				require.NoError(t, err)
				require.GreaterOrEqual(t, status, 401, "%s", answer)
			}
			s.must("principal", "unfreeze", "principal:acme/alice", "--reason", "kill")
			for _, reason := range []string{"kill", "owner_lost"} {
				s.must("agent", "unfreeze", "--tenant", "acme", "--filter", "all=true", "--reason", reason)
			}
			s.mustMint(first)
			s.mustMint(second)
			s.kill()
		})
	}
}
