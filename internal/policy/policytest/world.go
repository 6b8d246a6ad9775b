// Package policytest holds the suite that every policy.Checker passes, and the small
// world that it asks about. It owns no checker and starts no graph: the caller does.
package policytest

import (
	"fmt"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
)

// Limit is the tenant's own limit in the world: minor units of usd.
const Limit = 5000

// Graph is what a suite asks: a checker, and full access to the same graph to set it up.
type Graph struct {
	Checker     policy.Checker
	Permissions v1.PermissionsServiceClient
	Schema      v1.SchemaServiceClient
}

// World is one tenant with one account, a customer, a principal and one lineage, all of
// it enabled and granted; every test takes something away.
type World struct {
	Graph
	Tenant   agentid.Ref
	Alice    agentid.Ref   // the principal; refunder of the account without limit
	Type     agentid.Ref   // the agents' type; refunder of the account within Limit
	Agents   []agentid.Ref // leaf first
	Account  agentid.Ref
	Customer agentid.Ref
	Token    agentid.Ref
	Zookie   agentid.Zookie // of the last write
	Expiry   time.Time      // of every agent's enabled edge
}

// NewWorld applies the schema and writes a tenant with a lineage of depth ancestors.
func NewWorld(tb testing.TB, g Graph, tenant string, depth int) *World {
	tb.Helper()
	_, _, err := schema.Apply(tb.Context(), g.Schema)
	require.NoError(tb, err)
	w := &World{Graph: g, Expiry: time.Now().Add(time.Hour).Truncate(time.Second)}
	w.Tenant = Must(agentid.TenantRef(tenant))
	w.Alice = Must(agentid.PrincipalRef(tenant, "alice"))
	w.Type = Must(agentid.AgentTypeRef(tenant, "refund-agent"))
	w.Account = Must(agentid.ResourceRef(schema.TypePaymentsAccount, tenant, "stripe"))
	w.Customer = Must(agentid.ResourceRef(schema.TypePaymentsCustomer, tenant, "cus_1"))
	w.Token = Must(agentid.TokenRef(tenant, "jti-1"))
	all := relate.All(schema.TypeAgent)
	w.Touch(
		tb,
		relate.Edge{Resource: w.Tenant, Relation: schema.TenantEnabled, Subject: all},
		relate.Edge{Resource: w.Alice, Relation: schema.PrincipalTenant, Subject: relate.To(w.Tenant)},
		relate.Edge{Resource: w.Alice, Relation: schema.PrincipalEnabled, Subject: all},
		relate.Edge{Resource: w.Account, Relation: schema.PaymentsTenant, Subject: relate.To(w.Tenant)},
		relate.Edge{Resource: w.Account, Relation: schema.PaymentsEnabled, Subject: all},
		relate.Edge{Resource: w.Account, Relation: schema.PaymentsEnabled, Subject: relate.All(schema.TypePrincipal)},
		w.PrincipalGrant(),
	)
	w.AddType(tb, w.Type)
	w.Touch(tb, w.AgentGrant())
	for i := range depth + 1 {
		w.Spawn(tb, fmt.Sprintf("ag-%d", i), w.Type)
	}
	return w
}

// Must is for ids that a test spells out.
func Must(ref agentid.Ref, err error) agentid.Ref {
	if err != nil {
		panic(err)
	}
	return ref
}

// PrincipalGrant is the edge that lets Alice refund.
func (w *World) PrincipalGrant() relate.Edge {
	return relate.Edge{Resource: w.Account, Relation: schema.PaymentsRefunder, Subject: relate.To(w.Alice)}
}

// AgentGrant is the edge that lets agents of Type refund, within Limit.
func (w *World) AgentGrant() relate.Edge {
	return relate.Edge{
		Resource: w.Account, Relation: schema.PaymentsRefunder,
		Subject: relate.Set(w.Type, schema.AgentTypeInstance), Caveat: LimitCaveat(Limit),
	}
}

// LimitCaveat is payments_limit in usd.
func LimitCaveat(amount int64) relate.Caveat {
	return relate.Caveat{Name: schema.CaveatPaymentsLimit, Context: map[string]any{
		schema.PaymentsLimitMaxAmount:  amount,
		schema.PaymentsLimitCurrencies: []string{"usd"},
	}}
}

// AddType writes an agent type of the tenant.
func (w *World) AddType(tb testing.TB, typ agentid.Ref) {
	tb.Helper()
	w.Touch(
		tb,
		relate.Edge{Resource: typ, Relation: schema.AgentTypeTenant, Subject: relate.To(w.Tenant)},
		relate.Edge{Resource: typ, Relation: schema.AgentTypeEnabled, Subject: relate.All(schema.TypeAgent)},
	)
}

// Spawn writes one agent below the present leaf, in one atomic write, and makes it the
// leaf.
func (w *World) Spawn(tb testing.TB, name string, typ agentid.Ref) agentid.Ref {
	tb.Helper()
	agent := Must(agentid.AgentRef(w.Tenant.Tenant(), name))
	edges := []relate.Edge{
		{Resource: agent, Relation: schema.AgentTenant, Subject: relate.To(w.Tenant)},
		{Resource: agent, Relation: schema.AgentType, Subject: relate.To(typ)},
		{Resource: agent, Relation: schema.AgentPrincipal, Subject: relate.To(w.Alice)},
		w.Enabled(agent),
		{Resource: typ, Relation: schema.AgentTypeInstance, Subject: relate.To(agent)},
		{Resource: agent, Relation: schema.AgentLineage, Subject: relate.To(agent)},
	}
	if len(w.Agents) > 0 {
		edges = append(edges, relate.Edge{Resource: agent, Relation: schema.AgentParent, Subject: relate.To(w.Agents[0])})
	}
	for _, ancestor := range w.Agents {
		edges = append(edges, relate.Edge{Resource: agent, Relation: schema.AgentLineage, Subject: relate.To(ancestor)})
	}
	w.Touch(tb, edges...)
	w.Agents = append([]agentid.Ref{agent}, w.Agents...)
	return agent
}

// Enabled is the edge that keeps an agent alive.
func (w *World) Enabled(agent agentid.Ref) relate.Edge {
	return relate.Edge{Resource: agent, Relation: schema.AgentEnabled, Subject: relate.All(schema.TypeAgent), Expires: w.Expiry}
}

// Revoke is the edge that revokes a token.
func (w *World) Revoke(token agentid.Ref) relate.Edge {
	return relate.Edge{Resource: token, Relation: schema.TokenRevoked, Subject: relate.All(schema.TypeAgent), Expires: w.Expiry}
}

// Bar is the edge that shields a resource from refunds by a subject.
func (w *World) Bar(resource agentid.Ref, subject relate.Subject) relate.Edge {
	return relate.Edge{Resource: resource, Relation: schema.PaymentsBarredRefunder, Subject: subject}
}

// Touch writes edges in one atomic write.
func (w *World) Touch(tb testing.TB, edges ...relate.Edge) {
	tb.Helper()
	w.write(tb, relate.Touch, edges)
}

// Delete takes edges away in one atomic write.
func (w *World) Delete(tb testing.TB, edges ...relate.Edge) {
	tb.Helper()
	w.write(tb, relate.Delete, edges)
}

func (w *World) write(tb testing.TB, update func(relate.Edge) (*v1.RelationshipUpdate, error), edges []relate.Edge) {
	tb.Helper()
	req := &v1.WriteRelationshipsRequest{}
	for _, edge := range edges {
		u, err := update(edge)
		require.NoError(tb, err)
		req.Updates = append(req.Updates, u)
	}
	resp, err := w.Permissions.WriteRelationships(tb.Context(), req)
	require.NoError(tb, err)
	w.Zookie = agentid.Zookie(resp.GetWrittenAt().GetToken())
}

// Question asks for a refund of 42.00 usd of the customer by the leaf, now.
func (w *World) Question() policy.Question {
	q := policy.Question{
		Stage: policy.StageEnforce, Principal: w.Alice, Tokens: []agentid.Ref{w.Token},
		Operation: "payments:refund", Permission: schema.PaymentsRefund, Barred: schema.PaymentsBarredRefund,
		Resources: []agentid.Ref{w.Customer, w.Account}, Account: w.Account,
		Inputs:  map[string]any{schema.PaymentsLimitAmount: int64(4200), schema.PaymentsLimitCurrency: "usd"},
		AtLeast: w.Zookie,
	}
	for _, agent := range w.Agents {
		q.Lineage = append(q.Lineage, policy.Member{Agent: agent})
	}
	return q
}

// Decider is a policy.Decider over the world's checker.
func (w *World) Decider(tb testing.TB) *policy.Decider { return newDecider(tb, w.Checker) }

func newDecider(tb testing.TB, c policy.Checker) *policy.Decider {
	tb.Helper()
	d, err := policy.New(policy.Config{Checker: c})
	require.NoError(tb, err)
	return d
}
