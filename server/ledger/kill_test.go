package ledger_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/seal"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/ledger/ledgertest"
)

const killChild = "AGENTID_LEDGER_KILL"

// TestKill ends a writing process with SIGKILL at any point, again and again, and looks
// after each restart whether anything is torn, and at the end whether everything that
// was acknowledged is there.
func TestKill(t *testing.T) {
	if dir := os.Getenv(killChild); dir != "" {
		writeForever(t, dir)
		return
	}
	dir := t.TempDir()
	key, _, err := seal.FileOrNew(filepath.Join(dir, "seal.key"))
	require.NoError(t, err)
	acked := map[string][]string{}
	var seen tear
	for round := range killRounds {
		killAfter(t, dir, 5+round%40*4, acked)
		seen.check(t, dir, key)
	}
	checkAcknowledged(t, dir, key, acked)
	t.Logf("%d kills; acknowledged: %d issued, %d reserved, %d settled, %d revoked, all there",
		killRounds, len(acked["issued"]), len(acked["reserved"]), len(acked["settled"]), len(acked["revoked"]))
}

// writeForever says what was acknowledged, one line each, until it is killed.
func writeForever(t *testing.T, dir string) {
	key, err := seal.File(filepath.Join(dir, "seal.key"))
	require.NoError(t, err)
	l, err := ledger.Open(context.Background(), ledger.Config{Path: filepath.Join(dir, "ledger.db"), SealKey: key, SweepEvery: time.Millisecond})
	require.NoError(t, err)
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(os.Stdout, "ack "+format+"\n", args...)
	}
	say("start x")
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				oneRequest(t, l, fmt.Sprintf("p%d-w%d-%d", os.Getpid(), worker, i), i, say)
			}
		})
	}
	wg.Wait()
}

func oneRequest(t *testing.T, l *ledger.Ledger, id string, i int, say func(string, ...any)) {
	ctx, now := context.Background(), time.Now()
	token := ledgertest.Ref(t, "token:acme/"+id)
	require.NoError(t, l.RecordIssue(ctx, ledger.Issue{
		Token: ledger.Token{
			Ref: token, Agent: ledgertest.Ref(t, "agent:acme/ag-1"), Principal: ledgertest.Ref(t, "principal:acme/alice"),
			Audience: "https://gw", Issued: now, Expires: now.Add(time.Hour), Details: json.RawMessage(`[]`),
		},
		Assertion: ledger.Assertion{Client: ledgertest.Ref(t, "agent:acme/ag-1"), ID: id, Expires: now.Add(time.Hour)},
		Record:    auditlog.Record{Kind: auditlog.Issue, Phase: auditlog.Single, Tenant: "acme", Token: id, Decision: auditlog.Allow},
	}))
	say("issued %s", id)
	got, err := l.Reserve(ctx, wire.Reserve{
		Token: token, Agent: ledgertest.Ref(t, "agent:acme/ag-1"), Uses: []wire.Use{{Token: token, Capability: "c", Max: 1}},
		IdempotencyKey: id, RequestDigest: "d", HoldKey: "acme/stripe/charge/" + strconv.Itoa(i%3), HoldAmount: 1,
		Record: ledgertest.Begin(id), Deadline: now.Add(time.Hour),
	})
	require.NoError(t, err)
	say("reserved %s", id)
	outcome := wire.Outcome(i%3 + 1)
	require.NoError(t, l.Settle(ctx, wire.Settlement{ID: got.ID, Outcome: outcome, Record: ledgertest.Finish(id)}))
	say("settled %s=%s", id, outcome)
	r, err := l.BeginRevocation(ctx, ledger.Revocation{Target: token})
	require.NoError(t, err)
	say("revoked %d", r.Epoch)
	require.NoError(t, l.SettleRevocation(ctx, r.Epoch, ledgertest.Zookie(t, strconv.FormatInt(int64(r.Epoch), 10))))
}

func killAfter(t *testing.T, dir string, lines int, acked map[string][]string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestKill$")
	cmd.Env = append(os.Environ(), killChild+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	sc := bufio.NewScanner(out)
	for n := 0; sc.Scan(); n++ {
		f := strings.Fields(sc.Text())
		if len(f) != 3 || f[0] != "ack" {
			t.Fatal(sc.Text())
		}
		acked[f[1]] = append(acked[f[1]], f[2])
		if n == lines {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.ErrorContains(t, cmd.Wait(), "killed")
}

func reopen(t *testing.T, dir string, key *seal.Key, now func() time.Time) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), ledger.Config{Path: filepath.Join(dir, "ledger.db"), SealKey: key, Now: now, SweepEvery: -1})
	require.NoError(t, err)
	return l
}

// tear is how far the looking came: each restart looks at what is new only.
type tear struct {
	seq   int64
	epoch agentid.Epoch
}

// check: every token has its record and every record its token, and the log has no gap.
func (n *tear) check(t *testing.T, dir string, key *seal.Key) {
	t.Helper()
	l := reopen(t, dir, key, time.Now)
	defer func() { require.NoError(t, l.Close()) }()
	for _, r := range readAll(t, l, n.seq) {
		n.seq++
		require.Equal(t, n.seq, r.Seq)
		if r.Kind == auditlog.Issue {
			_, err := l.Token(t.Context(), ledgertest.Ref(t, "token:acme/"+r.Token))
			require.NoError(t, err, "a record without its token")
		}
	}
	begun, err := l.Revocations(t.Context(), "acme", n.epoch, ledger.MaxPage)
	require.NoError(t, err)
	for _, r := range begun {
		n.epoch = r.Epoch
		page, err := l.Audit().Query(t.Context(), auditlog.Query{Token: r.Target.Name(), Kind: auditlog.Issue})
		require.NoError(t, err)
		require.Len(t, page.Records, 1, "a token without its record")
	}
}

func checkAcknowledged(t *testing.T, dir string, key *seal.Key, acked map[string][]string) {
	t.Helper()
	clock := ledgertest.NewClock()
	clock.Add(time.Since(clock.Now()))
	l := reopen(t, dir, key, clock.Now)
	defer func() { require.NoError(t, l.Close()) }()
	seen := map[string]bool{}
	for _, r := range readAll(t, l, 0) {
		seen[string(r.Kind)+string(r.Phase)+r.Request+r.Token] = true
	}
	for _, id := range acked["issued"] {
		require.True(t, seen["issuesingle"+id], "issue %s is lost", id)
		again := ledger.Assertion{Client: ledgertest.Ref(t, "agent:acme/ag-1"), ID: id, Expires: time.Now()}
		require.Equal(t, "assertion_replayed", agentid.ReasonOf(l.UseAssertion(t.Context(), again)))
	}
	for _, id := range acked["reserved"] {
		require.True(t, seen["operationbegin"+id], "reservation %s is lost", id)
	}
	settled := map[string]string{}
	for _, s := range acked["settled"] {
		id, outcome, _ := strings.Cut(s, "=")
		require.True(t, seen["operationfinish"+id], "settlement %s is lost", id)
		settled[id] = outcome
	}
	for _, id := range acked["reserved"] {
		checkUse(t, l, clock, id, settled[id])
	}
	checkEpochs(t, l, acked["revoked"])
	clock.Add(2 * time.Hour)
	_, err := l.Sweep(t.Context())
	require.NoError(t, err)
	open, err := l.Audit().Open(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, open, "the sweeper closes what a crash left open")
}

// checkUse: only a use that was given back can be had again.
func checkUse(t *testing.T, l *ledger.Ledger, clock *ledgertest.Clock, id, outcome string) {
	t.Helper()
	token := ledgertest.Ref(t, "token:acme/"+id)
	got, err := l.Reserve(t.Context(), wire.Reserve{
		Token: token, Agent: ledgertest.Ref(t, "agent:acme/ag-1"), Uses: []wire.Use{{Token: token, Capability: "c", Max: 1}},
		IdempotencyKey: id, RequestDigest: "d", HoldKey: "acme/stripe/charge/x", HoldAmount: 1,
		Record: ledgertest.Begin("again-" + id), Deadline: clock.Now().Add(time.Minute),
	})
	switch {
	case outcome == "released":
		require.NoError(t, err)
		require.False(t, got.Retry)
	case err == nil && outcome == "": // killed around the settlement: retry, or released
	default:
		require.NoError(t, err)
		require.True(t, got.Retry, "%s was %s", id, outcome)
	}
}

func checkEpochs(t *testing.T, l *ledger.Ledger, acked []string) {
	t.Helper()
	have, highest := map[string]bool{}, int64(0)
	for _, text := range acked {
		require.False(t, have[text], "epoch %s came twice", text)
		have[text] = true
		n, err := strconv.ParseInt(text, 10, 64)
		require.NoError(t, err)
		highest = max(highest, n)
	}
	for after := agentid.Epoch(0); ; {
		page, err := l.Revocations(t.Context(), "acme", after, ledger.MaxPage)
		require.NoError(t, err)
		for _, r := range page {
			delete(have, strconv.FormatInt(int64(r.Epoch), 10))
			after = r.Epoch
		}
		if len(page) < ledger.MaxPage {
			break
		}
	}
	require.Empty(t, have, "acknowledged revocations are lost")
	next, err := l.BeginRevocation(t.Context(), ledger.Revocation{Target: ledgertest.Ref(t, "agent:acme/ag-1")})
	require.NoError(t, err)
	require.Greater(t, int64(next.Epoch), highest)
}

func readAll(t *testing.T, l *ledger.Ledger, after int64) []auditlog.Record {
	t.Helper()
	var out []auditlog.Record
	for q := (auditlog.Query{After: after, Limit: auditlog.MaxLimit}); ; {
		page, err := l.Audit().Query(t.Context(), q)
		require.NoError(t, err)
		out = append(out, page.Records...)
		if page.Next == "" {
			return out
		}
		q.After, err = auditlog.ParseCursor(page.Next)
		require.NoError(t, err)
	}
}
