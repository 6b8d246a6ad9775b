package engine_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/authzed/spicedb/pkg/datastore"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/engine"
	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

func openStore(tb testing.TB) *graphstore.Store {
	tb.Helper()
	store, err := graphstore.Open(tb.Context(), graphstore.Config{Path: filepath.Join(tb.TempDir(), "graph.db")})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, store.Close()) })
	return store
}

func startEngine(tb testing.TB, cfg engine.Config) *engine.Engine {
	tb.Helper()
	if cfg.Datastore == nil {
		cfg.Datastore = openStore(tb)
	}
	e, err := engine.Start(tb.Context(), cfg)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, e.Close()) })
	return e
}

func TestStartWantsADatastore(t *testing.T) {
	_, err := engine.Start(t.Context(), engine.Config{})
	require.Error(t, err)
}

func TestReadyUntilClosed(t *testing.T) {
	e, err := engine.Start(t.Context(), engine.Config{Datastore: openStore(t)})
	require.NoError(t, err)
	require.NoError(t, e.Ready(t.Context()))
	require.NoError(t, e.Answers(t.Context()))
	require.NoError(t, e.Close())
	require.NoError(t, e.Close())
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(e.Ready(t.Context())))
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(e.Answers(t.Context())), "at once, whatever it knew a moment ago")
	_, err = e.Schema().ReadSchema(t.Context(), &v1.ReadSchemaRequest{})
	require.Error(t, err)
}

func TestStartOutlivesItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e, err := engine.Start(ctx, engine.Config{Datastore: openStore(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	cancel()
	_, _, err = schema.Apply(t.Context(), e.Schema())
	require.NoError(t, err)
}

func TestStartWithACancelledContextLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := engine.Start(ctx, engine.Config{Datastore: openStore(t)})
	require.Equal(t, codes.Canceled, status.Code(err), "%v", err)
}

// down is a datastore that is not ready.
type down struct {
	datastore.Datastore
	state datastore.ReadyState
	err   error
}

func (d down) ReadyState(context.Context) (datastore.ReadyState, error) { return d.state, d.err }

func TestNotReadyWhenTheDatastoreIsNot(t *testing.T) {
	for name, d := range map[string]down{
		"says so": {state: datastore.ReadyState{Message: "no disk"}},
		"fails":   {err: errors.New("io error")},
	} {
		t.Run(name, func(t *testing.T) {
			d.Datastore = openStore(t)
			e := startEngine(t, engine.Config{Datastore: d})
			require.Equal(t, agentid.KindUnavailable, agentid.KindOf(e.Ready(t.Context())))
		})
	}
}

// TestSchemaChangeIsSeenAtOnce: the schema is cached by its text's hash, so the check
// after a write never runs on the schema before it.
func TestSchemaChangeIsSeenAtOnce(t *testing.T) {
	e := startEngine(t, engine.Config{})
	ctx := t.Context()
	write := func(text string) {
		_, err := e.Schema().WriteSchema(ctx, &v1.WriteSchemaRequest{Schema: text})
		require.NoError(t, err)
	}
	permissionship := func() v1.CheckPermissionResponse_Permissionship {
		resp, err := e.Permissions().CheckPermission(ctx, &v1.CheckPermissionRequest{
			Consistency: &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}},
			Resource:    &v1.ObjectReference{ObjectType: "document", ObjectId: "d"}, Permission: "view",
			Subject: &v1.SubjectReference{Object: &v1.ObjectReference{ObjectType: "person", ObjectId: "p"}},
		})
		require.NoError(t, err)
		return resp.GetPermissionship()
	}
	const head = "definition person {}\ndefinition document { relation reader: person\n relation banned: person\n "
	write(head + "permission view = reader\n}")
	_, err := e.Permissions().WriteRelationships(ctx, &v1.WriteRelationshipsRequest{Updates: []*v1.RelationshipUpdate{
		touch("document:d", "reader", "p"), touch("document:d", "banned", "p"),
	}})
	require.NoError(t, err)
	for range 10 {
		write(head + "permission view = reader\n}")
		require.Equal(t, v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION, permissionship())
		write(head + "permission view = reader - banned\n}")
		require.Equal(t, v1.CheckPermissionResponse_PERMISSIONSHIP_NO_PERMISSION, permissionship())
	}
}

func touch(_, relation, person string) *v1.RelationshipUpdate {
	return &v1.RelationshipUpdate{
		Operation: v1.RelationshipUpdate_OPERATION_TOUCH,
		Relationship: &v1.Relationship{
			Resource: &v1.ObjectReference{ObjectType: "document", ObjectId: "d"}, Relation: relation,
			Subject: &v1.SubjectReference{Object: &v1.ObjectReference{ObjectType: "person", ObjectId: person}},
		},
	}
}

func TestWritesAreBounded(t *testing.T) {
	e := startEngine(t, engine.Config{})
	_, _, err := schema.Apply(t.Context(), e.Schema())
	require.NoError(t, err)
	updates := make([]*v1.RelationshipUpdate, engine.MaxUpdates+1)
	for i := range updates {
		updates[i] = touch("", "x", "p")
	}
	_, err = e.Permissions().WriteRelationships(t.Context(), &v1.WriteRelationshipsRequest{Updates: updates})
	require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
}

func TestWatchInMemory(t *testing.T) {
	e := startEngine(t, engine.Config{})
	_, at, err := schema.Apply(t.Context(), e.Schema())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream, err := e.Watch().Watch(ctx, &v1.WatchRequest{OptionalStartCursor: &v1.ZedToken{Token: string(at)}})
	require.NoError(t, err)
	write(t, e, "acme")
	event, err := stream.Recv()
	require.NoError(t, err)
	require.Len(t, event.GetUpdates(), 1)
}
