package ledger_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/seal"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/ledger/ledgertest"
	"github.com/agentid-dev/agentid/server/signer"
)

func TestRestartKeepsEverything(t *testing.T) {
	path, key, clock := filepath.Join(t.TempDir(), "ledger.db"), newKey(t), ledgertest.NewClock()
	l := openAt(t, path, key, clock)
	ledgertest.Populate(t, l, "acme")
	connector := ledgertest.Ref(t, "connector:acme/stripe")
	require.NoError(t, l.PutCredential(t.Context(), connector, agentid.NewSecret("sk_live_secret")))
	incarnation, err := l.Incarnation(t.Context())
	require.NoError(t, err)
	got, err := l.Reserve(t.Context(), ledgertest.Refund(t, clock, "r1"))
	require.NoError(t, err)
	require.NoError(t, l.Settle(t.Context(), wire.Settlement{ID: got.ID, Outcome: wire.Done, Record: ledgertest.Finish("r1")}))
	require.NoError(t, l.Close())

	l = openAt(t, path, key, clock)
	same, err := l.Incarnation(t.Context())
	require.NoError(t, err)
	require.Equal(t, incarnation, same)
	all, err := l.Connectors(t.Context())
	require.NoError(t, err)
	require.Equal(t, "sk_live_secret", all[0].Credential.Reveal())
	again := ledgertest.Refund(t, clock, "r1")
	again.Record = ledgertest.Begin("r2")
	retry, err := l.Reserve(t.Context(), again)
	require.NoError(t, err)
	require.True(t, retry.Retry)
	require.False(t, retry.Unchecked)
	require.Equal(t, got.UpstreamKey, retry.UpstreamKey, "the upstream knows the retry after a restart")
	next, err := l.StartIncarnation(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, incarnation, next)
	require.NoError(t, l.Close())
}

func TestCrashLeavesUnknownEffects(t *testing.T) {
	path, key, clock := filepath.Join(t.TempDir(), "ledger.db"), newKey(t), ledgertest.NewClock()
	l := openAt(t, path, key, clock)
	got, err := l.Reserve(t.Context(), ledgertest.Refund(t, clock, "r1"))
	require.NoError(t, err)
	require.NoError(t, l.Close()) // in flight: as after a crash

	l = openAt(t, path, key, clock)
	defer func() { require.NoError(t, l.Close()) }()
	open, err := l.Audit().Open(t.Context(), "acme")
	require.NoError(t, err)
	require.Len(t, open, 1, "the open entry is visible")
	_, err = l.Await(t.Context(), got.ID)
	require.Equal(t, "reservation_unknown", agentid.ReasonOf(err))
	behind := ledgertest.Refund(t, clock, "r2")
	behind.Deadline = clock.Now().Add(time.Hour)
	second, err := l.Reserve(t.Context(), behind)
	require.NoError(t, err)
	require.Equal(t, []wire.Ahead{{ID: got.ID, Amount: 1000}}, second.Ahead, "the hold was recovered")
	again := ledgertest.Refund(t, clock, "r1")
	again.Record = ledgertest.Begin("r1-retry")
	retry, err := l.Reserve(t.Context(), again)
	require.NoError(t, err)
	require.True(t, retry.Retry)
	require.True(t, retry.Unchecked, "nobody settled the first attempt")
	require.NoError(t, l.Settle(t.Context(), wire.Settlement{ID: retry.ID, Outcome: wire.Done, Record: ledgertest.Finish("r1-retry")}))
	left, err := l.Await(t.Context(), second.ID)
	require.NoError(t, err)
	require.Empty(t, left, "the retry resolved it")

	clock.Add(2 * time.Minute)
	n, err := l.Sweep(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	open, err = l.Audit().Open(t.Context(), "acme")
	require.NoError(t, err)
	require.Len(t, open, 1)
	require.Equal(t, "r2", open[0].Request, "the crashed begin got its finish")
	page, err := l.Audit().Query(t.Context(), auditlog.Query{Request: "r1"})
	require.NoError(t, err)
	require.Equal(t, "outcome_unknown", page.Records[1].Reason)
}

func TestTheSweeperRunsByItself(t *testing.T) {
	l, err := ledger.Open(t.Context(), ledger.Config{Path: filepath.Join(t.TempDir(), "l.db"), SealKey: newKey(t), SweepEvery: time.Millisecond})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	first := wire.Reserve{
		Token: ledgertest.Ref(t, "token:acme/t"), Agent: ledgertest.Ref(t, "agent:acme/a"), HoldKey: "acme/x", HoldAmount: 1,
		Record: ledgertest.Begin("r1"), Deadline: time.Now().Add(20 * time.Millisecond),
	}
	_, err = l.Reserve(t.Context(), first)
	require.NoError(t, err)
	second := first
	second.Record, second.Deadline = ledgertest.Begin("r2"), time.Now().Add(time.Hour)
	got, err := l.Reserve(t.Context(), second)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	left, err := l.Await(ctx, got.ID)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestAWrongKeyIsFoundAtStart(t *testing.T) {
	path, key, clock := filepath.Join(t.TempDir(), "ledger.db"), newKey(t), ledgertest.NewClock()
	l := openAt(t, path, key, clock)
	require.NoError(t, l.Close())
	_, err := ledger.Open(t.Context(), ledger.Config{Path: path, SealKey: newKey(t)})
	require.ErrorIs(t, err, seal.ErrWrongKey)
	require.ErrorContains(t, err, "restore the key")
	l = openAt(t, path, key, clock)
	require.NoError(t, l.Close())
}

func TestOpenRefuses(t *testing.T) {
	dir, clock := t.TempDir(), ledgertest.NewClock()
	for name, cfg := range map[string]ledger.Config{
		"no path":      {SealKey: newKey(t)},
		"no key":       {Path: filepath.Join(dir, "a.db")},
		"no directory": {Path: filepath.Join(dir, "nothing", "a.db"), SealKey: newKey(t)},
	} {
		_, err := ledger.Open(t.Context(), cfg)
		require.Error(t, err, name)
	}
	garbage := filepath.Join(dir, "garbage.db")
	require.NoError(t, os.WriteFile(garbage, bytes.Repeat([]byte("no database "), 1000), 0o600))
	_, err := ledger.Open(t.Context(), ledger.Config{Path: garbage, SealKey: newKey(t)})
	require.Error(t, err)

	later, key := filepath.Join(dir, "later.db"), newKey(t)
	l := openAt(t, later, key, clock)
	require.NoError(t, l.Close())
	db, err := sql.Open("sqlite", later)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `PRAGMA user_version = 99`)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	_, err = ledger.Open(t.Context(), ledger.Config{Path: later, SealKey: key})
	require.ErrorContains(t, err, "use a later program")
}

func TestTheLogIsAppendOnly(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "ledger.db"), ledgertest.NewClock()
	l := openAt(t, path, newKey(t), clock)
	require.NoError(t, l.Append(t.Context(), auditlog.Record{Kind: auditlog.Admin, Phase: auditlog.Single}, wire.Relaxed))
	require.NoError(t, l.Close())
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for _, text := range []string{`UPDATE audit SET record = x'00'`, `DELETE FROM audit`} {
		_, err := db.ExecContext(t.Context(), text)
		require.ErrorContains(t, err, "append-only")
	}
}

// TestSecretsRestSealed looks for every secret in the bytes on disk, in the log and in
// whatever formats an entity.
func TestSecretsRestSealed(t *testing.T) {
	dir, clock := t.TempDir(), ledgertest.NewClock()
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	l, err := ledger.Open(t.Context(), ledger.Config{Path: filepath.Join(dir, "ledger.db"), SealKey: newKey(t), Now: clock.Now, Logger: log, SweepEvery: -1})
	require.NoError(t, err)
	ledgertest.Populate(t, l, "acme")
	connector := ledgertest.Ref(t, "connector:acme/stripe")
	secrets := []string{"sk_live_0123456789", "-private-half-"}
	require.NoError(t, l.PutCredential(t.Context(), connector, agentid.NewSecret(secrets[0])))
	require.NoError(t, l.AddSigningKey(t.Context(), signer.Key{
		Info: signer.Info{ID: "k", Algorithm: "EdDSA", State: signer.StateActive}, Private: agentid.NewSecret(secrets[1]),
	}))
	info, admin, err := l.BootstrapAdmin(t.Context(), "root")
	require.NoError(t, err)
	clientInfo, client, err := l.AddClientSecret(t.Context(), connector)
	require.NoError(t, err)
	secrets = append(secrets, admin.Reveal(), client.Reveal())
	all, err := l.Connectors(t.Context())
	require.NoError(t, err)
	keys, err := l.SigningKeys(t.Context())
	require.NoError(t, err)
	_, wrong := l.AuthenticateAdmin(t.Context(), agentid.NewSecret(admin.Reveal()+"x"))
	log.Info("entities", "connectors", all, "keys", keys, "admin", admin, "info", info, "error", wrong)
	formatted := fmt.Sprintf("%v %+v %#v %s %q %v %v %v %v", all, all, keys, keys, admin, info, clientInfo, client, wrong)
	require.NoError(t, l.Close())

	for _, s := range secrets {
		require.NotContains(t, formatted, s)
		require.NotContains(t, logged.String(), s)
		for _, file := range []string{"ledger.db", "ledger.db-wal"} {
			b, err := os.ReadFile(filepath.Join(dir, file))
			if !os.IsNotExist(err) {
				require.NoError(t, err)
			}
			require.NotContains(t, string(b), s)
		}
	}
	info2, err := os.Stat(filepath.Join(dir, "ledger.db"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info2.Mode().Perm())
}

func TestChangesAreAnnounced(t *testing.T) {
	clock := ledgertest.NewClock()
	l := open(t, clock)
	ledgertest.Populate(t, l, "acme")
	connector := ledgertest.Ref(t, "connector:acme/stripe")
	for name, change := range map[string]func() error{
		"credential": func() error { return l.PutCredential(t.Context(), connector, agentid.NewSecret("x")) },
		"key": func() error {
			return l.AddSigningKey(t.Context(), signer.Key{Info: signer.Info{ID: "k", Algorithm: "EdDSA", State: signer.StateStaged}, Private: agentid.NewSecret("x")})
		},
		"floor": func() error {
			r, err := l.BeginRevocation(t.Context(), ledger.Revocation{Target: connector})
			if err != nil {
				return err
			}
			return l.SettleRevocation(t.Context(), r.Epoch, ledgertest.Zookie(t, "1"))
		},
	} {
		changed := l.Changed()
		require.NoError(t, change())
		select {
		case <-changed:
		default:
			t.Errorf("%s: not announced", name)
		}
	}
	changed := l.Changed()
	require.Error(t, l.PutCredential(t.Context(), ledgertest.Ref(t, "connector:acme/none"), agentid.NewSecret("x")))
	select {
	case <-changed:
		t.Error("a refused change was announced")
	default:
	}
}
