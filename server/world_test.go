package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/go-chi/chi/v5"
	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/capability/dpop"
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
	"github.com/agentid-dev/agentid/server/fleet/hub"
	"github.com/agentid-dev/agentid/server/ledger"
)

const (
	resource       = "https://stripe.acme.gw.example"
	resourceBearer = "https://open.acme.gw.example"
	details        = `[{"type":"agentid_capability","identifier":"payments_customer:acme/cus_123","actions":["payments:refund"],"constraints":{"amount":{"max":4200,"currency":"usd"}}}]`
)

// world is a broker with real parts: graphstore, SpiceDB, ledger, policy.
type world struct {
	tb     testing.TB
	broker *server.Broker
	ledger *ledger.Ledger
	engine *engine.Engine
	store  *graphstore.Store
	hub    atomic.Pointer[hub.Hub] // once the graph is there
	view   *freshness.View
	router chi.Router
	web    *httptest.Server
	base   string
	shift  atomic.Int64 // what the broker's clock is ahead, in nanoseconds
	agent  actor        // agent:acme/ag-1, of refund-agent, for alice
	secret agentid.Secret
	nonce  string
}

// actor is an agent with its key.
type actor struct {
	ref agentid.Ref
	key jose.SigningKey
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.shift.Load())) }

type option func(*server.Config)

func newWorld(tb testing.TB, options ...option) *world {
	tb.Helper()
	w := &world{tb: tb}
	ctx := context.Background()
	dir := tb.TempDir()
	logger := slog.New(slog.DiscardHandler)
	key, _, err := seal.FileOrNew(filepath.Join(dir, "seal.key"))
	require.NoError(tb, err)
	w.ledger, err = ledger.Open(ctx, ledger.Config{Path: filepath.Join(dir, "ledger.db"), SealKey: key, Now: w.now, Logger: logger})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = w.ledger.Close() })
	w.store, err = graphstore.Open(ctx, graphstore.Config{Path: filepath.Join(dir, "graph.db"), Logger: logger, OnCommit: w.committed})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = w.store.Close() })
	w.engine, err = engine.Start(ctx, engine.Config{Datastore: w.store, Logger: logger})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = w.engine.Close() })
	_, _, err = schema.Apply(ctx, w.engine.Schema())
	require.NoError(tb, err)

	// The server's address is the issuer, so it listens before the broker exists.
	var handler atomic.Pointer[http.Handler]
	w.web = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { (*handler.Load()).ServeHTTP(rw, r) }))
	tb.Cleanup(w.web.Close)
	w.base = w.web.URL
	w.seed(ctx)

	cfg := server.Config{
		BaseURL: w.base, Ledger: w.ledger, Audit: w.ledger, Permissions: w.engine.Permissions(), Decider: w.remembering(ctx), Hub: w.hub.Load(),
		Kinds: connectors.Builtin(), PolicyVersion: schema.Version, Logger: logger, Now: w.now,
		TokensPerMin: 60_000, TokensBurst: 60_000,
	}
	for _, o := range options {
		o(&cfg)
	}
	w.broker, err = server.New(ctx, cfg)
	require.NoError(tb, err)
	w.router, err = w.broker.Handler()
	require.NoError(tb, err)
	h := http.Handler(w.router)
	handler.Store(&h)
	return w
}

// remembering makes the decider of one process: it hears of every change.
func (w *world) remembering(ctx context.Context) *policy.Decider {
	h, err := server.NewHub(ctx, w.ledger, hub.Config{Now: w.now})
	require.NoError(w.tb, err)
	w.hub.Store(h)
	w.view = freshness.New(freshness.Config{Now: w.now})
	w.view.Standing()
	_, err = h.Subscribe("broker", w.view, hub.Own)
	require.NoError(w.tb, err)
	head := w.store.Head() // what was written before the hub listened
	head.Truncated = true
	w.committed(head)
	decider, err := policy.New(policy.Config{Checker: w.engine.Checker(), Now: w.now, Fresh: w.view, Issuing: w.engine.Answers})
	require.NoError(w.tb, err)
	return decider
}

func (w *world) committed(c graphstore.Commit) {
	if h := w.hub.Load(); h != nil {
		zookie, err := w.store.Zookie(c)
		event := hub.Changed(c, zookie)
		event.All = event.All || err != nil
		h.Publish(event)
	}
}

// seed makes two tenants. In acme an agent may refund 50.00 and read; in rival the same
// names exist.
func (w *world) seed(ctx context.Context) {
	for _, tenant := range []string{"acme", "rival"} {
		w.seedTenant(ctx, tenant)
	}
	w.agent = w.spawn("acme", "ag-1", "", nil, time.Hour)
	_, _, err := w.ledger.PutConnector(ctx, ledger.Connector{
		Ref: must(agentid.ConnectorRef("acme", "open")), Kind: "payments", Resource: resourceBearer, Upstream: "https://api.example",
		AllowBearer: true, BearerLifetime: 30 * time.Second,
	})
	require.NoError(w.tb, err)
	w.account(must(agentid.ResourceRef(schema.TypePaymentsAccount, "acme", "open")))
	spec := `{"name":"refund-customer","connector":"stripe","arguments":{"customer":{"type":"id"},"max_amount":{"type":"integer","minimum":1,"maximum":5000}},
		"resource":"payments_customer:{customer}","operations":["payments:refund"],
		"constraints":{"amount":{"max":"{max_amount}","currency":"usd"},"uses":{"max":1}}}`
	_, _, err = w.ledger.PutTemplate(ctx, ledger.Template{Tenant: "acme", Name: "refund-customer", Connector: "stripe", Spec: json.RawMessage(spec)})
	require.NoError(w.tb, err)
	_, w.secret, err = w.ledger.AddClientSecret(ctx, must(agentid.ConnectorRef("acme", "stripe")))
	require.NoError(w.tb, err)
}

func (w *world) seedTenant(ctx context.Context, name string) {
	tenant := must(agentid.TenantRef(name))
	alice := must(agentid.PrincipalRef(name, "alice"))
	typ := must(agentid.AgentTypeRef(name, "refund-agent"))
	_, _, err := w.ledger.PutTenant(ctx, ledger.Tenant{Ref: tenant})
	require.NoError(w.tb, err)
	_, _, err = w.ledger.PutPrincipal(ctx, ledger.Principal{Ref: alice, Kind: ledger.PrincipalHuman})
	require.NoError(w.tb, err)
	_, _, err = w.ledger.PutAgentType(ctx, ledger.AgentType{Ref: typ})
	require.NoError(w.tb, err)
	_, _, err = w.ledger.PutConnector(ctx, ledger.Connector{
		Ref: must(agentid.ConnectorRef(name, "stripe")), Kind: "payments",
		Resource: strings.ReplaceAll(resource, "acme", name), Upstream: "https://api.example",
	})
	require.NoError(w.tb, err)
	all := relate.All(schema.TypeAgent)
	w.touch(
		relate.Edge{Resource: tenant, Relation: schema.TenantEnabled, Subject: all},
		relate.Edge{Resource: alice, Relation: schema.PrincipalTenant, Subject: relate.To(tenant)},
		relate.Edge{Resource: alice, Relation: schema.PrincipalEnabled, Subject: all},
		relate.Edge{Resource: typ, Relation: schema.AgentTypeTenant, Subject: relate.To(tenant)},
		relate.Edge{Resource: typ, Relation: schema.AgentTypeEnabled, Subject: all},
	)
	w.account(must(agentid.ResourceRef(schema.TypePaymentsAccount, name, "stripe")))
}

func (w *world) account(account agentid.Ref) {
	alice := must(agentid.PrincipalRef(account.Tenant(), "alice"))
	typ := must(agentid.AgentTypeRef(account.Tenant(), "refund-agent"))
	limit := relate.Caveat{Name: schema.CaveatPaymentsLimit, Context: map[string]any{
		schema.PaymentsLimitMaxAmount: int64(5000), schema.PaymentsLimitCurrencies: []string{"usd"},
	}}
	w.touch(
		relate.Edge{Resource: account, Relation: schema.PaymentsTenant, Subject: relate.To(must(agentid.TenantRef(account.Tenant())))},
		relate.Edge{Resource: account, Relation: schema.PaymentsEnabled, Subject: relate.All(schema.TypeAgent)},
		relate.Edge{Resource: account, Relation: schema.PaymentsRefunder, Subject: relate.Set(typ, schema.AgentTypeInstance), Caveat: limit},
		relate.Edge{Resource: account, Relation: schema.PaymentsReader, Subject: relate.Set(typ, schema.AgentTypeInstance)},
		relate.Edge{Resource: account, Relation: schema.PaymentsRefunder, Subject: relate.To(alice)},
		relate.Edge{Resource: account, Relation: schema.PaymentsReader, Subject: relate.To(alice)},
	)
}

// spawn makes an agent of refund-agent for alice, in the ledger and in the graph.
func (w *world) spawn(tenant, name, parent string, ceiling json.RawMessage, life time.Duration) actor {
	w.tb.Helper()
	return w.spawnAs(ledger.Attenuated, tenant, name, parent, ceiling, life)
}

func (w *world) spawnAs(kind ledger.ChildKind, tenant, name, parent string, ceiling json.RawMessage, life time.Duration) actor {
	w.tb.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(w.tb, err)
	return w.spawnWith(kind, jose.SigningKey{Algorithm: jose.EdDSA, Key: private}, public, tenant, name, parent, ceiling, life)
}

func (w *world) spawnES256(tenant, name string) (actor, *ecdsa.PrivateKey) {
	w.tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(w.tb, err)
	return w.spawnWith(ledger.Attenuated, jose.SigningKey{Algorithm: jose.ES256, Key: private}, private.Public(), tenant, name, "", nil, time.Hour), private
}

func (w *world) spawnWith(kind ledger.ChildKind, key jose.SigningKey, public any, tenant, name, parent string, ceiling json.RawMessage, life time.Duration) actor {
	w.tb.Helper()
	a := ledger.Agent{
		Ref: must(agentid.AgentRef(tenant, name)), Type: must(agentid.AgentTypeRef(tenant, "refund-agent")),
		Principal: must(agentid.PrincipalRef(tenant, "alice")), Kind: kind, Ceiling: ceiling,
		PublicKey: must(json.Marshal(jose.JSONWebKey{Key: public})), Expires: time.Now().Add(life),
	}
	lineage := []agentid.Ref{a.Ref}
	if parent != "" {
		a.Parent = must(agentid.AgentRef(tenant, parent))
		line, err := w.ledger.Lineage(context.Background(), a.Parent)
		require.NoError(w.tb, err)
		for _, ancestor := range line {
			lineage = append(lineage, ancestor.Ref)
		}
	}
	a, _, err := w.ledger.PutAgent(context.Background(), a)
	require.NoError(w.tb, err)
	edges := []relate.Edge{
		{Resource: a.Ref, Relation: schema.AgentTenant, Subject: relate.To(must(agentid.TenantRef(tenant)))},
		{Resource: a.Ref, Relation: schema.AgentType, Subject: relate.To(a.Type)},
		{Resource: a.Ref, Relation: schema.AgentPrincipal, Subject: relate.To(a.Principal)},
		{Resource: a.Type, Relation: schema.AgentTypeInstance, Subject: relate.To(a.Ref)},
		enabled(a.Ref),
	}
	for _, member := range lineage {
		edges = append(edges, relate.Edge{Resource: a.Ref, Relation: schema.AgentLineage, Subject: relate.To(member)})
	}
	w.touch(edges...)
	return actor{ref: a.Ref, key: key}
}

func enabled(agent agentid.Ref) relate.Edge {
	return relate.Edge{
		Resource: agent, Relation: schema.AgentEnabled, Subject: relate.All(schema.TypeAgent), Expires: time.Now().Add(24 * time.Hour),
	}
}

func (w *world) touch(edges ...relate.Edge) {
	w.tb.Helper()
	w.write(relate.Touch, edges)
}

func (w *world) remove(edges ...relate.Edge) {
	w.tb.Helper()
	w.write(relate.Delete, edges)
}

func (w *world) write(update func(relate.Edge) (*v1.RelationshipUpdate, error), edges []relate.Edge) {
	w.tb.Helper()
	var updates []*v1.RelationshipUpdate
	for _, e := range edges {
		updates = append(updates, must(update(e)))
	}
	_, err := w.engine.Permissions().WriteRelationships(context.Background(), &v1.WriteRelationshipsRequest{Updates: updates})
	require.NoError(w.tb, err)
}

// call is one request to an endpoint, with what a client sends unless it is changed.
type call struct {
	path    string // "/acme/oauth2/token"
	form    url.Values
	header  http.Header
	issuer  string // audience of the assertion; "": that of path
	proof   dpop.Request
	noProof bool
}

func (w *world) issuerOf(path string) string {
	return w.base + path[:strings.Index(path, "/oauth2/")]
}

func (w *world) tokenCall(form ...string) call {
	c := call{path: "/acme/oauth2/token", form: url.Values{
		"grant_type": {"client_credentials"}, "authorization_details": {details}, "resource": {resource},
	}, header: http.Header{}}
	for i := 0; i < len(form); i += 2 {
		c.form[form[i]] = []string{form[i+1]}
		if form[i+1] == "" {
			delete(c.form, form[i])
		}
	}
	return c
}

func (w *world) assertion(a actor, issuer string) string {
	w.tb.Helper()
	text, err := clientauth.Sign(a.key, clientauth.Request{ClientID: a.ref.String(), Issuer: issuer, Now: w.now()})
	require.NoError(w.tb, err)
	return text
}

// do sends a call as a would: assertion, proof with the last nonce, one retry for a
// nonce.
func (w *world) do(a actor, c call) (*http.Response, map[string]any) {
	w.tb.Helper()
	for attempt := 0; ; attempt++ {
		resp, doc := w.once(a, c)
		if doc["error"] != "use_dpop_nonce" || attempt > 0 || c.proof.Nonce != "" {
			return resp, doc
		}
	}
}

func (w *world) once(a actor, c call) (*http.Response, map[string]any) {
	w.tb.Helper()
	form := url.Values{}
	for k, v := range c.form {
		form[k] = v
	}
	if _, set := form["client_assertion"]; !set && a.key.Key != nil {
		issuer := c.issuer
		if issuer == "" {
			issuer = w.issuerOf(c.path)
		}
		form.Set("client_assertion_type", clientauth.AssertionType)
		form.Set("client_assertion", w.assertion(a, issuer))
	}
	header := c.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if strings.HasSuffix(c.path, "/token") && !c.noProof && header.Get("DPoP") == "" && a.key.Key != nil {
		p := c.proof
		if p.Nonce == "" {
			p.Nonce = w.nonce
		}
		if p.URL == "" {
			p.URL = w.base + c.path
		}
		if p.Method == "" {
			p.Method = http.MethodPost
		}
		p.Now = w.now()
		header.Set("DPoP", must(dpop.Sign(a.key, p)))
	}
	return w.post(c.path, form, header)
}

func (w *world) post(path string, form url.Values, header http.Header) (*http.Response, map[string]any) {
	w.tb.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, w.base+path, strings.NewReader(form.Encode()))
	require.NoError(w.tb, err)
	if header != nil {
		req.Header = header
	}
	if req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return w.send(req)
}

func (w *world) send(req *http.Request) (*http.Response, map[string]any) {
	w.tb.Helper()
	resp, err := w.web.Client().Do(req)
	require.NoError(w.tb, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(w.tb, err)
	if nonce := resp.Header.Get("DPoP-Nonce"); nonce != "" {
		w.nonce = nonce
	}
	var doc map[string]any
	if len(body) > 0 {
		_ = json.Unmarshal(body, &doc)
		if doc == nil {
			doc = map[string]any{"": string(body)}
		}
	}
	return resp, doc
}

// mint asks for the usual token and returns it.
func (w *world) mint(a actor, form ...string) (string, map[string]any) {
	w.tb.Helper()
	resp, doc := w.do(a, w.tokenCall(form...))
	require.Equal(w.tb, http.StatusOK, resp.StatusCode, "%v", doc)
	token, _ := doc["access_token"].(string)
	require.NotEmpty(w.tb, token)
	return token, doc
}

func (w *world) claims(token string) capability.Claims {
	w.tb.Helper()
	v, err := capability.NewVerifier(capability.VerifierConfig{Keys: w.broker.Fleet(), Base: w.base, Now: w.now})
	require.NoError(w.tb, err)
	c, err := v.VerifyIssued(context.Background(), token)
	require.NoError(w.tb, err)
	return c
}

// refused checks status, OAuth code and reason, and that the refusal is the newest row
// of the audit log under the request's id.
func (w *world) refused(resp *http.Response, doc map[string]any, status int, code, reason string) {
	w.tb.Helper()
	require.Equal(w.tb, status, resp.StatusCode, "%v", doc)
	require.Equal(w.tb, code, doc["error"], "%v", doc)
	require.Equal(w.tb, reason, doc["reason"], "%v", doc)
	require.Equal(w.tb, "no-store", resp.Header.Get("Cache-Control"))
	require.NotContains(w.tb, doc, "access_token")
	rec := w.audited(resp)
	require.Equal(w.tb, auditlog.Deny, rec.Decision)
	require.Equal(w.tb, reason, rec.Reason)
}

func (w *world) audited(resp *http.Response) auditlog.Record {
	w.tb.Helper()
	id := resp.Header.Get("X-Request-Id")
	require.NotEmpty(w.tb, id)
	page, err := w.ledger.Audit().Query(context.Background(), auditlog.Query{Request: id})
	require.NoError(w.tb, err)
	require.Len(w.tb, page.Records, 1)
	return page.Records[0]
}
