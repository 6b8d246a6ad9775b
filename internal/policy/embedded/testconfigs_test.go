package embedded_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	caveattypes "github.com/authzed/spicedb/pkg/caveats/types"
	"github.com/authzed/spicedb/pkg/datalayer"
	spicedb "github.com/authzed/spicedb/pkg/embedded"
	"github.com/authzed/spicedb/pkg/tuple"
	"github.com/authzed/spicedb/pkg/validationfile"
	"github.com/authzed/spicedb/pkg/validationfile/blocks"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agentid-dev/agentid/internal/engine"
	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/internal/policy/embedded"
)

const (
	has         = v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION
	hasNot      = v1.CheckPermissionResponse_PERMISSIONSHIP_NO_PERMISSION
	conditional = v1.CheckPermissionResponse_PERMISSIONSHIP_CONDITIONAL_PERMISSION
)

// TestSpiceDBTestConfigs loads every test configuration of SpiceDB's own, and the one
// that it sets apart for the `self` keyword, and wants the answers that it asserts: from
// the engine by one check and by a bulk, and from the checker in this process.
func TestSpiceDBTestConfigs(t *testing.T) {
	dir := configDir(t)
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	require.NoError(t, err)
	require.Len(t, files, 73, "the configurations of this SpiceDB version")
	asserted, caveated := 0, 0
	for _, file := range append(files, filepath.Join(dir, "self.yaml.skip")) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			a := load(t, file)
			a.expect(t, a.file.Assertions.AssertTrue, has)
			a.expect(t, a.file.Assertions.AssertCaveated, conditional)
			a.expect(t, a.file.Assertions.AssertFalse, hasNot)
			asserted += a.count
			caveated += len(a.file.Assertions.AssertCaveated)
		})
	}
	require.GreaterOrEqual(t, asserted, 400)
	require.Positive(t, caveated)
	t.Logf("%d configurations, %d assertions, %d of them caveated", len(files)+1, asserted, caveated)
}

func configDir(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/authzed/spicedb").Output()
	require.NoError(t, err)
	return filepath.Join(strings.TrimSpace(string(out)), "internal", "services", "integrationtesting", "testconfigs")
}

type asserter struct {
	file    validationfile.ValidationFile
	engine  *engine.Engine
	checker *embedded.Checker
	count   int
}

// load writes one configuration into a graph of its own, in the engine's schema mode.
func load(t *testing.T, path string) *asserter {
	t.Helper()
	store, err := graphstore.Open(t.Context(), graphstore.Config{Path: filepath.Join(t.TempDir(), "graph.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	layer := datalayer.NewDataLayer(store, datalayer.WithSchemaMode(engine.SchemaMode))
	populated, _, err := validationfile.PopulateFromFiles(t.Context(), layer, caveattypes.Default.TypeSet, []string{path})
	require.NoError(t, err)
	require.Len(t, populated.ParsedFiles, 1)
	e, err := engine.Start(t.Context(), engine.Config{Datastore: store})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	checker, ok := e.Checker().(*embedded.Checker)
	require.True(t, ok)
	return &asserter{file: populated.ParsedFiles[0], engine: e, checker: checker}
}

func (a *asserter) expect(t *testing.T, assertions []blocks.Assertion, want v1.CheckPermissionResponse_Permissionship) {
	t.Helper()
	for _, assertion := range assertions {
		a.count++
		rel := assertion.Relationship
		require.Equal(t, want, a.single(t, assertion), "the engine on %s", assertion.RelationshipWithContextString)
		require.Equal(t, want, a.bulk(t, assertion), "the engine, in bulk, on %s", assertion.RelationshipWithContextString)
		require.Equal(t, want, a.inProcess(t, rel, assertion.CaveatContext), "the checker on %s", assertion.RelationshipWithContextString)
	}
}

func (a *asserter) single(t *testing.T, assertion blocks.Assertion) v1.CheckPermissionResponse_Permissionship {
	t.Helper()
	rel := tuple.ToV1Relationship(assertion.Relationship)
	resp, err := a.engine.Permissions().CheckPermission(t.Context(), &v1.CheckPermissionRequest{
		Consistency: headConsistency(), Resource: rel.GetResource(), Permission: rel.GetRelation(),
		Subject: rel.GetSubject(), Context: contextOf(t, assertion),
	})
	require.NoError(t, err)
	return resp.GetPermissionship()
}

func (a *asserter) bulk(t *testing.T, assertion blocks.Assertion) v1.CheckPermissionResponse_Permissionship {
	t.Helper()
	rel := tuple.ToV1Relationship(assertion.Relationship)
	resp, err := a.engine.Permissions().CheckBulkPermissions(t.Context(), &v1.CheckBulkPermissionsRequest{
		Consistency: headConsistency(),
		Items: []*v1.CheckBulkPermissionsRequestItem{{
			Resource: rel.GetResource(), Permission: rel.GetRelation(), Subject: rel.GetSubject(), Context: contextOf(t, assertion),
		}},
	})
	require.NoError(t, err)
	require.Len(t, resp.GetPairs(), 1)
	return resp.GetPairs()[0].GetItem().GetPermissionship()
}

func (a *asserter) inProcess(t *testing.T, rel tuple.Relationship, context map[string]any) v1.CheckPermissionResponse_Permissionship {
	t.Helper()
	result, err := a.checker.AskRaw(t.Context(), spicedb.CheckRequest{
		ResourceType: rel.Resource.ObjectType, ResourceID: rel.Resource.ObjectID, Permission: rel.Resource.Relation,
		SubjectType: rel.Subject.ObjectType, SubjectID: rel.Subject.ObjectID, SubjectRelation: rel.Subject.Relation,
		CaveatContext: context,
	})
	require.NoError(t, err)
	switch {
	case result.HasPermission:
		return has
	case result.IsConditional:
		return conditional
	}
	return hasNot
}

func headConsistency() *v1.Consistency {
	return &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}}
}

func contextOf(t *testing.T, assertion blocks.Assertion) *structpb.Struct {
	t.Helper()
	if len(assertion.CaveatContext) == 0 {
		return nil
	}
	s, err := structpb.NewStruct(assertion.CaveatContext)
	require.NoError(t, err)
	return s
}
