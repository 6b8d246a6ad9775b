package server_test

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/ledger"
)

// issueMany records n live tokens of the world's agent, as the mint would, many at a time
// so that they share an fsync.
func (w *world) issueMany(prefix string, n int) {
	w.tb.Helper()
	alice := must(agentid.PrincipalRef("acme", "alice"))
	jobs := make(chan int)
	var group sync.WaitGroup
	for range 256 {
		group.Go(func() {
			for i := range jobs {
				id, now := prefix+strconv.Itoa(i), w.now()
				err := w.ledger.RecordIssue(w.tb.Context(), ledger.Issue{
					Token:     ledger.Token{Ref: must(agentid.TokenRef("acme", id)), Agent: w.agent.ref, Principal: alice, Audience: resource, Issued: now, Expires: now.Add(time.Hour)},
					Assertion: ledger.Assertion{Client: w.agent.ref, ID: id, Expires: now.Add(time.Minute)},
					Record:    auditlog.Record{Kind: auditlog.Issue, Phase: auditlog.Single, Request: id, Decision: auditlog.Allow},
				})
				if err != nil {
					w.tb.Error(err)
				}
			}
		})
	}
	for i := range n {
		jobs <- i
	}
	close(jobs)
	group.Wait()
}

// cost is how long calls took.
type cost struct{ p50, p99 time.Duration }

func measure(n int, call func(i int)) cost {
	took := make([]time.Duration, n)
	for i := range took {
		begun := time.Now()
		call(i)
		took[i] = time.Since(begun)
	}
	slices.Sort(took)
	return cost{took[n/2], took[n*99/100]}
}

// A revocation costs the same whatever was issued; it is told as a multiple of one durable
// write of the same ledger, measured in between.
func TestTheCostOfARevocationDoesNotDependOnWhatWasIssued(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	var first, issued int
	var firstCost cost
	for _, live := range liveTokens {
		w.issueMany(fmt.Sprintf("t%d-", live), live-issued)
		issued = live
		write := measure(revocations, func(i int) {
			require.NoError(t, w.ledger.Append(ctx, auditlog.Record{
				Kind: auditlog.Admin, Phase: auditlog.Single, Request: strconv.Itoa(i), Operation: "measure", Decision: auditlog.Allow,
			}, wire.Durable))
		})
		revoke := measure(revocations, func(i int) {
			receipt, err := w.broker.Revoker().Revoke(ctx, must(agentid.TokenRef("acme", fmt.Sprintf("t%d-%d", live, i))), "cost", "test")
			require.NoError(t, err)
			require.Positive(t, receipt.Epoch)
		})
		t.Logf("%d live tokens: one durable write p50 %v p99 %v; a revocation p50 %v p99 %v: %.1f and %.1f times one write",
			live, write.p50, write.p99, revoke.p50, revoke.p99,
			float64(revoke.p50)/float64(write.p50), float64(revoke.p99)/float64(write.p99))
		if first == 0 {
			first, firstCost = live, revoke
			continue
		}
		require.Less(t, revoke.p50, 3*firstCost.p50, "%d times as many tokens", live/first)
	}
}
