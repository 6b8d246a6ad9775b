package engine_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	authzed "github.com/authzed/authzed-go/v1"
	"github.com/authzed/grpcutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/engine"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
)

const readKey = "a-key-for-readers"

// client is authzed-go's client over TCP, which zed is built on.
func client(t *testing.T, e *engine.Engine, options ...grpc.DialOption) *authzed.Client {
	t.Helper()
	c, err := authzed.NewClient(e.ReadOnlyAddr(), append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func readable(t *testing.T) *engine.Engine {
	t.Helper()
	e := startEngine(t, engine.Config{ReadOnlyAddr: "127.0.0.1:0", ReadOnlyKey: agentid.NewSecret(readKey)})
	_, _, err := schema.Apply(t.Context(), e.Schema())
	require.NoError(t, err)
	return e
}

// write puts one edge into the graph, in memory.
func write(t *testing.T, e *engine.Engine, name string) *v1.RelationshipUpdate {
	t.Helper()
	tenant, err := agentid.TenantRef(name)
	require.NoError(t, err)
	u, err := relate.Touch(relate.Edge{Resource: tenant, Relation: schema.TenantEnabled, Subject: relate.All(schema.TypeAgent)})
	require.NoError(t, err)
	_, err = e.Permissions().WriteRelationships(t.Context(), &v1.WriteRelationshipsRequest{Updates: []*v1.RelationshipUpdate{u}})
	require.NoError(t, err)
	return u
}

// TestReadersMayRead uses the calls behind zed schema read, permission check, bulk,
// expand, lookup-resources, relationship read and watch.
func TestReadersMayRead(t *testing.T) {
	e := readable(t)
	written := write(t, e, "acme")
	c := client(t, e, grpcutil.WithInsecureBearerToken(readKey))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()

	text, err := c.ReadSchema(ctx, &v1.ReadSchemaRequest{})
	require.NoError(t, err)
	require.Contains(t, text.GetSchemaText(), "definition agent_type")
	_, err = c.ReflectSchema(ctx, &v1.ReflectSchemaRequest{})
	require.NoError(t, err)

	head := &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}}
	tenant := written.GetRelationship().GetResource()
	agent := &v1.SubjectReference{Object: &v1.ObjectReference{ObjectType: "agent", ObjectId: "acme/ag-1"}}
	checked, err := c.CheckPermission(ctx, &v1.CheckPermissionRequest{Consistency: head, Resource: tenant, Permission: "enabled", Subject: agent})
	require.NoError(t, err)
	require.Equal(t, v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION, checked.GetPermissionship())
	_, err = c.ExpandPermissionTree(ctx, &v1.ExpandPermissionTreeRequest{Consistency: head, Resource: tenant, Permission: "enabled"})
	require.NoError(t, err)

	found, err := c.LookupResources(ctx, &v1.LookupResourcesRequest{Consistency: head, ResourceObjectType: "tenant", Permission: "enabled", Subject: agent})
	require.NoError(t, err)
	one, err := found.Recv()
	require.NoError(t, err)
	require.Equal(t, "acme", one.GetResourceObjectId())
	_, err = found.Recv()
	require.ErrorIs(t, err, io.EOF)

	read, err := c.ReadRelationships(ctx, &v1.ReadRelationshipsRequest{Consistency: head, RelationshipFilter: &v1.RelationshipFilter{ResourceType: "tenant"}})
	require.NoError(t, err)
	edge, err := read.Recv()
	require.NoError(t, err)
	require.Equal(t, "enabled", edge.GetRelationship().GetRelation())

	watch, err := c.Watch(ctx, &v1.WatchRequest{OptionalStartCursor: text.GetReadAt()})
	require.NoError(t, err)
	write(t, e, "globex")
	event, err := watch.Recv()
	require.NoError(t, err)
	require.NotEmpty(t, event.GetUpdates())
}

// TestErrorsReachReaders: a refusal of SpiceDB's comes through with its code.
func TestErrorsReachReaders(t *testing.T) {
	c := client(t, readable(t), grpcutil.WithInsecureBearerToken(readKey))
	_, err := c.CheckPermission(t.Context(), &v1.CheckPermissionRequest{
		Resource:   &v1.ObjectReference{ObjectType: "nothing", ObjectId: "x"},
		Permission: "view", Subject: &v1.SubjectReference{Object: &v1.ObjectReference{ObjectType: "agent", ObjectId: "acme/x"}},
	})
	require.Equal(t, codes.FailedPrecondition, status.Code(err), "%v", err)
}

// TestReadersMayNotWrite goes through every method that SpiceDB registers, by its own
// descriptions: what is not on the list is refused before SpiceDB sees it.
func TestReadersMayNotWrite(t *testing.T) {
	e := readable(t)
	c := client(t, e, grpcutil.WithInsecureBearerToken(readKey))
	update := write(t, e, "acme")
	_, err := c.WriteRelationships(t.Context(), &v1.WriteRelationshipsRequest{Updates: []*v1.RelationshipUpdate{update}})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	_, err = c.DeleteRelationships(t.Context(), &v1.DeleteRelationshipsRequest{RelationshipFilter: &v1.RelationshipFilter{ResourceType: "tenant"}})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	_, err = c.WriteSchema(t.Context(), &v1.WriteSchemaRequest{Schema: "definition tenant {}"})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	stream, err := c.ImportBulkRelationships(t.Context())
	require.NoError(t, err)
	_ = stream.Send(&v1.ImportBulkRelationshipsRequest{Relationships: []*v1.Relationship{update.GetRelationship()}})
	_, err = stream.CloseAndRecv()
	require.Equal(t, codes.PermissionDenied, status.Code(err))

	passed := 0
	for _, service := range []grpc.ServiceDesc{
		v1.PermissionsService_ServiceDesc, v1.SchemaService_ServiceDesc, v1.WatchService_ServiceDesc, v1.ExperimentalService_ServiceDesc,
	} {
		names := []string{}
		for _, m := range service.Methods {
			names = append(names, m.MethodName)
		}
		for _, s := range service.Streams {
			names = append(names, s.StreamName)
		}
		for _, name := range names {
			if engine.Readable("/" + service.ServiceName + "/" + name) {
				passed++
				for _, verb := range []string{"Write", "Delete", "Import", "Register", "Unregister"} {
					require.False(t, strings.Contains(name, verb), "%s changes something", name)
				}
			}
		}
	}
	require.Equal(t, 13, passed)
}

func TestReadersNeedTheKey(t *testing.T) {
	e := readable(t)
	for name, option := range map[string]grpc.DialOption{
		"none":    grpc.WithUserAgent("nobody"),
		"another": grpcutil.WithInsecureBearerToken("another-key-altogether"),
		"prefix":  grpcutil.WithInsecureBearerToken(readKey[:len(readKey)-1]),
		"empty":   grpcutil.WithInsecureBearerToken(""),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client(t, e, option).ReadSchema(t.Context(), &v1.ReadSchemaRequest{})
			require.Equal(t, codes.Unauthenticated, status.Code(err), "%v", err)
		})
	}
}

func TestReadOnlyPortIsRefused(t *testing.T) {
	for name, cfg := range map[string]engine.Config{
		"every interface":   {ReadOnlyAddr: "0.0.0.0:0", ReadOnlyKey: agentid.NewSecret(readKey)},
		"every interface 6": {ReadOnlyAddr: "[::]:0", ReadOnlyKey: agentid.NewSecret(readKey)},
		"a public address":  {ReadOnlyAddr: "192.0.2.1:50051", ReadOnlyKey: agentid.NewSecret(readKey)},
		"mapped public":     {ReadOnlyAddr: "[::ffff:192.0.2.1]:50051", ReadOnlyKey: agentid.NewSecret(readKey)},
		"a name":            {ReadOnlyAddr: "localhost:50051", ReadOnlyKey: agentid.NewSecret(readKey)},
		"no host":           {ReadOnlyAddr: ":50051", ReadOnlyKey: agentid.NewSecret(readKey)},
		"no key":            {ReadOnlyAddr: "127.0.0.1:0"},
		"a short key":       {ReadOnlyAddr: "127.0.0.1:0", ReadOnlyKey: agentid.NewSecret("short")},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Datastore = openStore(t)
			_, err := engine.Start(t.Context(), cfg)
			require.Equal(t, agentid.KindInvalid, agentid.KindOf(err), "%v", err)
		})
	}
}

// TestCloseEndsWatchingReaders: an open watch does not hold Close up for long.
func TestCloseEndsWatchingReaders(t *testing.T) {
	e, err := engine.Start(t.Context(), engine.Config{Datastore: openStore(t), ReadOnlyAddr: "127.0.0.1:0", ReadOnlyKey: agentid.NewSecret(readKey)})
	require.NoError(t, err)
	_, _, err = schema.Apply(t.Context(), e.Schema())
	require.NoError(t, err)
	stream, err := client(t, e, grpcutil.WithInsecureBearerToken(readKey)).Watch(t.Context(), &v1.WatchRequest{})
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := stream.Recv(); err != nil {
				ended <- err
				return
			}
		}
	}()
	started := time.Now()
	require.NoError(t, e.Close())
	require.Less(t, time.Since(started), 8*time.Second)
	require.False(t, errors.Is(<-ended, io.EOF))
}
