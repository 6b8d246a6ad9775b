package ledgertest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/authzed/spicedb/pkg/proto/impl/v1"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/ledger"
)

func newIssue(t testing.TB, clock *Clock, jti, assertion string) ledger.Issue {
	t.Helper()
	return ledger.Issue{
		Token: ledger.Token{
			Ref: Ref(t, "token:acme/"+jti), Agent: Ref(t, "agent:acme/ag-1"), Principal: Ref(t, "principal:acme/alice"),
			Audience: "https://acme.gw", Issued: clock.Now(), Expires: clock.Now().Add(5 * time.Minute), Details: json.RawMessage(`[{"a": 1}]`),
		},
		Assertion: ledger.Assertion{Client: Ref(t, "agent:acme/ag-1"), ID: assertion, Expires: clock.Now().Add(time.Minute)},
		Record: auditlog.Record{
			Kind: auditlog.Issue, Phase: auditlog.Single, Tenant: "acme", Agent: "agent:acme/ag-1", Token: jti, Decision: auditlog.Allow,
		},
	}
}

func issue(t *testing.T, l Ledger, clock *Clock) {
	ctx := t.Context()
	require.NoError(t, l.RecordIssue(ctx, newIssue(t, clock, "t1", "a1")))
	refuses(t, l.RecordIssue(ctx, newIssue(t, clock, "t2", "a1")), agentid.KindUnauthenticated, "assertion_replayed")
	refuses(t, l.RecordIssue(ctx, newIssue(t, clock, "t1", "a2")), agentid.KindConflict, "token_exists")
	bad := newIssue(t, clock, "t3", "a3")
	bad.Record.Kind = ""
	refuses(t, l.RecordIssue(ctx, bad), agentid.KindInternal, "audit_record_invalid")
	for name, edit := range map[string]func(*ledger.Issue){
		"no token":       func(i *ledger.Issue) { i.Token.Ref = agentid.Ref{} },
		"other tenant":   func(i *ledger.Issue) { i.Token.Agent = Ref(t, "agent:beta/ag-1") },
		"no expiry":      func(i *ledger.Issue) { i.Token.Expires = time.Time{} },
		"no assertion":   func(i *ledger.Issue) { i.Assertion = ledger.Assertion{} },
		"broken details": func(i *ledger.Issue) { i.Token.Details = json.RawMessage(`{`) },
	} {
		i := newIssue(t, clock, "t3", "a3")
		edit(&i)
		err := l.RecordIssue(ctx, i)
		require.Equal(t, agentid.KindInvalid, agentid.KindOf(err), name)
	}
	tokens, err := l.Tokens(ctx, ledger.TokenFilter{Tenant: "acme"})
	require.NoError(t, err)
	require.Len(t, tokens, 1)
	page, err := l.Audit().Query(ctx, auditlog.Query{Kind: auditlog.Issue})
	require.NoError(t, err)
	require.Len(t, page.Records, 1, "no record without its token, no token without its record")
	require.NoError(t, l.RecordIssue(ctx, newIssue(t, clock, "t3", "a2")), "a refused issue consumes no assertion")

	var wins atomic.Int64
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if l.RecordIssue(ctx, newIssue(t, clock, fmt.Sprintf("race-%d", i), "race")) == nil {
				wins.Add(1)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int64(1), wins.Load(), "an assertion buys one token")
}

func tokensAreListed(t *testing.T, l Ledger, clock *Clock) {
	ctx := t.Context()
	for _, id := range []string{"t1", "t2", "t3"} {
		require.NoError(t, l.RecordIssue(ctx, newIssue(t, clock, id, id)))
	}
	other := newIssue(t, clock, "t4", "t4")
	other.Token.Agent = Ref(t, "agent:acme/ag-2")
	require.NoError(t, l.RecordIssue(ctx, other))
	count := func(f ledger.TokenFilter) int {
		got, err := l.Tokens(ctx, f)
		require.NoError(t, err)
		return len(got)
	}
	require.Equal(t, 4, count(ledger.TokenFilter{Tenant: "acme"}))
	require.Equal(t, 3, count(ledger.TokenFilter{Tenant: "acme", Agent: Ref(t, "agent:acme/ag-1")}))
	require.Equal(t, 4, count(ledger.TokenFilter{Tenant: "acme", Principal: Ref(t, "principal:acme/alice")}))
	require.Equal(t, 0, count(ledger.TokenFilter{Tenant: "beta", Agent: Ref(t, "agent:acme/ag-1")}))
	require.Equal(t, 1, count(ledger.TokenFilter{Tenant: "acme", Page: ledger.Page{After: "t3"}}))
	_, err := l.Tokens(ctx, ledger.TokenFilter{})
	refuses(t, err, agentid.KindInvalid, "invalid_request")

	_, err = l.BeginRevocation(ctx, ledger.Revocation{Target: Ref(t, "token:acme/t1")})
	require.NoError(t, err)
	require.Equal(t, 3, count(ledger.TokenFilter{Tenant: "acme"}), "a revoked one is not live")
	clock.Add(6 * time.Minute)
	require.Equal(t, 0, count(ledger.TokenFilter{Tenant: "acme"}), "expired ones are not live")
}

// Zookie is a ZedToken of a revision.
func Zookie(t testing.TB, revision string) agentid.Zookie {
	t.Helper()
	raw, err := (&implv1.DecodedZedToken{
		VersionOneof: &implv1.DecodedZedToken_V1{V1: &implv1.DecodedZedToken_V1ZedToken{Revision: revision}},
	}).MarshalVT()
	require.NoError(t, err)
	return agentid.Zookie(base64.StdEncoding.EncodeToString(raw))
}

func revocations(t *testing.T, l Ledger, _ *Clock) {
	ctx := t.Context()
	zookie, epoch, incarnation, err := l.Floor(ctx)
	require.NoError(t, err)
	require.Empty(t, zookie)
	require.Zero(t, epoch)
	require.Len(t, incarnation, 32)

	var begun []ledger.Revocation
	for i := range 3 {
		r, err := l.BeginRevocation(ctx, ledger.Revocation{Target: Ref(t, fmt.Sprintf("token:acme/t%d", i)), Agent: Ref(t, "agent:acme/ag-1"), Reason: "leaked"})
		require.NoError(t, err)
		require.Equal(t, agentid.Epoch(i+1), r.Epoch)
		begun = append(begun, r)
	}
	_, err = l.BeginRevocation(ctx, ledger.Revocation{})
	refuses(t, err, agentid.KindInvalid, "invalid_request")

	open, err := l.OpenRevocations(ctx)
	require.NoError(t, err)
	require.Equal(t, begun, open)

	// They settle out of order, and the later epoch at an earlier revision.
	require.NoError(t, l.SettleRevocation(ctx, 3, Zookie(t, "99")))
	require.NoError(t, l.SettleRevocation(ctx, 1, Zookie(t, "100")))
	zookie, epoch, _, err = l.Floor(ctx)
	require.NoError(t, err)
	require.Equal(t, Zookie(t, "100"), zookie)
	require.Equal(t, agentid.Epoch(3), epoch)
	require.NoError(t, l.SettleRevocation(ctx, 2, Zookie(t, "20")))
	require.NoError(t, l.SettleRevocation(ctx, 2, Zookie(t, "101")), "settled already: nothing changes")
	zookie, epoch, _, err = l.Floor(ctx)
	require.NoError(t, err)
	require.Equal(t, Zookie(t, "100"), zookie, "the floor never goes back")
	require.Equal(t, agentid.Epoch(3), epoch)

	open, err = l.OpenRevocations(ctx)
	require.NoError(t, err)
	require.Empty(t, open)
	refuses(t, l.SettleRevocation(ctx, 9, Zookie(t, "101")), agentid.KindNotFound, "revocation_unknown")
	refuses(t, l.SettleRevocation(ctx, 1, ""), agentid.KindInvalid, "invalid_request")
	r, err := l.BeginRevocation(ctx, ledger.Revocation{Target: Ref(t, "token:acme/t9")})
	require.NoError(t, err)
	require.Error(t, l.SettleRevocation(ctx, r.Epoch, "garbage"))
	open, err = l.OpenRevocations(ctx)
	require.NoError(t, err)
	require.Len(t, open, 1, "what cannot be compared settles nothing")
}
