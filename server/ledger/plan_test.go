package ledger_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/ledger/ledgertest"
)

// TestListsDoNotScan compares what one agent's few tokens cost to find among few and
// among many tokens of other agents.
func TestListsDoNotScan(t *testing.T) {
	clock := ledgertest.NewClock()
	l := open(t, clock)
	add := func(n int, agent string) {
		done := make(chan error)
		for w := range 16 {
			go func() {
				var err error
				for i := w; i < n && err == nil; i += 16 {
					id := fmt.Sprintf("%s-%d", agent, i)
					err = l.RecordIssue(t.Context(), ledger.Issue{
						Token: ledger.Token{
							Ref: ledgertest.Ref(t, "token:acme/"+id), Agent: ledgertest.Ref(t, "agent:acme/"+agent), Principal: ledgertest.Ref(t, "principal:acme/"+agent),
							Audience: "https://gw", Issued: clock.Now(), Expires: clock.Now().Add(time.Hour), Details: json.RawMessage(`[]`),
						},
						Assertion: ledger.Assertion{Client: ledgertest.Ref(t, "agent:acme/a"), ID: id, Expires: clock.Now().Add(time.Hour)},
						Record:    auditlog.Record{Kind: auditlog.Issue, Phase: auditlog.Single, Tenant: "acme", Token: id},
					})
				}
				done <- err
			}()
		}
		for range 16 {
			require.NoError(t, <-done)
		}
	}
	measure := func() time.Duration {
		best := time.Hour
		for range 30 {
			start := time.Now()
			got, err := l.Tokens(t.Context(), ledger.TokenFilter{Tenant: "acme", Agent: ledgertest.Ref(t, "agent:acme/few")})
			require.NoError(t, err)
			require.Len(t, got, 5)
			got, err = l.Tokens(t.Context(), ledger.TokenFilter{Tenant: "acme", Principal: ledgertest.Ref(t, "principal:acme/few")})
			require.NoError(t, err)
			require.Len(t, got, 5)
			best = min(best, time.Since(start))
		}
		return best
	}
	add(5, "few")
	add(100, "many")
	small := measure()
	add(5_000, "more")
	large := measure()
	t.Logf("among 105: %s, among 5105: %s", small, large)
	require.Less(t, large, 5*small+time.Millisecond)
}
