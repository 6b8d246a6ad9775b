package stages_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/gateway"
	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/internal/engine"
	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/internal/httpx"
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
	issuer   = "https://id.example.com"
	resource = "http://pay.example.com"
	secret   = "sk_test_of_the_connector"
)

// world is the real parts that the stages stand on.
type world struct {
	*policytest.World
	kind    *connectors.Kind
	ledger  *ledger.Ledger
	decider *policy.Decider // remembers nothing
	warm    *policy.Decider // remembers
	hub     *hub.Hub
	gateway *gateway.Gateway
	broker  *broker // nil before its first use
	fleet   *fleet
	signing jose.SigningKey // the broker's
	agent   jose.SigningKey // the agent's
	proofs  *dpop.Signer
}

// fleet is the settings of one connector.
type fleet struct {
	connectors  []wire.Connector
	key         jose.JSONWebKey
	zookie      agentid.Zookie
	epoch       agentid.Epoch
	incarnation string
}

func (f *fleet) Connectors(context.Context) ([]wire.Connector, error) { return f.connectors, nil }

func (f *fleet) Key(context.Context, string, string) (jose.JSONWebKey, error) { return f.key, nil }

func (f *fleet) Floor(context.Context) (agentid.Zookie, agentid.Epoch, string, error) {
	return f.zookie, f.epoch, f.incarnation, nil
}

func upstream(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"id":"cus_1","object":"customer"}`)
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{kind: connectors.Builtin()["payments"]}
	store, err := graphstore.Open(tb.Context(), graphstore.Config{Path: filepath.Join(tb.TempDir(), "graph.db")})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = store.Close() })
	e, err := engine.Start(tb.Context(), engine.Config{Datastore: store})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = e.Close() })
	w.World = policytest.NewWorld(tb, policytest.Graph{Checker: e.Checker(), Permissions: e.Permissions(), Schema: e.Schema()}, "acme", 0)
	w.Touch(tb,
		relate.Edge{Resource: w.Account, Relation: schema.PaymentsReader, Subject: relate.To(w.Alice)},
		relate.Edge{Resource: w.Account, Relation: schema.PaymentsReader, Subject: relate.Set(w.Type, schema.AgentTypeInstance)})
	sealKey, _, err := seal.Generate()
	require.NoError(tb, err)
	w.ledger, err = ledger.Open(tb.Context(), ledger.Config{Path: filepath.Join(tb.TempDir(), "ledger.db"), SealKey: sealKey})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = w.ledger.Close() })
	w.decider, err = policy.New(policy.Config{Checker: e.Checker()})
	require.NoError(tb, err)
	order := revision.New()
	view := freshness.New(freshness.Config{Order: order})
	w.hub, err = server.NewHub(tb.Context(), w.ledger, hub.Config{})
	require.NoError(tb, err)
	view.Standing()
	_, err = w.hub.Subscribe("gateway", view, hub.Standing)
	require.NoError(tb, err)
	w.warm, err = policy.New(policy.Config{Checker: e.Checker(), Fresh: view, Order: order})
	require.NoError(tb, err)
	w.keys(tb)
	srv := httptest.NewServer(http.HandlerFunc(upstream))
	tb.Cleanup(srv.Close)
	w.fleet.connectors = []wire.Connector{{
		Ref: policytest.Must(agentid.ConnectorRef("acme", "stripe")), Kind: "payments", Resource: resource, Upstream: srv.URL,
		AllowPrivateUpstream: true, AllowBearer: true, BearerLifetime: time.Hour, Credential: agentid.NewSecret(secret), Version: 1,
		Rates: wire.Rates{TokenPerMinute: 1e9, TokenBurst: 1e8, AgentPerMinute: 1e9, AgentBurst: 1e8},
	}}
	w.fleet.zookie, w.fleet.epoch, w.fleet.incarnation, err = w.ledger.Floor(tb.Context())
	require.NoError(tb, err)
	w.gateway, err = gateway.New(gateway.Config{
		Fleet: w.fleet, Effects: w.ledger, Audit: w.ledger, Decider: w.warm, View: view, Issuer: issuer, TenantPerMinute: 1e9, TenantBurst: 1e8,
	})
	require.NoError(tb, err)
	tb.Cleanup(w.gateway.Close)
	return w
}

func (w *world) keys(tb testing.TB) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(tb, err)
	w.signing = jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: "k1"}}
	w.fleet = &fleet{key: jose.JSONWebKey{Key: public, KeyID: "k1", Algorithm: "EdDSA", Use: "sig"}}
	_, agentKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(tb, err)
	w.agent = jose.SigningKey{Algorithm: jose.EdDSA, Key: agentKey}
	w.proofs, err = dpop.NewSigner(w.agent)
	require.NoError(tb, err)
}

// claims are of a token for reads and refunds of cus_1 within constraints.
func (w *world) claims(tb testing.TB, bound bool) capability.Claims {
	constraints, err := capability.ParseConstraints(json.RawMessage(`{"amount":{"max":4200,"currency":"usd","at_most_fact":"charge.refundable"},"uses":{"max":1000000000}}`))
	require.NoError(tb, err)
	grants := []capability.Capability{
		{Resource: w.Customer, Operations: []string{"payments:read_customer"}},
		{Resource: w.Customer, Operations: []string{"payments:refund"}, Constraints: constraints},
	}
	now := time.Now().Truncate(time.Second)
	c := capability.Claims{
		Issuer: issuer + "/acme", Subject: w.Alice.String(), ClientID: w.Agents[0].String(), Audience: resource, ID: httpx.NewID(),
		Scope: capability.Scope(grants), IssuedAt: now, NotBefore: now, Expiry: now.Add(5 * time.Minute),
		Actor: capability.NewActor(w.Agents), Capabilities: grants,
		Context: capability.Context{
			Tenant: "acme", AgentType: w.Type, Principal: w.Alice, Zookie: w.Zookie, Epoch: w.fleet.epoch, Incarnation: w.fleet.incarnation,
			PolicyVersion: schema.Version(), LineageDigest: capability.LineageDigest(w.Agents),
		},
	}
	if bound {
		c.Confirmation = capability.Confirmation{JKT: w.proofs.Thumbprint()}
	}
	return c
}

func (w *world) token(tb testing.TB, bound bool) string {
	signed, err := capability.Sign(w.claims(tb, bound), w.signing)
	require.NoError(tb, err)
	return signed
}
