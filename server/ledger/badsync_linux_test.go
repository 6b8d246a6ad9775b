package ledger_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/seal"
	"github.com/agentid-dev/agentid/internal/testenv/badsync"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/ledger/ledgertest"
)

// TestADiskThatCannotSyncIssuesNothing: once a sync has failed no token is issued, no
// effect reserved and no revocation acknowledged; what was acknowledged before is there
// after a restart, and the log follows on.
func TestADiskThatCannotSyncIssuesNothing(t *testing.T) {
	dir, broken := badsync.Child(t, t.TempDir())
	key, _, err := seal.FileOrNew(filepath.Join(dir, "seal.key"))
	require.NoError(t, err)
	l, err := ledger.Open(context.Background(), ledger.Config{Path: filepath.Join(dir, "ledger.db"), SealKey: key, SweepEvery: -1})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	issue := func(id string) error {
		now := time.Now()
		return l.RecordIssue(t.Context(), ledger.Issue{
			Token: ledger.Token{
				Ref: ledgertest.Ref(t, "token:acme/"+id), Agent: ledgertest.Ref(t, "agent:acme/ag-1"), Principal: ledgertest.Ref(t, "principal:acme/alice"),
				Audience: "https://gw", Issued: now, Expires: now.Add(time.Hour),
			},
			Assertion: ledger.Assertion{Client: ledgertest.Ref(t, "agent:acme/ag-1"), ID: id, Expires: now.Add(time.Hour)},
			Record:    auditlog.Record{Kind: auditlog.Issue, Phase: auditlog.Single, Request: id, Tenant: "acme", Token: id, Decision: auditlog.Allow},
		})
	}
	recorded := func(id string) int {
		page, err := l.Audit().Query(t.Context(), auditlog.Query{Request: id})
		require.NoError(t, err)
		return len(page.Records)
	}
	if !broken {
		require.Equal(t, 1, recorded("before"))
		require.NoError(t, issue("after-the-restart"))
		require.Equal(t, 1, recorded("after-the-restart"))
		return
	}
	require.NoError(t, issue("before"))
	badsync.Break(t)
	for _, id := range []string{"t1", "t2"} { // the one whose sync fails, and the next
		require.Equal(t, agentid.KindUnavailable, agentid.KindOf(issue(id)), id)
	}
	refund := ledgertest.Refund(t, ledgertest.NewClock(), "r1")
	refund.Deadline = time.Now().Add(time.Hour)
	_, err = l.Reserve(t.Context(), refund)
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err), "%v", err)
	_, err = l.BeginRevocation(t.Context(), ledger.Revocation{Target: ledgertest.Ref(t, "token:acme/before")})
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err), "%v", err)
	require.Equal(t, 1, recorded("before"), "reads work")
}
