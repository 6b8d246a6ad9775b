package server_test

import (
	"context"
	"errors"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server"
)

func TestRevokedTokenIsGoodNoMore(t *testing.T) {
	w := newWorld(t)
	token, _ := w.mint(w.agent)
	other, _ := w.mint(w.agent)
	before, epochBefore, _, err := w.broker.Fleet().Floor(t.Context())
	require.NoError(t, err)

	resp, doc := w.asAgent(w.agent, "/acme/oauth2/revoke", token)
	require.Equal(t, 200, resp.StatusCode, "%v", doc)
	require.Empty(t, doc)
	_, doc = w.asService(token)
	require.Equal(t, inactive, doc)
	_, doc = w.asService(other)
	require.Equal(t, true, doc["active"], "only that token")

	rec := w.audited(resp)
	require.Equal(t, auditlog.Revoke, rec.Kind)
	require.Equal(t, auditlog.Allow, rec.Decision)
	require.Equal(t, w.claims(other).ClientID, rec.Agent)
	require.NotEmpty(t, rec.Token)

	floor, epoch, _, err := w.broker.Fleet().Floor(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, before, floor, "the floor was raised before the answer")
	require.Greater(t, epoch, epochBefore)

	// Again, and by the root's endpoint: nothing changes.
	resp, _ = w.asAgent(w.agent, "/oauth2/revoke", token)
	require.Equal(t, 200, resp.StatusCode)
	w.mint(w.agent)
}

func TestRevocationOfWhatIsNotThere(t *testing.T) {
	w := newWorld(t)
	token, _ := w.mint(w.agent)
	rival := w.spawn("rival", "ag-1", "", nil, time.Hour)
	other := w.spawn("acme", "ag-2", "", nil, time.Hour)
	rows := len(must(w.ledger.Revocations(t.Context(), "acme", 0, 0)))
	for name, ask := range map[string]func() int{
		"unknown":                func() int { r, _ := w.asAgent(w.agent, "/acme/oauth2/revoke", "unknown"); return r.StatusCode },
		"another tenant's":       func() int { r, _ := w.asAgent(rival, "/rival/oauth2/revoke", token); return r.StatusCode },
		"another tenant's, root": func() int { r, _ := w.asAgent(rival, "/oauth2/revoke", token); return r.StatusCode },
	} {
		require.Equal(t, 200, ask(), name)
	}
	resp, doc := w.asAgent(other, "/acme/oauth2/revoke", token)
	w.refused(resp, doc, 403, "access_denied", "token_foreign")
	require.Len(t, must(w.ledger.Revocations(t.Context(), "acme", 0, 0)), rows)
	_, doc = w.asService(token)
	require.Equal(t, true, doc["active"])

	w.shift.Add(int64(10 * time.Minute))
	resp, _ = w.asAgent(w.agent, "/acme/oauth2/revoke", token)
	require.Equal(t, 200, resp.StatusCode)
	require.Len(t, must(w.ledger.Revocations(t.Context(), "acme", 0, 0)), rows, "an expired token leaves nothing to take away")
}

func TestRevocationRefuses(t *testing.T) {
	w := newWorld(t)
	token, _ := w.mint(w.agent)
	resp, doc := w.post("/acme/oauth2/revoke", url.Values{"token": {token}}, basic("connector:acme/stripe", w.secret))
	w.refused(resp, doc, 401, "invalid_client", "credential_method")
	resp, doc = w.post("/acme/oauth2/revoke", url.Values{"token": {token}}, nil)
	w.refused(resp, doc, 401, "invalid_client", "credential_missing")
	resp, doc = w.asAgent(w.agent, "/acme/oauth2/revoke", "")
	w.refused(resp, doc, 400, "invalid_request", "invalid_request")
	_, doc = w.asService(token)
	require.Equal(t, true, doc["active"])
}

// A frozen agent may still take its own token back.
func TestFrozenAgentRevokes(t *testing.T) {
	w := newWorld(t)
	token, _ := w.mint(w.agent)
	w.remove(enabled(w.agent.ref))
	resp, doc := w.asAgent(w.agent, "/acme/oauth2/revoke", token)
	require.Equal(t, 200, resp.StatusCode, "%v", doc)
	w.touch(enabled(w.agent.ref))
	_, doc = w.asService(token)
	require.Equal(t, inactive, doc)
}

func TestRevocationByJTI(t *testing.T) {
	w := newWorld(t)
	token, _ := w.mint(w.agent)
	ref := must(agentid.TokenRef("acme", w.claims(token).ID))
	_, err := w.broker.Revoker().Revoke(t.Context(), ref, "leaked", "admin:root")
	require.NoError(t, err)
	_, doc := w.asService(token)
	require.Equal(t, inactive, doc)
	page, err := w.ledger.Audit().Query(t.Context(), auditlog.Query{Token: ref.Name(), Kind: auditlog.Revoke})
	require.NoError(t, err)
	require.Len(t, page.Records, 1)
	require.Equal(t, map[string]string{"actor": "admin:root", "reason": "leaked"}, page.Records[0].Notes)

	foreign := must(agentid.TokenRef("rival", ref.Name()))
	_, err = w.broker.Revoker().Revoke(t.Context(), foreign, "guess", "admin:rival")
	require.Equal(t, agentid.KindNotFound, agentid.KindOf(err))
}

// faulty is SpiceDB's real client with faults that can be switched on.
type faulty struct {
	v1.PermissionsServiceClient
	failWrite, loseAck, staleRead atomic.Bool
}

var errDown = status.Error(codes.Unavailable, "down")

func (f *faulty) WriteRelationships(ctx context.Context, in *v1.WriteRelationshipsRequest, opts ...grpc.CallOption) (*v1.WriteRelationshipsResponse, error) {
	if f.failWrite.Load() {
		return nil, errDown
	}
	resp, err := f.PermissionsServiceClient.WriteRelationships(ctx, in, opts...)
	if f.loseAck.Load() {
		return nil, errors.Join(errDown, err)
	}
	return resp, err
}

func (f *faulty) CheckPermission(ctx context.Context, in *v1.CheckPermissionRequest, opts ...grpc.CallOption) (*v1.CheckPermissionResponse, error) {
	if f.staleRead.Load() {
		return &v1.CheckPermissionResponse{Permissionship: v1.CheckPermissionResponse_PERMISSIONSHIP_NO_PERMISSION}, nil
	}
	return f.PermissionsServiceClient.CheckPermission(ctx, in, opts...)
}

// A revoke that is not finished is not acknowledged, and is finished by the sweeper.
func TestRevocationIsReplayed(t *testing.T) {
	for name, broken := range map[string]func(*faulty) *atomic.Bool{
		"the graph is down":           func(f *faulty) *atomic.Bool { return &f.failWrite },
		"the acknowledgement is lost": func(f *faulty) *atomic.Bool { return &f.loseAck },
		"the edge is not read back":   func(f *faulty) *atomic.Bool { return &f.staleRead },
	} {
		t.Run(name, func(t *testing.T) {
			graph := &faulty{}
			w := newWorld(t, func(c *server.Config) { graph.PermissionsServiceClient, c.Permissions = c.Permissions, graph })
			token, _ := w.mint(w.agent)
			_, epoch, _, err := w.broker.Fleet().Floor(t.Context())
			require.NoError(t, err)
			broken(graph).Store(true)
			resp, doc := w.asAgent(w.agent, "/acme/oauth2/revoke", token)
			require.Equal(t, 503, resp.StatusCode, "%v", doc)
			require.Equal(t, "graph_unavailable", doc["reason"])
			require.NotEmpty(t, resp.Header.Get("Retry-After"))
			require.Len(t, must(w.ledger.OpenRevocations(t.Context())), 1)
			n, _, err := w.broker.Revoker().Sweep(t.Context())
			require.Error(t, err)
			require.Zero(t, n)
			_, still, _, err := w.broker.Fleet().Floor(t.Context())
			require.NoError(t, err)
			require.Equal(t, epoch, still)

			broken(graph).Store(false)
			n, _, err = w.broker.Revoker().Sweep(t.Context())
			require.NoError(t, err)
			require.Equal(t, 1, n)
			_, doc = w.asService(token)
			require.Equal(t, inactive, doc)
			require.Empty(t, must(w.ledger.OpenRevocations(t.Context())))
			n, _, err = w.broker.Revoker().Sweep(t.Context())
			require.NoError(t, err)
			require.Zero(t, n)
		})
	}
}

// Open intents are replayed at start, and keys and connectors follow the ledger.
func TestRunReplaysAndFollows(t *testing.T) {
	graph := &faulty{}
	w := newWorld(t, func(c *server.Config) { graph.PermissionsServiceClient, c.Permissions = c.Permissions, graph })
	token, _ := w.mint(w.agent)
	graph.failWrite.Store(true)
	resp, _ := w.asAgent(w.agent, "/acme/oauth2/revoke", token)
	require.Equal(t, 503, resp.StatusCode)
	graph.failWrite.Store(false)

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.broker.Run(ctx); close(done) }()
	require.Eventually(t, func() bool {
		open, err := w.ledger.OpenRevocations(t.Context())
		return err == nil && len(open) == 0
	}, 5*time.Second, 5*time.Millisecond)
	_, doc := w.asService(token)
	require.Equal(t, inactive, doc)

	require.NoError(t, w.ledger.PutCredential(t.Context(), must(agentid.ConnectorRef("acme", "stripe")), agentid.NewSecret("sk_test_1")))
	require.Eventually(t, func() bool {
		c, err := w.broker.Fleet().Connector(must(agentid.ConnectorRef("acme", "stripe")))
		return err == nil && c.Credential.Reveal() == "sk_test_1"
	}, 5*time.Second, 5*time.Millisecond)
	stop()
	<-done
}
