package graphstore_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/authzed/spicedb/pkg/cmd/datastore"
	"github.com/authzed/spicedb/pkg/datalayer"
	ds "github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/datastore/options"
	"github.com/authzed/spicedb/pkg/embedded"
	"github.com/authzed/spicedb/pkg/schemadsl/compiler"
	"github.com/authzed/spicedb/pkg/schemadsl/input"
	"github.com/authzed/spicedb/pkg/tuple"

	"github.com/agentid-dev/agentid/internal/graphstore"
)

// schemaText has the shape of the product's schema, as far as a check goes.
const schemaText = `use expiration

definition tenant {
	relation enabled: agent:*
}

definition principal {
	relation tenant: tenant
	relation enabled: agent:*
}

definition agent_type {
	relation tenant: tenant
	relation instance: agent
	relation enabled: agent:*
}

definition agent {
	relation tenant: tenant
	relation type: agent_type
	relation principal: principal
	relation parent: agent
	relation lineage: agent
	relation enabled: agent:* with expiration

	permission alive = enabled & tenant->enabled & principal->enabled & type->enabled
	permission live = lineage.all(alive)
}

definition payments_account {
	relation tenant: tenant
	relation enabled: agent:* | principal:*
	relation refunder: agent_type#instance | principal

	permission active = enabled & tenant->enabled
	permission refund = refunder
}`

// Shape of a population: agents stand in chains, each the parent of the next.
const (
	chain          = 4
	agentsPerHuman = 100
	agentTypes     = 10
)

func agentID(i int) string     { return fmt.Sprintf("acme/agent-%08d", i) }
func principalID(i int) string { return fmt.Sprintf("acme/person-%06d", i/agentsPerHuman) }
func typeID(i int) string      { return fmt.Sprintf("acme/type-%d", i/chain%agentTypes) }

// population yields the relationships of n agents with lineage, and all that they
// need to be live and to refund.
func population(n int) func(yield func(tuple.Relationship) bool) {
	return func(yield func(tuple.Relationship) bool) {
		at := time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
		ok := true
		add := func(rt, ri, rel, st, si, srel string, expires bool) {
			r := tuple.Relationship{RelationshipReference: tuple.RelationshipReference{
				Resource: tuple.ObjectAndRelation{ObjectType: rt, ObjectID: ri, Relation: rel},
				Subject:  tuple.ObjectAndRelation{ObjectType: st, ObjectID: si, Relation: srel},
			}}
			if expires {
				r.OptionalExpiration = &at
			}
			ok = ok && yield(r)
		}
		const dots = tuple.Ellipsis
		add("tenant", "acme", "enabled", "agent", "*", dots, false)
		add("payments_account", "acme/stripe", "tenant", "tenant", "acme", dots, false)
		add("payments_account", "acme/stripe", "enabled", "agent", "*", dots, false)
		for i := range agentTypes {
			id := typeID(i * chain)
			add("agent_type", id, "tenant", "tenant", "acme", dots, false)
			add("agent_type", id, "enabled", "agent", "*", dots, false)
			add("payments_account", "acme/stripe", "refunder", "agent_type", id, "instance", false)
		}
		for i := 0; i < n && ok; i++ {
			id := agentID(i)
			if i%agentsPerHuman == 0 {
				add("principal", principalID(i), "tenant", "tenant", "acme", dots, false)
				add("principal", principalID(i), "enabled", "agent", "*", dots, false)
			}
			add("agent", id, "tenant", "tenant", "acme", dots, false)
			add("agent", id, "type", "agent_type", typeID(i), dots, false)
			add("agent", id, "principal", "principal", principalID(i), dots, false)
			add("agent", id, "enabled", "agent", "*", dots, true)
			add("agent_type", typeID(i), "instance", "agent", id, dots, false)
			for j := i - i%chain; j <= i; j++ {
				add("agent", id, "lineage", "agent", agentID(j), dots, false)
			}
			if i%chain > 0 {
				add("agent", id, "parent", "agent", agentID(i-1), dots, false)
			}
		}
	}
}

// source feeds BulkLoad from a channel of slices.
type source struct {
	rels []tuple.Relationship
	i    int
}

func (s *source) Next(context.Context) (*tuple.Relationship, error) {
	if s.i == len(s.rels) {
		return nil, nil //nolint:nilnil // the interface's way to say "no more"
	}
	s.i++
	return &s.rels[s.i-1], nil
}

// fill writes the schema and n agents.
func fill(tb testing.TB, store ds.Datastore, n int) {
	tb.Helper()
	ctx := context.Background()
	writeSchema(tb, store)
	var batch []tuple.Relationship
	flush := func() {
		_, err := store.ReadWriteTx(ctx, func(ctx context.Context, rwt ds.ReadWriteTransaction) error {
			_, err := rwt.BulkLoad(ctx, &source{rels: batch})
			return err
		}, options.WithDisableRetries(true))
		require.NoError(tb, err)
		batch = batch[:0]
	}
	for r := range population(n) {
		if batch = append(batch, r); len(batch) == 20_000 {
			flush()
		}
	}
	flush()
}

func writeSchema(tb testing.TB, store ds.Datastore) {
	tb.Helper()
	text := schemaText
	compiled, err := compiler.Compile(compiler.InputSchema{Source: input.Source("schema"), SchemaString: text}, compiler.AllowUnprefixedObjectType())
	require.NoError(tb, err)
	var defs []ds.SchemaDefinition
	for _, d := range compiled.ObjectDefinitions {
		defs = append(defs, d)
	}
	for _, d := range compiled.CaveatDefinitions {
		defs = append(defs, d)
	}
	_, err = store.ReadWriteTx(context.Background(), func(ctx context.Context, rwt ds.ReadWriteTransaction) error {
		_, _, err := datalayer.WriteSchemaViaStoredSchema(ctx, rwt, defs, text)
		return err
	})
	require.NoError(tb, err)
}

func open(tb testing.TB, cfg graphstore.Config) *graphstore.Store {
	tb.Helper()
	if cfg.Path == "" {
		cfg.Path = filepath.Join(tb.TempDir(), "graph.db")
	}
	s, err := graphstore.Open(context.Background(), cfg)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

// openMemory is SpiceDB's own memory store, to compare with.
func openMemory(tb testing.TB) ds.Datastore {
	tb.Helper()
	m, err := datastore.NewDatastore(context.Background(), datastore.WithEngine(datastore.MemoryEngine))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, m.Close()) })
	return m
}

func checker(tb testing.TB, store ds.Datastore) *embedded.Permissions {
	tb.Helper()
	p, err := embedded.NewPermissions(embedded.Config{
		Datastore: store, SchemaMode: datalayer.SchemaModeReadNewWriteNew, SchemaCacheMaxCostBytes: 1 << 24,
	})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, p.Close()) })
	return p
}

// checkKinds are the questions of a decision.
var checkKinds = []string{"alive", "live", "refund"}

// ask asks one question about agent i and requires a yes.
func ask(tb testing.TB, p *embedded.Permissions, kind string, i int) {
	req := embedded.CheckRequest{ResourceType: "agent", ResourceID: agentID(i), Permission: kind, SubjectType: "agent", SubjectID: agentID(i)}
	if kind == "refund" {
		req.ResourceType, req.ResourceID = "payments_account", "acme/stripe"
	}
	res, err := p.Check(context.Background(), req)
	if err != nil || !res.HasPermission {
		tb.Fatalf("%s of agent %d: %+v %v", kind, i, res, err)
	}
}
