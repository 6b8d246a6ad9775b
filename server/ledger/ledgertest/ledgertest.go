// Package ledgertest is the suite that every ledger passes. A ledger on another
// database starts by calling Run with its constructor.
//
// It owns the tests of what a caller sees. What is special to one database (full disk,
// crash) is tested beside that ledger.
package ledgertest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/signer"
)

// Ledger is what the suite tests: all that a ledger offers.
type Ledger interface {
	Settings
	Agents
	Credentials
	Issuing
	wire.Effects
	Upkeep
}

// Settings are tenants and what is configured in them.
type Settings interface {
	PutTenant(context.Context, ledger.Tenant, ...auditlog.Record) (ledger.Tenant, bool, error)
	PutPrincipal(context.Context, ledger.Principal, ...auditlog.Record) (ledger.Principal, bool, error)
	PutAgentType(context.Context, ledger.AgentType, ...auditlog.Record) (ledger.AgentType, bool, error)
	PutTemplate(context.Context, ledger.Template, ...auditlog.Record) (ledger.Template, bool, error)
	PutConnector(context.Context, ledger.Connector, ...auditlog.Record) (ledger.Connector, bool, error)
	Reading
}

// Reading lists and reads settings.
type Reading interface {
	Tenants(context.Context, ledger.Page) ([]ledger.Tenant, error)
	Principals(context.Context, string, ledger.Page) ([]ledger.Principal, error)
	PrincipalBySubject(ctx context.Context, tenant, issuer, subject string) (ledger.Principal, error)
	Templates(context.Context, string, ledger.Page) ([]ledger.Template, error)
	Connectors(context.Context) ([]wire.Connector, error)
	Deleting
}

// Deleting takes settings away.
type Deleting interface {
	DeleteTenant(context.Context, agentid.Ref, ...auditlog.Record) error
	DeletePrincipal(context.Context, agentid.Ref, ...auditlog.Record) error
	DeleteTemplate(ctx context.Context, tenant, name string, records ...auditlog.Record) error
	DeleteConnector(context.Context, agentid.Ref, ...auditlog.Record) error
}

// Agents are agents and why they are frozen.
type Agents interface {
	PutAgent(context.Context, ledger.Agent, ...auditlog.Record) (ledger.Agent, bool, error)
	Agents(context.Context, ledger.AgentFilter) ([]ledger.Agent, error)
	Lineage(context.Context, agentid.Ref) ([]ledger.Agent, error)
	RetireAgent(context.Context, agentid.Ref, ...auditlog.Record) error
	AddFreeze(ctx context.Context, ref agentid.Ref, reason, actor string, records ...auditlog.Record) ([]ledger.Freeze, error)
	RemoveFreeze(ctx context.Context, ref agentid.Ref, reason string, records ...auditlog.Record) ([]ledger.Freeze, error)
}

// Credentials are what is sealed or hashed.
type Credentials interface {
	PutCredential(context.Context, agentid.Ref, agentid.Secret, ...auditlog.Record) error
	BootstrapAdmin(context.Context, string, ...auditlog.Record) (ledger.SecretInfo, agentid.Secret, error)
	AuthenticateAdmin(context.Context, agentid.Secret) (ledger.SecretInfo, error)
	AddClientSecret(context.Context, agentid.Ref, ...auditlog.Record) (ledger.SecretInfo, agentid.Secret, error)
	AuthenticateClient(context.Context, agentid.Ref, agentid.Secret) error
	Rotation
}

// Rotation exchanges credentials and signing keys.
type Rotation interface {
	RotateAdmin(context.Context, string, ...auditlog.Record) (ledger.SecretInfo, agentid.Secret, error)
	DeleteAdmin(context.Context, string, ...auditlog.Record) error
	DeleteClientSecret(context.Context, agentid.Ref, string, ...auditlog.Record) error
	signer.Store
}

// Issuing is tokens and revocations.
type Issuing interface {
	RecordIssue(context.Context, ledger.Issue) error
	Tokens(context.Context, ledger.TokenFilter) ([]ledger.Token, error)
	BeginRevocation(context.Context, ledger.Revocation, ...auditlog.Record) (ledger.Revocation, error)
	SettleRevocation(context.Context, agentid.Epoch, agentid.Zookie, ...auditlog.Record) error
	OpenRevocations(context.Context) ([]ledger.Revocation, error)
	Floor(context.Context) (agentid.Zookie, agentid.Epoch, string, error)
}

// Upkeep is the sweeper and the log.
type Upkeep interface {
	Sweep(context.Context) (int, error)
	Purge(context.Context) (int64, error)
	Audit() *auditlog.Log
	wire.Audit
}

// Clock is the time that a ledger under test goes by.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock starts at a fixed time.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)} }

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add moves the time.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// New opens an empty ledger that goes by the clock, does not sweep by itself, and is
// closed at the end of the test.
type New func(t testing.TB, clock *Clock) Ledger

// Run runs the suite.
func Run(t *testing.T, open New) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Ledger, *Clock){
		"settings":                   settings,
		"settings are tenant-scoped": settingsStayInTheirTenant,
		"what is in use stays":       whatIsInUseStays,
		"agents":                     agents,
		"keys belong to one agent":   keysBelongToOneAgent,
		"lineage":                    lineages,
		"freezes":                    freezes,
		"credentials":                credentials,
		"administrators":             administrators,
		"service clients":            serviceClients,
		"signing keys":               signingKeys,
		"issue":                      issue,
		"tokens are listed":          tokensAreListed,
		"revocations":                revocations,
		"reserve and settle":         reserveAndSettle,
		"bad reservations":           badReservations,
		"uses under a race":          usesUnderARace,
		"holds in order":             holdsInOrder,
		"uses of a chain":            usesOfAChain,
		"idempotency":                idempotency,
		"idempotency under a race":   idempotencyUnderARace,
		"unknown outcomes":           unknownOutcomes,
		"late outcomes":              lateOutcomes,
		"holds are ordered":          holdsAreOrdered,
		"await":                      await,
		"exactly five refunds":       exactlyFiveRefunds,
		"the sweeper":                sweeper,
		"purge":                      purge,
	} {
		t.Run(name, func(t *testing.T) {
			clock := NewClock()
			test(t, open(t, clock), clock)
		})
	}
}

// Ref parses a ref, or ends the test.
func Ref(t testing.TB, s string) agentid.Ref {
	t.Helper()
	r, err := agentid.ParseRef(s)
	require.NoError(t, err)
	return r
}

// PublicKey makes a new key's public half as a JWK.
func PublicKey(t testing.TB) json.RawMessage {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	b, err := (&jose.JSONWebKey{Key: pub}).MarshalJSON()
	require.NoError(t, err)
	return b
}

// Populate makes a tenant with a principal, an agent type, a connector and an agent.
func Populate(t testing.TB, l Ledger, tenant string) {
	t.Helper()
	ctx := t.Context()
	_, _, err := l.PutTenant(ctx, ledger.Tenant{Ref: Ref(t, "tenant:"+tenant)})
	require.NoError(t, err)
	_, _, err = l.PutPrincipal(ctx, ledger.Principal{Ref: Ref(t, "principal:"+tenant+"/alice"), Kind: ledger.PrincipalHuman, Issuer: "https://idp", Subject: "1"})
	require.NoError(t, err)
	_, _, err = l.PutAgentType(ctx, ledger.AgentType{Ref: Ref(t, "agent_type:"+tenant+"/refund-agent")})
	require.NoError(t, err)
	_, _, err = l.PutConnector(ctx, ledger.Connector{
		Ref: Ref(t, "connector:"+tenant+"/stripe"), Kind: "payments", Resource: "https://" + tenant + ".gw", Upstream: "https://api.stripe.com",
	})
	require.NoError(t, err)
	_, _, err = l.PutAgent(ctx, Agent(t, tenant, "ag-1"))
	require.NoError(t, err)
}

// Agent is an agent of a populated tenant, with a new key.
func Agent(t testing.TB, tenant, name string) ledger.Agent {
	t.Helper()
	return ledger.Agent{
		Ref: Ref(t, "agent:"+tenant+"/"+name), Type: Ref(t, "agent_type:"+tenant+"/refund-agent"),
		Principal: Ref(t, "principal:"+tenant+"/alice"), PublicKey: PublicKey(t),
	}
}

// Begin is the audit begin of a request of tenant acme.
func Begin(request string) auditlog.Record {
	return auditlog.Record{
		Kind: auditlog.Operation, Phase: auditlog.Begin, Request: request, Tenant: "acme", Agent: "agent:acme/ag-1",
		Operation: "payments:refund", Decision: auditlog.Allow,
	}
}

// Finish is the finish to Begin.
func Finish(request string) auditlog.Record {
	r := Begin(request)
	r.Phase, r.UpstreamStatus = auditlog.Finish, 200
	return r
}

// Refund is a reservation of a request: of 10.00 on one charge, with a key of its own.
func Refund(t testing.TB, clock *Clock, request string) wire.Reserve {
	t.Helper()
	return wire.Reserve{
		Token: Ref(t, "token:acme/tok-1"), Agent: Ref(t, "agent:acme/ag-1"),
		IdempotencyKey: request, RequestDigest: "digest-" + request, HoldKey: "acme/stripe/charge/ch_1", HoldAmount: 1000,
		Record: Begin(request), Deadline: clock.Now().Add(time.Minute),
	}
}

func settle(t testing.TB, l Ledger, id, request string, o wire.Outcome) {
	t.Helper()
	require.NoError(t, l.Settle(t.Context(), wire.Settlement{ID: id, Outcome: o, Record: Finish(request)}))
}

// refuses wants an error of this kind and reason.
func refuses(t testing.TB, err error, kind agentid.Kind, reason string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, kind, agentid.KindOf(err), "%v", err)
	require.Equal(t, reason, agentid.ReasonOf(err), "%v", err)
}

func phases(t testing.TB, l Ledger, request string) string {
	t.Helper()
	page, err := l.Audit().Query(t.Context(), auditlog.Query{Request: request})
	require.NoError(t, err)
	var out []string
	for _, r := range page.Records {
		out = append(out, fmt.Sprintf("%s%s", r.Phase, strings.TrimSuffix(":"+r.Reason, ":")))
	}
	return strings.Join(out, " ")
}
