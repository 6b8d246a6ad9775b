package schema_test

import (
	"context"
	"path/filepath"
	"testing"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/engine"
	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

func start(t *testing.T) *engine.Engine {
	t.Helper()
	store, err := graphstore.Open(t.Context(), graphstore.Config{Path: filepath.Join(t.TempDir(), "graph.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	e, err := engine.Start(t.Context(), engine.Config{Datastore: store})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func TestApplyIsIdempotent(t *testing.T) {
	e := start(t)
	before, err := schema.Current(t.Context(), e.Schema())
	require.NoError(t, err)
	require.Empty(t, before)
	changed, first, err := schema.Apply(t.Context(), e.Schema())
	require.NoError(t, err)
	require.True(t, changed)
	require.NotEmpty(t, first)
	for range 2 {
		again, at, err := schema.Apply(t.Context(), e.Schema())
		require.NoError(t, err)
		require.False(t, again)
		require.Equal(t, first, at, "nothing was written")
	}
	current, err := schema.Current(t.Context(), e.Schema())
	require.NoError(t, err)
	require.Equal(t, schema.Version(), schema.Digest(current), "what is in place has the version's digest")
}

func TestApplyAddsAFragmentAndTakesItAway(t *testing.T) {
	e := start(t)
	_, _, err := schema.Apply(t.Context(), e.Schema())
	require.NoError(t, err)
	wider, err := schema.Compose(append(schema.Builtin(), schema.Fragment{Name: "wiki", Text: "definition wiki_page {\n relation reader: principal\n}"})...)
	require.NoError(t, err)
	changed, _, err := schema.ApplyText(t.Context(), e.Schema(), wider)
	require.NoError(t, err)
	require.True(t, changed)
	changed, _, err = schema.Apply(t.Context(), e.Schema())
	require.NoError(t, err)
	require.True(t, changed)
}

// TestApplyRefusesToOrphan: a schema that takes away what relationships use is refused,
// and the one in place stays.
func TestApplyRefusesToOrphan(t *testing.T) {
	e := start(t)
	_, _, err := schema.Apply(t.Context(), e.Schema())
	require.NoError(t, err)
	tenant, err := agentid.TenantRef("acme")
	require.NoError(t, err)
	update, err := relate.Touch(relate.Edge{Resource: tenant, Relation: schema.TenantEnabled, Subject: relate.All(schema.TypeAgent)})
	require.NoError(t, err)
	_, err = e.Permissions().WriteRelationships(t.Context(), &v1.WriteRelationshipsRequest{Updates: []*v1.RelationshipUpdate{update}})
	require.NoError(t, err)
	_, _, err = schema.ApplyText(t.Context(), e.Schema(), "definition tenant {}")
	require.Equal(t, agentid.KindConflict, agentid.KindOf(err), "%v", err)
	require.Equal(t, schema.ReasonInUse, agentid.ReasonOf(err))
	current, err := schema.Current(t.Context(), e.Schema())
	require.NoError(t, err)
	require.Equal(t, schema.Text(), current)
}

func TestApplyRefusesWhatDoesNotParse(t *testing.T) {
	e := start(t)
	_, _, err := schema.Apply(t.Context(), e.Schema())
	require.NoError(t, err)
	_, _, err = schema.ApplyText(t.Context(), e.Schema(), "definition {")
	require.Equal(t, agentid.KindInvalid, agentid.KindOf(err), "%v", err)
}

// gone is a schema service that cannot be reached.
type gone struct{ v1.SchemaServiceClient }

func (gone) ReadSchema(context.Context, *v1.ReadSchemaRequest, ...grpc.CallOption) (*v1.ReadSchemaResponse, error) {
	return nil, status.Error(codes.Unavailable, "connection refused")
}

func TestApplyWithoutAGraphIsAnOutage(t *testing.T) {
	changed, _, err := schema.Apply(t.Context(), gone{})
	require.False(t, changed)
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err))
	_, err = schema.Current(t.Context(), gone{})
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err))
}
