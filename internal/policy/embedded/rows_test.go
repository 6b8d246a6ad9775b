package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	spicedb "github.com/authzed/spicedb/pkg/embedded"
	core "github.com/authzed/spicedb/pkg/proto/core/v1"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/embedded"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
)

// TestRowsEqualFullChecks writes and takes away relationships at random, expired,
// caveated, wildcard and many of them, and wants of every check of a bulk what the engine
// answers by itself, with nothing read ahead; and of every residual the same.
func TestRowsEqualFullChecks(t *testing.T) {
	w := policytest.NewWorld(t, start(t), "prop", 1)
	checker, ok := w.Checker.(*embedded.Checker)
	require.True(t, ok)
	rng := rand.New(rand.NewPCG(3, 14)) // reproducible, not secret
	edges, checks := randomEdges(w), allChecks(t, w)
	seen, rests := map[policy.Verdict]int{}, map[policy.Verdict]int{}
	for round := range 120 {
		for range 1 + rng.IntN(4) {
			e := edges[rng.IntN(len(edges))]
			if rng.IntN(3) == 0 {
				w.Delete(t, e)
			} else {
				w.Touch(t, e)
			}
		}
		if round == 60 { // more than are read ahead
			for i := range 40 {
				user := policytest.Must(agentid.PrincipalRef("prop", fmt.Sprintf("user-%d", i)))
				w.Touch(t, relate.Edge{Resource: w.Account, Relation: schema.PaymentsReader, Subject: relate.To(user)})
			}
		}
		at, answers, err := checker.CheckBulk(t.Context(), w.Zookie, checks)
		require.NoError(t, err)
		split, residuals, err := checker.Residuals(t.Context(), w.Zookie, checks)
		require.NoError(t, err)
		require.Equal(t, at, split)
		for i, a := range answers {
			c := checks[i]
			want, err := checker.AskRaw(t.Context(), spicedb.CheckRequest{
				ResourceType: c.Resource.Type(), ResourceID: c.Resource.ObjectID(), Permission: c.Permission,
				SubjectType: c.Subject.Type(), SubjectID: c.Subject.ObjectID(), CaveatContext: c.Inputs.Values(),
			})
			require.NoError(t, err)
			verdict := policy.VerdictNo
			switch {
			case want.HasPermission:
				verdict = policy.VerdictYes
			case want.IsConditional:
				verdict = policy.VerdictConditional
			}
			require.Equal(t, verdict, a.Verdict, "round %d: %s#%s@%s", round, c.Resource, c.Permission, c.Subject)
			require.ElementsMatch(t, want.MissingContext, a.Missing)
			seen[verdict]++
			if residuals[i] == nil {
				continue
			}
			rest, missing, err := residuals[i].Evaluate(c.Inputs)
			require.NoError(t, err)
			require.Equal(t, verdict, rest, "round %d: the residual of %s#%s@%s", round, c.Resource, c.Permission, c.Subject)
			require.ElementsMatch(t, want.MissingContext, missing)
			rests[verdict]++
		}
	}
	for _, v := range []policy.Verdict{policy.VerdictYes, policy.VerdictNo, policy.VerdictConditional} {
		require.Greater(t, rests[v], 100, "verdict %d of a residual", v)
	}
	require.Positive(t, seen[policy.VerdictYes])
	require.Positive(t, seen[policy.VerdictNo])
	require.Positive(t, seen[policy.VerdictConditional])
}

func randomEdges(w *policytest.World) []relate.Edge {
	past, soon := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	all, people := relate.All(schema.TypeAgent), relate.All(schema.TypePrincipal)
	edges := []relate.Edge{
		{Resource: w.Token, Relation: schema.TokenRevoked, Subject: all, Expires: past},
		{Resource: w.Token, Relation: schema.TokenRevoked, Subject: all, Expires: soon},
		{Resource: w.Tenant, Relation: schema.TenantEnabled, Subject: all},
		{Resource: w.Alice, Relation: schema.PrincipalEnabled, Subject: all},
		{Resource: w.Type, Relation: schema.AgentTypeEnabled, Subject: all},
		{Resource: w.Account, Relation: schema.PaymentsEnabled, Subject: all},
	}
	for _, agent := range w.Agents {
		edges = append(
			edges,
			relate.Edge{Resource: agent, Relation: schema.AgentEnabled, Subject: all, Expires: past},
			relate.Edge{Resource: agent, Relation: schema.AgentEnabled, Subject: all, Expires: soon},
			relate.Edge{Resource: agent, Relation: schema.AgentTenant, Subject: relate.To(w.Tenant)},
			relate.Edge{Resource: agent, Relation: schema.AgentLineage, Subject: relate.To(w.Agents[0])},
		)
	}
	for _, r := range []agentid.Ref{w.Account, w.Customer} {
		for _, relation := range []string{schema.PaymentsRefunder, schema.PaymentsReader} {
			edges = append(
				edges,
				relate.Edge{Resource: r, Relation: relation, Subject: relate.To(w.Alice)},
				relate.Edge{Resource: r, Relation: relation, Subject: relate.To(w.Alice), Caveat: policytest.LimitCaveat(10)},
				relate.Edge{Resource: r, Relation: relation, Subject: relate.Set(w.Type, schema.AgentTypeInstance)},
				relate.Edge{Resource: r, Relation: relation, Subject: relate.Set(w.Type, schema.AgentTypeInstance), Caveat: policytest.LimitCaveat(10)},
			)
		}
		edges = append(edges, w.Bar(r, all), w.Bar(r, people), w.Bar(r, relate.To(w.Alice)), w.Bar(r, relate.Set(w.Type, schema.AgentTypeInstance)))
	}
	return edges
}

// allChecks asks every permission of the decision for agent and principal, with inputs
// that satisfy, that do not, and without. The lineage comes once whole and once not.
func allChecks(t *testing.T, w *policytest.World) []policy.Check {
	t.Helper()
	var inputs []*policy.Inputs
	for _, values := range []map[string]any{
		nil,
		{schema.PaymentsLimitAmount: int64(5), schema.PaymentsLimitCurrency: "usd"},
		{schema.PaymentsLimitAmount: int64(50), schema.PaymentsLimitCurrency: "usd"},
	} {
		inputs = append(inputs, validated(t, w, values))
	}
	leaf := w.Agents[0]
	checks := []policy.Check{
		{Resource: w.Token, Permission: schema.TokenIsRevoked, Subject: leaf},
		{Resource: policytest.Must(agentid.TokenRef("prop", "jti-2")), Permission: schema.TokenIsRevoked, Subject: leaf},
		{Resource: leaf, Permission: schema.AgentAlive, Subject: leaf},
		{Resource: w.Account, Permission: schema.AccountActive, Subject: leaf},
		{Resource: w.Agents[1], Permission: schema.AgentAlive, Subject: leaf},
		{Resource: leaf, Permission: schema.AgentLive, Subject: leaf},
	}
	for _, r := range []agentid.Ref{w.Account, w.Customer, policytest.Must(agentid.ResourceRef(schema.TypePaymentsCustomer, "prop", "cus_none"))} {
		for _, permission := range []string{schema.PaymentsRefund, schema.PaymentsRead, schema.PaymentsBarredRefund} {
			for _, subject := range []agentid.Ref{leaf, w.Alice} {
				for _, in := range inputs {
					checks = append(checks, policy.Check{Resource: r, Permission: permission, Subject: subject, Inputs: in})
				}
			}
		}
	}
	return checks
}

// listener is a checker that keeps what it is asked and answers nothing.
type listener struct{ asked []policy.Check }

func (l *listener) CheckBulk(_ context.Context, _ agentid.Zookie, checks []policy.Check) (agentid.Zookie, []policy.Answer, error) {
	l.asked = checks
	return "", nil, errors.New("only listening")
}

// validated gives the values as a decider hands them to its checker.
func validated(t *testing.T, w *policytest.World, values map[string]any) *policy.Inputs {
	t.Helper()
	l := &listener{}
	d, err := policy.New(policy.Config{Checker: l})
	require.NoError(t, err)
	q := w.Question()
	q.Inputs = values
	_, err = d.Decide(t.Context(), q)
	require.Error(t, err)
	require.NotEmpty(t, l.asked)
	return l.asked[len(l.asked)-1].Inputs
}

// TestShapeLeavesOutWhatItCannotProve: `self` grants without any relationship, and a name
// that nobody defined is an error of the engine's, not a no.
func TestShapeLeavesOutWhatItCannotProve(t *testing.T) {
	op := func(children ...*core.SetOperation_Child) *core.UsersetRewrite {
		return &core.UsersetRewrite{RewriteOperation: &core.UsersetRewrite_Union{Union: &core.SetOperation{Child: children}}}
	}
	computed := func(name string) *core.SetOperation_Child {
		return &core.SetOperation_Child{ChildType: &core.SetOperation_Child_ComputedUserset{ComputedUserset: &core.ComputedUserset{Relation: name}}}
	}
	self := &core.SetOperation_Child{ChildType: &core.SetOperation_Child_XSelf{XSelf: &core.SetOperation_Child_Self{}}}
	relations := []*core.Relation{
		{Name: "viewer"},
		{Name: "plain", UsersetRewrite: op(computed("viewer"))},
		{Name: "selfish", UsersetRewrite: op(computed("viewer"), self)},
		{Name: "below", UsersetRewrite: op(computed("selfish"))},
		{Name: "dangling", UsersetRewrite: op(computed("nobody"))},
		{Name: "unknown", UsersetRewrite: op(&core.SetOperation_Child{})},
		{Name: "hollow", UsersetRewrite: &core.UsersetRewrite{}},
	}
	got := embedded.Provable(map[string]*core.NamespaceDefinition{"doc": {Name: "doc", Relation: relations}}, "doc")
	require.Equal(t, map[string][]string{"viewer": {"viewer"}, "plain": {"viewer"}}, got)
}

// TestUnknownPermissionIsAnError also where the resource has no relationship.
func TestUnknownPermissionIsAnError(t *testing.T) {
	w := policytest.NewWorld(t, start(t), "unknown", 0)
	_, _, err := w.Checker.CheckBulk(t.Context(), w.Zookie, []policy.Check{{Resource: w.Customer, Permission: "nothing", Subject: w.Agents[0]}})
	require.Error(t, err)
}

// TestOnlyAUnionGrantsByItself: a relation below an intersection, an exclusion or an
// arrow never settles a check.
func TestOnlyAUnionGrantsByItself(t *testing.T) {
	computed := func(name string) *core.SetOperation_Child {
		return &core.SetOperation_Child{ChildType: &core.SetOperation_Child_ComputedUserset{ComputedUserset: &core.ComputedUserset{Relation: name}}}
	}
	set := func(children ...*core.SetOperation_Child) *core.SetOperation {
		return &core.SetOperation{Child: children}
	}
	union := func(children ...*core.SetOperation_Child) *core.UsersetRewrite {
		return &core.UsersetRewrite{RewriteOperation: &core.UsersetRewrite_Union{Union: set(children...)}}
	}
	both := &core.UsersetRewrite{RewriteOperation: &core.UsersetRewrite_Intersection{Intersection: set(computed("viewer"), computed("editor"))}}
	without := &core.UsersetRewrite{RewriteOperation: &core.UsersetRewrite_Exclusion{Exclusion: set(computed("viewer"), computed("banned"))}}
	arrow := &core.SetOperation_Child{ChildType: &core.SetOperation_Child_TupleToUserset{TupleToUserset: &core.TupleToUserset{
		Tupleset: &core.TupleToUserset_Tupleset{Relation: "parent"}, ComputedUserset: &core.ComputedUserset{Relation: "view"},
	}}}
	nested := &core.SetOperation_Child{ChildType: &core.SetOperation_Child_UsersetRewrite{UsersetRewrite: both}}
	got := embedded.Granting(map[string]*core.NamespaceDefinition{"doc": {Name: "doc", Relation: []*core.Relation{
		{Name: "viewer"},
		{Name: "editor"},
		{Name: "banned"},
		{Name: "parent"},
		{Name: "either", UsersetRewrite: union(computed("viewer"), computed("editor"))},
		{Name: "mixed", UsersetRewrite: union(computed("viewer"), nested, arrow, computed("both"))},
		{Name: "both", UsersetRewrite: both},
		{Name: "without", UsersetRewrite: without},
		{Name: "round", UsersetRewrite: union(computed("round"), computed("editor"))},
	}}}, "doc")
	require.Equal(t, []string{"viewer", "editor"}, got["either"])
	require.Equal(t, []string{"viewer"}, got["mixed"])
	require.Empty(t, got["both"])
	require.Empty(t, got["without"])
	require.Equal(t, []string{"editor"}, got["round"])
}
