package remote_test

import (
	"context"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/authzed/grpcutil"
	"github.com/authzed/spicedb/pkg/cmd/server"
	"github.com/authzed/spicedb/pkg/datastore"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
	"github.com/agentid-dev/agentid/internal/policy/remote"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

// TestCheckerSuite runs against a SpiceDB server over TCP, set up as it comes: a foreign
// zookie is forgiven by the server, and refused all the same.
func TestCheckerSuite(t *testing.T) {
	policytest.Run(t, func(tb testing.TB) policytest.Graph { return serve(tb, "full-consistency") })
}

// TestCheckerSuiteStrict is the same against a server that refuses a foreign zookie.
func TestCheckerSuiteStrict(t *testing.T) {
	policytest.Run(t, func(tb testing.TB) policytest.Graph { return serve(tb, "error") })
}

func TestNewWantsAClient(t *testing.T) {
	_, err := remote.New(remote.Config{})
	require.Error(t, err)
}

// TestUnreachable: nobody listens, and that is an outage, not a refusal.
func TestUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	requireOutage(t, listener.Addr().String())
}

// TestHalfOpen: somebody accepts and never answers.
func TestHalfOpen(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	requireOutage(t, listener.Addr().String())
}

func requireOutage(t *testing.T, address string) {
	t.Helper()
	conn := dial(t, address)
	checker, err := remote.New(remote.Config{Permissions: v1.NewPermissionsServiceClient(conn), Timeout: 200 * time.Millisecond})
	require.NoError(t, err)
	decider, err := policy.New(policy.Config{Checker: checker})
	require.NoError(t, err)
	w := policytest.World{
		Alice:    policytest.Must(agentid.PrincipalRef("acme", "alice")),
		Agents:   []agentid.Ref{policytest.Must(agentid.AgentRef("acme", "ag-1"))},
		Account:  policytest.Must(agentid.ResourceRef("payments_account", "acme", "stripe")),
		Customer: policytest.Must(agentid.ResourceRef("payments_customer", "acme", "cus_1")),
		Token:    policytest.Must(agentid.TokenRef("acme", "jti-1")),
	}
	allowed, err := decider.Decide(t.Context(), w.Question())
	require.False(t, allowed.Valid())
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err), "%v", err)
	require.Equal(t, policy.ReasonGraphUnavailable, agentid.ReasonOf(err))
}

// lagging is a datastore whose own choice of revision stands still once it is frozen, as
// a cluster's does for some seconds.
type lagging struct {
	datastore.Datastore
	at atomic.Pointer[datastore.RevisionWithSchemaHash]
}

func (l *lagging) OptimizedRevision(ctx context.Context) (datastore.RevisionWithSchemaHash, error) {
	if at := l.at.Load(); at != nil {
		return *at, nil
	}
	return l.HeadRevision(ctx)
}

// TestRaisingTheZookieChangesTheAnswer: with the zookie from before something was taken
// away the answer of a cluster that lags is yes; with that of the taking away it is no.
// That is why a question carries the newest of the token's and the floor's.
func TestRaisingTheZookieChangesTheAnswer(t *testing.T) {
	store, err := graphstore.Open(t.Context(), graphstore.Config{Path: filepath.Join(t.TempDir(), "graph.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	lag := &lagging{Datastore: store}
	w := policytest.NewWorld(t, serveOver(t, lag, "error"), "acme", 1)
	head, err := store.HeadRevision(t.Context())
	require.NoError(t, err)
	lag.at.Store(&head)
	before := w.Question()
	_, err = w.Decider(t).Decide(t.Context(), before)
	require.NoError(t, err)
	w.Delete(t, w.Enabled(w.Agents[0]))
	stale, err := w.Decider(t).Decide(t.Context(), before)
	require.NoError(t, err)
	require.Equal(t, before.AtLeast, stale.Zookie())
	_, err = w.Decider(t).Decide(t.Context(), w.Question())
	require.Equal(t, policy.ReasonAgentNotLive, agentid.ReasonOf(err))
}

// serve runs a SpiceDB server of its own on loopback, over a graphstore.
func serve(tb testing.TB, mismatch string) policytest.Graph {
	tb.Helper()
	store, err := graphstore.Open(tb.Context(), graphstore.Config{Path: filepath.Join(tb.TempDir(), "graph.db")})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, store.Close()) })
	return serveOver(tb, store, mismatch)
}

func serveOver(tb testing.TB, store datastore.Datastore, mismatch string) policytest.Graph {
	tb.Helper()
	cfg := server.NewConfigWithOptionsAndDefaults()
	cfg.Datastore = store
	cfg.PresharedSecureKey = []string{"key-of-the-test"}
	cfg.GRPCServer.Address = freeAddress(tb)
	cfg.GRPCServer.Network = "tcp"
	cfg.HTTPGateway.HTTPEnabled, cfg.MetricsAPI.HTTPEnabled = false, false
	cfg.SilentlyDisableTelemetry = true
	cfg.EnableMemoryProtectionMiddleware = false
	cfg.DispatchCacheConfig.Enabled = false
	cfg.MismatchZedTokenBehavior = mismatch
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	srv, err := cfg.Complete(ctx)
	require.NoError(tb, err)
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		require.NoError(tb, <-stopped)
	})
	conn := dial(tb, cfg.GRPCServer.Address)
	_, err = healthpb.NewHealthClient(conn).Check(tb.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	require.NoError(tb, err)
	permissions := v1.NewPermissionsServiceClient(conn)
	checker, err := remote.New(remote.Config{Permissions: permissions, Timeout: 10 * time.Second})
	require.NoError(tb, err)
	return policytest.Graph{Checker: checker, Permissions: permissions, Schema: v1.NewSchemaServiceClient(conn)}
}

func dial(tb testing.TB, address string) *grpc.ClientConn {
	tb.Helper()
	conn, err := grpc.NewClient(
		address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpcutil.WithInsecureBearerToken("key-of-the-test"),
	)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// freeAddress finds a port for a server that takes an address, not a listener.
func freeAddress(tb testing.TB) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	require.NoError(tb, listener.Close())
	return listener.Addr().String()
}
