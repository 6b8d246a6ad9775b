package agents_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/capability/keyproof"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/engine"
	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/internal/seal"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server"
	"github.com/agentid-dev/agentid/server/agents"
	"github.com/agentid-dev/agentid/server/fleet/hub"
	"github.com/agentid-dev/agentid/server/ledger"
)

const (
	base      = "https://id.example.com"
	audience  = "https://stripe.acme.gw.example"
	template  = "refund-customer"
	operation = "payments:refund"
)

// world is a broker over real parts with a tenant in which agents spawn.
type world struct {
	tb      testing.TB
	dir     string
	shift   atomic.Int64 // what the clock is ahead, in nanoseconds
	ledger  *ledger.Ledger
	store   *graphstore.Store
	engine  *engine.Engine
	graph   *graph
	broker  *server.Broker
	service *agents.Service
	decider *policy.Decider
	// remembers decides as a gateway does, from memory where it can.
	remembers *policy.Decider
	hub       atomic.Pointer[hub.Hub]
	handler   http.Handler
	nonce     string
}

// graph is the real one, which can be made to fail, or to act before a write.
type graph struct {
	v1.PermissionsServiceClient
	fail   atomic.Bool
	before atomic.Pointer[func()]
}

func (g *graph) WriteRelationships(ctx context.Context, in *v1.WriteRelationshipsRequest, opts ...grpc.CallOption) (*v1.WriteRelationshipsResponse, error) {
	if f := g.before.Swap(nil); f != nil {
		(*f)()
	}
	if g.fail.Load() {
		return nil, errors.New("the graph is away")
	}
	return g.PermissionsServiceClient.WriteRelationships(ctx, in, opts...)
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.shift.Load())) }

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := openWorld(tb, tb.TempDir())
	w.seed()
	return w
}

// openWorld opens what is in dir, as a start of the program does.
func openWorld(tb testing.TB, dir string) *world {
	tb.Helper()
	w := &world{tb: tb, dir: dir}
	ctx := context.Background()
	key, _, err := seal.FileOrNew(filepath.Join(dir, "seal.key"))
	require.NoError(tb, err)
	w.ledger, err = ledger.Open(ctx, ledger.Config{Path: filepath.Join(dir, "ledger.db"), SealKey: key, Now: w.now})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = w.ledger.Close() })
	w.store, err = graphstore.Open(ctx, graphstore.Config{Path: filepath.Join(dir, "graph.db"), Now: w.now, OnCommit: w.committed})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = w.store.Close() })
	w.engine, err = engine.Start(ctx, engine.Config{Datastore: w.store})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = w.engine.Close() })
	_, _, err = schema.Apply(ctx, w.engine.Schema())
	require.NoError(tb, err)
	w.graph = &graph{PermissionsServiceClient: w.engine.Permissions()}
	w.decider, err = policy.New(policy.Config{Checker: w.engine.Checker(), Now: w.now})
	require.NoError(tb, err)
	w.gateway(ctx)
	w.broker, err = server.New(ctx, server.Config{
		BaseURL: base, Ledger: w.ledger, Audit: w.ledger, Permissions: w.graph, Decider: w.decider, Hub: w.hub.Load(),
		Kinds: connectors.Builtin(), PolicyVersion: schema.Version, Now: w.now, TokensPerMin: 100_000, TokensBurst: 100_000,
	})
	require.NoError(tb, err)
	w.service = w.broker.Agents()
	router, err := w.broker.Handler()
	require.NoError(tb, err)
	w.handler = router
	return w
}

// gateway makes a decider that remembers, and tells it of changes as one process does.
func (w *world) gateway(ctx context.Context) {
	h, err := server.NewHub(ctx, w.ledger, hub.Config{Now: w.now})
	require.NoError(w.tb, err)
	w.hub.Store(h)
	view := freshness.New(freshness.Config{Now: w.now})
	view.Standing()
	_, err = h.Subscribe("gateway", view, hub.Standing)
	require.NoError(w.tb, err)
	w.remembers, err = policy.New(policy.Config{Checker: w.engine.Checker(), Now: w.now, Fresh: view})
	require.NoError(w.tb, err)
}

func (w *world) committed(c graphstore.Commit) {
	if h := w.hub.Load(); h != nil {
		zookie, err := w.store.Zookie(c)
		event := hub.Changed(c, zookie)
		event.All = event.All || err != nil
		h.Publish(event)
	}
}

// ask decides with caches off and on, on twice: all three agree.
func (w *world) agreed(q policy.Question) error {
	w.tb.Helper()
	_, want := w.decider.Decide(context.Background(), q)
	for _, when := range []string{"at first", "again"} {
		_, have := w.remembers.Decide(context.Background(), q)
		if agentid.ReasonOf(want) != agentid.ReasonOf(have) || (want == nil) != (have == nil) {
			return fmt.Errorf("remembering, %s: %v; the graph: %v", when, have, want) //nolint:errorlint // neither is the answer
		}
	}
	return want
}

// names of agent types: root may spawn worker (attenuated), clerk (either way) and
// itself; clerk holds a grant of its own, worker and root theirs.
var types = []string{"root", "worker", "clerk", "stranger"}

func (w *world) seed() {
	ctx := context.Background()
	for _, tenant := range []string{"acme", "rival"} {
		ref := must(agentid.TenantRef(tenant))
		_, _, err := w.ledger.PutTenant(ctx, ledger.Tenant{Ref: ref})
		require.NoError(w.tb, err)
		w.touch(relate.Edge{Resource: ref, Relation: schema.TenantEnabled, Subject: relate.All(schema.TypeAgent)})
		for _, name := range []string{"alice", "bob"} {
			w.principal(tenant, name)
		}
		for _, name := range types {
			w.setType(tenant, name, func(*ledger.AgentType) {})
		}
	}
	_, _, err := w.ledger.PutConnector(ctx, ledger.Connector{Ref: must(agentid.ConnectorRef("acme", "stripe")), Kind: "payments", Resource: audience, Upstream: "https://api.example"})
	require.NoError(w.tb, err)
	account := account()
	w.touch(
		relate.Edge{Resource: account, Relation: schema.PaymentsTenant, Subject: relate.To(must(agentid.TenantRef("acme")))},
		relate.Edge{Resource: account, Relation: schema.PaymentsEnabled, Subject: relate.All(schema.TypeAgent)},
		principalGrant("alice"), principalGrant("bob"), typeGrant("root"), typeGrant("worker"), typeGrant("clerk"),
	)
	spec := `{"name":"refund-customer","connector":"stripe","arguments":{"customer":{"type":"id"},"max_amount":{"type":"integer","minimum":1,"maximum":5000}},
		"resource":"payments_customer:{customer}","operations":["payments:refund"],"constraints":{"amount":{"max":"{max_amount}","currency":"usd"}}}`
	_, _, err = w.ledger.PutTemplate(ctx, ledger.Template{Tenant: "acme", Name: template, Connector: "stripe", Spec: json.RawMessage(spec)})
	require.NoError(w.tb, err)
	require.NoError(w.tb, w.broker.Fleet().Reload(ctx))
}

func (w *world) principal(tenant, name string) {
	ref := must(agentid.PrincipalRef(tenant, name))
	_, _, err := w.ledger.PutPrincipal(context.Background(), ledger.Principal{Ref: ref, Kind: ledger.PrincipalHuman})
	require.NoError(w.tb, err)
	w.touch(
		relate.Edge{Resource: ref, Relation: schema.PrincipalTenant, Subject: relate.To(must(agentid.TenantRef(tenant)))},
		relate.Edge{Resource: ref, Relation: schema.PrincipalEnabled, Subject: relate.All(schema.TypeAgent)},
	)
}

// setType writes an agent type with its edges; change alters what every type is.
func (w *world) setType(tenant, name string, change func(*ledger.AgentType)) {
	w.tb.Helper()
	t := ledger.AgentType{Ref: must(agentid.AgentTypeRef(tenant, name))}
	if name != "stranger" {
		t.Children = []agentid.Ref{must(agentid.AgentTypeRef(tenant, "root")), must(agentid.AgentTypeRef(tenant, "worker")), must(agentid.AgentTypeRef(tenant, "clerk"))}
		t.IndependentChildren = []agentid.Ref{must(agentid.AgentTypeRef(tenant, "clerk"))}
	}
	change(&t)
	_, _, err := w.ledger.PutAgentType(context.Background(), t)
	require.NoError(w.tb, err)
	w.touch(
		relate.Edge{Resource: t.Ref, Relation: schema.AgentTypeTenant, Subject: relate.To(must(agentid.TenantRef(tenant)))},
		relate.Edge{Resource: t.Ref, Relation: schema.AgentTypeEnabled, Subject: relate.All(schema.TypeAgent)},
	)
}

func account() agentid.Ref {
	return must(agentid.ResourceRef(schema.TypePaymentsAccount, "acme", "stripe"))
}

func principalGrant(name string) relate.Edge {
	return relate.Edge{Resource: account(), Relation: schema.PaymentsRefunder, Subject: relate.To(must(agentid.PrincipalRef("acme", name)))}
}

func typeGrant(name string) relate.Edge {
	return relate.Edge{Resource: account(), Relation: schema.PaymentsRefunder, Subject: relate.Set(must(agentid.AgentTypeRef("acme", name)), schema.AgentTypeInstance)}
}

func (w *world) touch(edges ...relate.Edge)  { w.tb.Helper(); w.write(relate.Touch, edges) }
func (w *world) remove(edges ...relate.Edge) { w.tb.Helper(); w.write(relate.Delete, edges) }

func (w *world) write(update func(relate.Edge) (*v1.RelationshipUpdate, error), edges []relate.Edge) {
	w.tb.Helper()
	for len(edges) > 0 {
		n := min(len(edges), 900)
		var updates []*v1.RelationshipUpdate
		for _, e := range edges[:n] {
			updates = append(updates, must(update(e)))
		}
		_, err := w.engine.Permissions().WriteRelationships(context.Background(), &v1.WriteRelationshipsRequest{Updates: updates})
		require.NoError(w.tb, err)
		edges = edges[n:]
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// pair is a key with its public half.
type pair struct {
	private jose.SigningKey
	public  json.RawMessage
}

func newPair() pair {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return pair{jose.SigningKey{Algorithm: jose.EdDSA, Key: private}, must(json.Marshal(jose.JSONWebKey{Key: public}))}
}

// actor is an agent with its key.
type actor struct {
	ref agentid.Ref
	key pair
}

var operator = agents.Actor{Administrator: "op"}

func agentRef(name string) agentid.Ref { return must(agentid.AgentRef("acme", name)) }
func typeRef(name string) agentid.Ref  { return must(agentid.AgentTypeRef("acme", name)) }
func owner(name string) agentid.Ref    { return must(agentid.PrincipalRef("acme", name)) }

// spec is an agent of a type for alice; with a parent, a child.
func spec(name, typ, parent string) agents.Spec {
	s := agents.Spec{Tenant: "acme", Name: name, Type: typeRef(typ)}
	if parent != "" {
		s.Parent = agentRef(parent)
	} else {
		s.Principal, s.Expires = owner("alice"), time.Time{}
	}
	return s
}

// start spawns as an operator does.
func (w *world) start(s agents.Spec) (actor, error) {
	key := newPair()
	s.Key = key.public
	a, err := w.service.Spawn(context.Background(), operator, s)
	return actor{a.Ref, key}, err
}

func (w *world) mustStart(name, typ, parent string) actor {
	w.tb.Helper()
	a, err := w.start(spec(name, typ, parent))
	require.NoError(w.tb, err)
	return a
}

// ask calls an endpoint of agents as a.
func (w *world) ask(a actor, method, path string, body any) (int, map[string]any) {
	w.tb.Helper()
	assertion := must(clientauth.Sign(a.key.private, clientauth.Request{ClientID: a.ref.String(), Issuer: base, Now: w.now()}))
	return w.askWith("Bearer "+assertion, method, path, body)
}

func (w *world) askWith(authorization, method, path string, body any) (int, map[string]any) {
	w.tb.Helper()
	data, ok := body.([]byte)
	if !ok {
		data = must(json.Marshal(body))
	}
	r := httptest.NewRequestWithContext(context.Background(), method, path, bytes.NewReader(data))
	r.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	out := map[string]any{}
	require.NoError(w.tb, json.Unmarshal(rec.Body.Bytes(), &out), rec.Body.String())
	return rec.Code, out
}

// child is the body of a spawn by a.
func (w *world) child(parent agentid.Ref, name, typ string, key pair) map[string]any {
	w.tb.Helper()
	proof := must(keyproof.Sign(key.private, keyproof.Claims{Issuer: base, Subject: parent}, w.now()))
	return map[string]any{"name": name, "type": typ, "key": key.public, "key_proof": proof}
}

// live asks the graph whether an agent is live, as a gateway does before an operation.
func (w *world) decide(ref agentid.Ref) error {
	w.tb.Helper()
	line := must(w.ledger.Lineage(context.Background(), ref))
	q := w.question(line)
	return w.agreed(q)
}

func (w *world) question(line []ledger.Agent) policy.Question {
	q := policy.Question{
		Stage: policy.StageEnforce, Principal: line[0].Principal, Operation: operation, Permission: schema.PaymentsRefund,
		Barred: schema.PaymentsBarredRefund, Account: account(), Tokens: []agentid.Ref{must(agentid.TokenRef("acme", "none"))},
		Resources: []agentid.Ref{must(agentid.ResourceRef(schema.TypePaymentsCustomer, "acme", "cus_1")), account()},
	}
	bounds := true
	for i, member := range line {
		q.Lineage = append(q.Lineage, policy.Member{Agent: member.Ref, Attenuated: i > 0 && bounds})
		bounds = bounds && member.Kind == ledger.Attenuated
	}
	return q
}

func (w *world) refused(err error, reason string) {
	w.tb.Helper()
	require.Error(w.tb, err)
	require.Equal(w.tb, reason, agentid.ReasonOf(err), "%v", err)
}

// audited finds the rows with a reason, "" being those of what was allowed.
func (w *world) audited(operation, reason string) []auditlog.Record {
	w.tb.Helper()
	var out []auditlog.Record
	for after := int64(0); ; {
		page, err := w.ledger.Audit().Query(context.Background(), auditlog.Query{Limit: 1000, After: after})
		require.NoError(w.tb, err)
		for _, rec := range page.Records {
			if rec.Operation == operation && rec.Reason == reason {
				out = append(out, rec)
			}
			after = rec.Seq
		}
		if len(page.Records) < 1000 {
			return out
		}
	}
}

// edges counts what the graph holds of an agent.
func (w *world) edges(ref agentid.Ref) int {
	w.tb.Helper()
	n := 0
	for _, filter := range []*v1.RelationshipFilter{
		{ResourceType: schema.TypeAgent, OptionalResourceId: ref.ObjectID()},
		{ResourceType: schema.TypeAgentType, OptionalRelation: schema.AgentTypeInstance, OptionalSubjectFilter: &v1.SubjectFilter{SubjectType: schema.TypeAgent, OptionalSubjectId: ref.ObjectID()}},
	} {
		stream, err := w.engine.Permissions().ReadRelationships(context.Background(), &v1.ReadRelationshipsRequest{
			Consistency: &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}}, RelationshipFilter: filter,
		})
		require.NoError(w.tb, err)
		for {
			if _, err := stream.Recv(); err != nil {
				break
			}
			n++
		}
	}
	return n
}
