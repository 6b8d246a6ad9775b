package ledger_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/ledger/ledgertest"
)

func benchLedger(b *testing.B) *ledger.Ledger {
	b.Helper()
	l, err := ledger.Open(b.Context(), ledger.Config{Path: filepath.Join(b.TempDir(), "ledger.db"), SealKey: newKey(b)})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, l.Close()) })
	return l
}

// clients runs fn from n goroutines, b.N times in all.
func clients(b *testing.B, n int, fn func(i int64) error) {
	b.Helper()
	var next atomic.Int64
	done := make(chan error, n)
	b.ResetTimer()
	for range n {
		go func() {
			var err error
			for i := next.Add(1); err == nil && i <= int64(b.N); i = next.Add(1) {
				err = fn(i)
			}
			done <- err
		}()
	}
	for range n {
		require.NoError(b, <-done)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

func BenchmarkReserveSettle(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			l := benchLedger(b)
			token, agent := ledgertest.Ref(b, "token:acme/t"), ledgertest.Ref(b, "agent:acme/a")
			clients(b, n, func(i int64) error {
				id := fmt.Sprintf("r%d", i)
				got, err := l.Reserve(b.Context(), wire.Reserve{
					Token: token, Agent: agent, Uses: []wire.Use{{Token: token, Capability: id, Max: 1}}, IdempotencyKey: id, RequestDigest: "d",
					HoldKey: "acme/stripe/" + id, HoldAmount: 1, Record: ledgertest.Begin(id), Deadline: time.Now().Add(time.Hour),
				})
				if err != nil {
					return err
				}
				return l.Settle(b.Context(), wire.Settlement{ID: got.ID, Outcome: wire.Done, Record: ledgertest.Finish(id)})
			})
		})
	}
}

func BenchmarkAuditAppend(b *testing.B) {
	for _, d := range []wire.Durability{wire.Durable, wire.Relaxed} {
		for _, n := range []int{1, 64} {
			b.Run(fmt.Sprintf("relaxed=%t/clients=%d", d == wire.Relaxed, n), func(b *testing.B) {
				l := benchLedger(b)
				clients(b, n, func(i int64) error {
					r := ledgertest.Begin(fmt.Sprintf("r%d", i))
					r.Phase = auditlog.Single
					return l.Append(b.Context(), r, d)
				})
			})
		}
	}
}

func BenchmarkRecordIssue(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			l := benchLedger(b)
			agent, alice := ledgertest.Ref(b, "agent:acme/a"), ledgertest.Ref(b, "principal:acme/alice")
			clients(b, n, func(i int64) error {
				now, id := time.Now(), fmt.Sprintf("t%d", i)
				return l.RecordIssue(b.Context(), ledger.Issue{
					Token:     ledger.Token{Ref: ledgertest.Ref(b, "token:acme/"+id), Agent: agent, Principal: alice, Audience: "https://gw", Issued: now, Expires: now.Add(time.Minute)},
					Assertion: ledger.Assertion{Client: agent, ID: id, Expires: now.Add(time.Minute)},
					Record:    auditlog.Record{Kind: auditlog.Issue, Phase: auditlog.Single, Tenant: "acme", Token: id, Decision: auditlog.Allow},
				})
			})
		})
	}
}
