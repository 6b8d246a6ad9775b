package hub_test

import (
	"testing"

	core "github.com/authzed/spicedb/pkg/proto/core/v1"
	"github.com/authzed/spicedb/pkg/schemadsl/compiler"
	"github.com/authzed/spicedb/pkg/schemadsl/input"
	"github.com/authzed/spicedb/pkg/tuple"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/fleet/hub"
)

func TestWhatACommitMoves(t *testing.T) {
	for _, c := range []struct {
		name  string
		edges []string
		moves []string
	}{
		{"a frozen agent", []string{"agent:acme/a#enabled@agent:*"}, []string{"agent:acme/a"}},
		{"a spawn", []string{
			"agent:acme/a#tenant@tenant:acme", "agent:acme/a#type@agent_type:acme/t", "agent:acme/a#lineage@agent:acme/parent",
			"agent_type:acme/t#instance@agent:acme/a", "agent:acme/a#enabled@agent:*",
		}, []string{"agent:acme/a"}},
		{"a revoked token", []string{"token:acme/j#revoked@agent:*"}, []string{"token:acme/j"}},
		{"a frozen type", []string{"agent_type:acme/t#enabled@agent:*"}, []string{"tenant:acme"}},
		{"a launcher", []string{"agent_type:acme/t#launcher@principal:acme/p"}, []string{"tenant:acme"}},
		{"a frozen principal", []string{"principal:acme/p#enabled@agent:*"}, []string{"tenant:acme"}},
		{"a frozen tenant", []string{"tenant:acme#enabled@agent:*"}, []string{"tenant:acme"}},
		{"a grant", []string{"payments_account:acme/s#refunder@agent_type:acme/t#instance"}, []string{"tenant:acme"}},
		{"two tenants", []string{"payments_account:acme/s#refunder@principal:acme/p", "payments_account:bolt/s#refunder@principal:bolt/p"}, []string{"tenant:acme", "tenant:bolt"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			commit := graphstore.Commit{}
			for _, text := range c.edges {
				commit.Relationships = append(commit.Relationships, tuple.Touch(tuple.MustParse(text)))
			}
			e := hub.Changed(commit, "z")
			var got []string
			for _, r := range e.Raise {
				got = append(got, r.String())
			}
			require.Equal(t, c.moves, got)
			require.False(t, e.All)
			require.Equal(t, agentid.Zookie("z"), e.Zookie)
		})
	}
}

func TestWhatIsNotToldWholeMovesAll(t *testing.T) {
	require.True(t, hub.Changed(graphstore.Commit{Schema: true}, "z").All)
	require.True(t, hub.Changed(graphstore.Commit{Truncated: true}, "z").All)
	foreign := graphstore.Commit{Relationships: []tuple.RelationshipUpdate{
		tuple.Delete(tuple.MustParse("agent:acme/a#enabled@agent:*")), tuple.Delete(tuple.MustParse("document:x|y#viewer@agent:acme/a")),
	}}
	e := hub.Changed(foreign, "z")
	require.True(t, e.All)
	require.Empty(t, e.Raise)
}

// The rule that an agent's own edges move no generation but the agent's rests on this: no
// answer about anything else is found by going through an agent.
func TestNothingButAgentsLeadsThroughAgents(t *testing.T) {
	require.Empty(t, throughAgents(t, schema.Text()))
}

func TestADetourThroughAgentsIsFound(t *testing.T) {
	more := schema.Text() + `
definition shelf {
	relation keeper: agent
	permission open = keeper->alive
}
definition box {
	relation holder: agent#lineage
	permission open = holder
}`
	require.Equal(t, []string{"shelf#open goes through keeper", "box#holder takes agent#lineage"}, throughAgents(t, more))
}

// throughAgents lists what leads from other types through an agent: an arrow over a
// relation to agents, or a relation to a set of an agent.
func throughAgents(t *testing.T, text string) (found []string) {
	t.Helper()
	compiled, err := compiler.Compile(compiler.InputSchema{Source: input.Source("schema"), SchemaString: text}, compiler.AllowUnprefixedObjectType())
	require.NoError(t, err)
	for _, definition := range compiled.ObjectDefinitions {
		if definition.GetName() == schema.TypeAgent {
			continue
		}
		toAgents := map[string]bool{}
		for _, relation := range definition.GetRelation() {
			for _, allowed := range relation.GetTypeInformation().GetAllowedDirectRelations() {
				if allowed.GetNamespace() != schema.TypeAgent {
					continue
				}
				toAgents[relation.GetName()] = true
				if r := allowed.GetRelation(); r != "" && r != tuple.Ellipsis {
					found = append(found, definition.GetName()+"#"+relation.GetName()+" takes agent#"+r)
				}
			}
		}
		for _, relation := range definition.GetRelation() {
			for _, over := range arrows(relation.GetUsersetRewrite()) {
				if toAgents[over] {
					found = append(found, definition.GetName()+"#"+relation.GetName()+" goes through "+over)
				}
			}
		}
	}
	return found
}

// arrows are the relations that a rewrite goes over.
func arrows(r *core.UsersetRewrite) (over []string) {
	operation := r.GetUnion()
	if operation == nil {
		operation = r.GetIntersection()
	}
	if operation == nil {
		operation = r.GetExclusion()
	}
	for _, child := range operation.GetChild() {
		over = append(over, arrows(child.GetUsersetRewrite())...)
		if a := child.GetTupleToUserset(); a != nil {
			over = append(over, a.GetTupleset().GetRelation())
		}
		if a := child.GetFunctionedTupleToUserset(); a != nil {
			over = append(over, a.GetTupleset().GetRelation())
		}
	}
	return over
}
