package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/gateway"
	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/engine"
	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/paysim"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
	"github.com/agentid-dev/agentid/internal/policy/revision"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/internal/seal"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server"
	"github.com/agentid-dev/agentid/server/fleet/hub"
	"github.com/agentid-dev/agentid/server/ledger"
)

const (
	upstreamKey = "sk_test_the_connectors_own_secret"
	issuer      = "https://id.example.com"
)

// world is one tenant with real parts: SpiceDB over our store, the ledger, the gateway
// on a socket, and a stateful payments upstream.
type world struct {
	*policytest.World
	tb      testing.TB
	engine  *engine.Engine
	ledger  *ledger.Ledger
	gateway *gateway.Gateway
	server  *http.Server
	fleet   *fleet
	effects *effects
	checker *checker
	sim     *paysim.Simulator
	sent    *recorder // what the upstream got
	base    string    // the gateway's URL, which is the connector's resource
	key     ed25519.PrivateKey
	proofs  *dpop.Signer
	client  *http.Client
	nonce   atomic.Pointer[string]
	hub     atomic.Pointer[hub.Hub]
	view    *freshness.View
	decider *policy.Decider

	revokeAll bool // the token of the test is revoked before it is used
}

type options struct {
	connector func(*wire.Connector)
	upstream  http.Handler
	config    func(*gateway.Config)
	sim       func(*paysim.Config)
	server    func(*http.Server)
	// deaf: the gateway hears of no changes and remembers nothing.
	deaf bool
	// depth is how many ancestors the agent has.
	depth int
}

// fleet is what the broker would offer: the settings of one connector, one key, and
// the ledger's floor as it was at the start.
type fleet struct {
	connectors atomic.Pointer[[]wire.Connector]
	key        jose.JSONWebKey
	zookie     agentid.Zookie
	epoch      agentid.Epoch
	ledger     string // its incarnation
}

func (f *fleet) Connectors(context.Context) ([]wire.Connector, error) {
	return *f.connectors.Load(), nil
}

func (f *fleet) Key(_ context.Context, _, kid string) (jose.JSONWebKey, error) {
	if kid != f.key.KeyID {
		return jose.JSONWebKey{}, agentid.Errorf(agentid.KindNotFound, "token_key", "unknown")
	}
	return f.key, nil
}

func (f *fleet) Floor(context.Context) (agentid.Zookie, agentid.Epoch, string, error) {
	return f.zookie, f.epoch, f.ledger, nil // from memory, as the broker's does
}

// change alters the connector's settings as an administrator would.
func (f *fleet) change(edit func(*wire.Connector)) {
	list := append([]wire.Connector(nil), *f.connectors.Load()...)
	edit(&list[0])
	list[0].Version++
	f.connectors.Store(&list)
}

// effects is the ledger, which a test may take away.
type effects struct {
	*ledger.Ledger
	down atomic.Bool
}

func (e *effects) Reserve(ctx context.Context, r wire.Reserve) (wire.Reservation, error) {
	if e.down.Load() {
		return wire.Reservation{}, agentid.Unavailable("ledger_unavailable", io.ErrClosedPipe)
	}
	return e.Ledger.Reserve(ctx, r)
}

func (e *effects) Append(ctx context.Context, r auditlog.Record, d wire.Durability) error {
	if e.down.Load() {
		return agentid.Unavailable("ledger_unavailable", io.ErrClosedPipe)
	}
	return e.Ledger.Append(ctx, r, d)
}

// checker is SpiceDB, which a test may take away.
type checker struct {
	policy.Checker
	down atomic.Bool
}

// Residuals implements policy.ResidualChecker.
func (c *checker) Residuals(ctx context.Context, z agentid.Zookie, checks []policy.Check) (agentid.Zookie, []policy.Residual, error) {
	if c.down.Load() {
		return "", nil, io.ErrUnexpectedEOF
	}
	return c.Checker.(policy.ResidualChecker).Residuals(ctx, z, checks)
}

func (c *checker) CheckBulk(ctx context.Context, z agentid.Zookie, checks []policy.Check) (agentid.Zookie, []policy.Answer, error) {
	if c.down.Load() {
		return "", nil, io.ErrUnexpectedEOF
	}
	return c.Checker.CheckBulk(ctx, z, checks)
}

// recorder keeps what came to the upstream.
type recorder struct {
	next http.Handler
	mu   chan struct{}
	all  []received
}

type received struct {
	method, uri, body string
	header            http.Header
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu <- struct{}{}
	r.all = append(r.all, received{req.Method, req.RequestURI, string(body), req.Header.Clone()})
	<-r.mu
	req.Body = io.NopCloser(strings.NewReader(string(body)))
	r.next.ServeHTTP(w, req)
}

func (r *recorder) of(method string) []received {
	r.mu <- struct{}{}
	defer func() { <-r.mu }()
	var out []received
	for _, x := range r.all {
		if x.method == method {
			out = append(out, x)
		}
	}
	return out
}

func newWorld(tb testing.TB, o options) *world {
	tb.Helper()
	w := &world{tb: tb}
	var store *graphstore.Store
	store, err := graphstore.Open(tb.Context(), graphstore.Config{
		Path:     filepath.Join(tb.TempDir(), "graph.db"),
		OnCommit: func(c graphstore.Commit) { w.committed(store, c) },
	})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = store.Close() })
	w.engine, err = engine.Start(tb.Context(), engine.Config{Datastore: store})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = w.engine.Close() })
	w.checker = &checker{Checker: w.engine.Checker()}
	w.World = policytest.NewWorld(tb, policytest.Graph{Checker: w.checker, Permissions: w.engine.Permissions(), Schema: w.engine.Schema()}, "acme", o.depth)
	w.Touch(tb, append(w.readers(), w.previewers()...)...)

	sealKey, _, err := seal.Generate()
	require.NoError(tb, err)
	w.ledger, err = ledger.Open(tb.Context(), ledger.Config{Path: filepath.Join(tb.TempDir(), "ledger.db"), SealKey: sealKey})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = w.ledger.Close() })
	w.effects = &effects{Ledger: w.ledger}

	upstream := w.upstream(o)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(tb, err)
	w.key = private
	_, agentKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(tb, err)
	w.proofs, err = dpop.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: agentKey})
	require.NoError(tb, err)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	w.base = "http://" + listener.Addr().String()
	connector := wire.Connector{
		Ref: policytest.Must(agentid.ConnectorRef("acme", "stripe")), Kind: "payments", Resource: w.base, Upstream: upstream,
		AllowPrivateUpstream: true, Credential: agentid.NewSecret(upstreamKey), Version: 1,
		Rates: wire.Rates{TokenPerMinute: 1e6, TokenBurst: 1e5, AgentPerMinute: 1e6, AgentBurst: 1e5},
	}
	if o.connector != nil {
		o.connector(&connector)
	}
	w.fleet = &fleet{key: jose.JSONWebKey{Key: public, KeyID: "k1", Algorithm: "EdDSA", Use: "sig"}}
	w.fleet.connectors.Store(&[]wire.Connector{connector})
	w.fleet.zookie, w.fleet.epoch, w.fleet.ledger, err = w.ledger.Floor(tb.Context())
	require.NoError(tb, err)
	w.start(o, listener)
	return w
}

func (w *world) start(o options, listener net.Listener) {
	var err error
	order := revision.New()
	w.view = freshness.New(freshness.Config{Order: order})
	remembering := policy.Config{Checker: w.checker, Order: order}
	if !o.deaf {
		w.hear()
		remembering.Fresh = w.view
	}
	w.decider, err = policy.New(remembering)
	require.NoError(w.tb, err)
	cfg := gateway.Config{Fleet: w.fleet, Effects: w.effects, Audit: w.effects, Decider: w.decider, View: w.view, Issuer: issuer}
	if o.config != nil {
		o.config(&cfg)
	}
	w.gateway, err = gateway.New(cfg)
	require.NoError(w.tb, err)
	w.server = w.gateway.Server("")
	if o.server != nil {
		o.server(w.server)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = w.server.Serve(w.gateway.Listener(listener)) }()
	w.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	w.tb.Cleanup(func() {
		_ = w.server.Close()
		<-done
		w.client.CloseIdleConnections()
		w.gateway.Close()
	})
}

// forget stops the recording of what the upstream gets.
func (w *world) forget() {
	srv := httptest.NewServer(w.sent.next)
	w.tb.Cleanup(srv.Close)
	w.fleet.change(func(c *wire.Connector) { c.Upstream = srv.URL })
}

// hear wires the gateway to the graph's writes and to revocations, as one process does.
func (w *world) hear() {
	h, err := server.NewHub(w.tb.Context(), w.ledger, hub.Config{})
	require.NoError(w.tb, err)
	w.view.Standing()
	_, err = h.Subscribe("gateway", w.view, hub.Standing)
	require.NoError(w.tb, err)
	w.hub.Store(h)
}

// committed tells the gateway of a write.
func (w *world) committed(store *graphstore.Store, c graphstore.Commit) {
	h := w.hub.Load()
	if h == nil {
		return
	}
	zookie, err := store.Zookie(c)
	event := hub.Changed(c, zookie)
	event.All = event.All || err != nil
	h.Publish(event)
}

func (w *world) upstream(o options) string {
	cfg := paysim.Config{Key: agentid.NewSecret(upstreamKey)}
	if o.sim != nil {
		o.sim(&cfg)
	}
	sim, err := paysim.New(cfg)
	require.NoError(w.tb, err)
	w.sim = sim
	for _, c := range []string{"cus_1", "cus_2"} {
		require.NoError(w.tb, sim.AddCustomer(paysim.Customer{ID: c}))
	}
	for _, c := range []paysim.Charge{
		{ID: "ch_1", Customer: "cus_1", PaymentIntent: "pi_1", Currency: "usd", Amount: 10000},
		{ID: "ch_half", Customer: "cus_1", PaymentIntent: "pi_half", Currency: "usd", Amount: 10000, Refunded: 5000},
		{ID: "ch_eur", Customer: "cus_1", Currency: "eur", Amount: 10000},
		{ID: "ch_other", Customer: "cus_2", Currency: "usd", Amount: 10000},
	} {
		require.NoError(w.tb, sim.AddCharge(c))
	}
	require.NoError(w.tb, sim.AddSubscription(paysim.Subscription{ID: "sub_1", Customer: "cus_1"}))
	var h http.Handler = sim
	if o.upstream != nil {
		h = o.upstream
	}
	w.sent = &recorder{next: h, mu: make(chan struct{}, 1)}
	srv := httptest.NewServer(w.sent)
	w.tb.Cleanup(srv.Close)
	return srv.URL
}

func (w *world) readers() []relate.Edge {
	return []relate.Edge{
		{Resource: w.Account, Relation: schema.PaymentsReader, Subject: relate.To(w.Alice)},
		{Resource: w.Account, Relation: schema.PaymentsReader, Subject: relate.Set(w.Type, schema.AgentTypeInstance)},
	}
}

// previewers are the grants of previews.
func (w *world) previewers() []relate.Edge {
	return []relate.Edge{
		{Resource: w.Account, Relation: schema.PaymentsPreviewer, Subject: relate.To(w.Alice)},
		{
			Resource: w.Account, Relation: schema.PaymentsPreviewer, Subject: relate.Set(w.Type, schema.AgentTypeInstance),
			Caveat: policytest.LimitCaveat(policytest.Limit),
		},
	}
}

var allOperations = []string{"payments:refund", "payments:read_charge", "payments:read_customer", "payments:read_refund", "payments:read_payment_intent"}

// grant is a capability on customer cus_1 within constraints.
func (w *world) grant(constraints string, operations ...string) capability.Capability {
	w.tb.Helper()
	if len(operations) == 0 {
		operations = []string{"payments:refund"}
	}
	c := capability.Capability{Resource: w.Customer, Operations: operations}
	if constraints != "" {
		parsed, err := capability.ParseConstraints(json.RawMessage(constraints))
		require.NoError(w.tb, err)
		c.Constraints = parsed
	}
	return c
}

// token mints what the broker would, bound to the agent's key.
func (w *world) token(edit func(*capability.Claims), grants ...capability.Capability) string {
	w.tb.Helper()
	_, epoch, incarnation, err := w.ledger.Floor(w.tb.Context())
	require.NoError(w.tb, err)
	now := time.Now().Truncate(time.Second)
	lineage := w.Agents
	claims := capability.Claims{
		Issuer: issuer + "/acme", Subject: w.Alice.String(), ClientID: lineage[0].String(), Audience: w.base, ID: httpx.NewID(),
		Scope: capability.Scope(grants), IssuedAt: now, NotBefore: now, Expiry: now.Add(5 * time.Minute),
		Actor: capability.NewActor(lineage), Capabilities: grants, Confirmation: capability.Confirmation{JKT: w.proofs.Thumbprint()},
		Context: capability.Context{
			Tenant: "acme", AgentType: w.Type, Principal: w.Alice, Zookie: w.Zookie, Epoch: epoch, Incarnation: incarnation,
			PolicyVersion: schema.Version(), LineageDigest: capability.LineageDigest(lineage),
		},
	}
	if edit != nil {
		edit(&claims)
	}
	signed, err := capability.Sign(claims, jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: w.key, KeyID: "k1"}})
	require.NoError(w.tb, err)
	return signed
}

// answer is a response with its body.
type answer struct {
	status int
	header http.Header
	body   string
}

// reason is the code of a refusal in Stripe's shape.
func (a answer) reason() string { return a.field("code") }

func (a answer) field(name string) string {
	var e struct {
		Error map[string]any `json:"error"`
	}
	_ = json.Unmarshal([]byte(a.body), &e)
	s, _ := e.Error[name].(string)
	return s
}

type sending struct {
	method, path, body, key string
	header                  http.Header
}

func (w *world) refund(form, key string) sending {
	return sending{method: "POST", path: "/v1/refunds", body: form, key: key}
}

func get(path string) sending { return sending{method: "GET", path: path} }

// send makes the request as an agent does: with its token and a fresh proof, once more
// when the gateway asks for a nonce.
func (w *world) send(token string, s sending) answer {
	w.tb.Helper()
	for attempt := 0; ; attempt++ {
		nonce := ""
		if n := w.nonce.Load(); n != nil {
			nonce = *n
		}
		target, _, _ := strings.Cut(s.path, "?")
		proof, err := w.proofs.Sign(dpop.Request{Method: s.method, URL: w.base + target, AccessToken: token, Nonce: nonce, Now: time.Now()})
		require.NoError(w.tb, err)
		header := s.header.Clone()
		if header == nil {
			header = http.Header{}
		}
		header.Set("Authorization", "DPoP "+token)
		header.Set("DPoP", proof)
		a := w.raw(s, header)
		if n := a.header.Get("DPoP-Nonce"); n != "" {
			w.nonce.Store(&n)
		}
		if a.reason() != dpop.ReasonUseNonce || attempt > 0 {
			return a
		}
	}
}

// raw sends with exactly these headers, and those of the body.
func (w *world) raw(s sending, header http.Header) answer {
	w.tb.Helper()
	var body io.Reader
	if s.body != "" {
		body = strings.NewReader(s.body)
	}
	req, err := http.NewRequestWithContext(w.tb.Context(), s.method, w.base+s.path, body)
	require.NoError(w.tb, err)
	req.Header = header.Clone()
	if s.body != "" && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if s.key != "" {
		req.Header.Set("Idempotency-Key", s.key)
	}
	resp, err := w.client.Do(req)
	require.NoError(w.tb, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(w.tb, err)
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// records is the audit log, oldest first.
func (w *world) records() []auditlog.Record {
	w.tb.Helper()
	page, err := w.ledger.Audit().Query(context.Background(), auditlog.Query{Limit: auditlog.MaxLimit})
	require.NoError(w.tb, err)
	return page.Records
}

// last is the newest audit record.
func (w *world) last() auditlog.Record {
	all := w.records()
	require.NotEmpty(w.tb, all)
	return all[len(all)-1]
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
