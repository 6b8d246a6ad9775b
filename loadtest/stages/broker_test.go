package stages_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server"
	"github.com/agentid-dev/agentid/server/introspection"
	"github.com/agentid-dev/agentid/server/ledger"
)

// broker is a broker over the world's parts, with one tenant, agent and service.
type broker struct {
	*server.Broker
	handler http.Handler
	service agentid.Ref
	secret  agentid.Secret
	token   string // of the agent, signed by this broker
	claims  capability.Claims
}

// issuing makes the broker at its first use.
func (w *world) issuing(tb testing.TB) *broker {
	tb.Helper()
	if w.broker != nil {
		return w.broker
	}
	ctx, b := tb.Context(), &broker{service: policytest.Must(agentid.ConnectorRef("acme", "stripe"))}
	_, _, err := w.ledger.PutTenant(ctx, ledger.Tenant{Ref: w.Tenant})
	require.NoError(tb, err)
	_, _, err = w.ledger.PutPrincipal(ctx, ledger.Principal{Ref: w.Alice, Kind: ledger.PrincipalHuman})
	require.NoError(tb, err)
	_, _, err = w.ledger.PutAgentType(ctx, ledger.AgentType{Ref: w.Type})
	require.NoError(tb, err)
	_, _, err = w.ledger.PutConnector(ctx, ledger.Connector{Ref: b.service, Kind: "payments", Resource: resource, Upstream: "https://api.example"})
	require.NoError(tb, err)
	_, b.secret, err = w.ledger.AddClientSecret(ctx, b.service)
	require.NoError(tb, err)
	private := jose.JSONWebKey{Key: w.agent.Key}
	key, err := json.Marshal(private.Public())
	require.NoError(tb, err)
	_, _, err = w.ledger.PutAgent(ctx, ledger.Agent{Ref: w.Agents[0], Type: w.Type, Principal: w.Alice, PublicKey: key})
	require.NoError(tb, err)
	b.Broker, err = server.New(ctx, server.Config{
		BaseURL: issuer, Ledger: w.ledger, Audit: w.ledger, Permissions: w.Permissions, Decider: w.warm, Hub: w.hub,
		Kinds: connectors.Builtin(), PolicyVersion: schema.Version, TokensPerMin: 1e9, TokensBurst: 1e8,
	})
	require.NoError(tb, err)
	b.handler, err = b.Handler()
	require.NoError(tb, err)
	active, err := b.Signer().Active()
	require.NoError(tb, err)
	b.claims = w.claims(tb, true)
	b.token, err = capability.Sign(b.claims, active)
	require.NoError(tb, err)
	w.broker = b
	return b
}

// ask is one request to the broker by function call: want is in the body of its answer.
func (b *broker) ask(path string, form url.Values, header http.Header, want string) (http.Header, error) {
	r := httptest.NewRequest(http.MethodPost, issuer+path, strings.NewReader(form.Encode()))
	r.Header = header
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	b.handler.ServeHTTP(rec, r)
	if !strings.Contains(rec.Body.String(), want) {
		return rec.Header(), fmt.Errorf("answered %d: %s", rec.Code, rec.Body)
	}
	return rec.Header(), nil
}

func authenticatingService(tb testing.TB, w *world) func() error {
	b := w.issuing(tb)
	return func() error { return w.ledger.AuthenticateClient(tb.Context(), b.service, b.secret) }
}

// holding verifies tokens of the broker as introspection does.
func holding(tb testing.TB, w *world) *capability.Verifier {
	v, err := capability.NewVerifier(capability.VerifierConfig{
		Keys: w.issuing(tb).Fleet(), Base: issuer, Now: time.Now, Cache: 64, Derive: introspection.Deriving(w.warm),
	})
	require.NoError(tb, err)
	return v
}

func verifyingIssued(tb testing.TB, w *world) func() error {
	b, v := w.issuing(tb), holding(tb, w)
	return func() error {
		_, err := v.VerifyIssuedToken(tb.Context(), b.token)
		return err
	}
}

func living(tb testing.TB, w *world) func() error {
	b := w.issuing(tb)
	token, err := holding(tb, w).VerifyIssuedToken(tb.Context(), b.token)
	require.NoError(tb, err)
	return func() error { return introspection.Live(tb.Context(), b.Fleet(), w.warm, token) }
}

func introspecting(tb testing.TB, w *world) func() error {
	b := w.issuing(tb)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(b.service.String())+":"+url.QueryEscape(b.secret.Reveal())))
	return func() error {
		_, err := b.ask("/acme/oauth2/introspect", url.Values{"token": {b.token}}, http.Header{"Authorization": {basic}}, `"active":true`)
		return err
	}
}

// issuance decides as a mint does: a read, or a refund whose amount is not known yet.
func issuance(by func(*world) *policy.Decider, operation, permission string) func(tb testing.TB, w *world) func() error {
	return func(tb testing.TB, w *world) func() error {
		q := w.question(operation, permission, nil)
		q.Stage, q.Tokens = policy.StageIssue, nil
		return func() error {
			_, err := by(w).Decide(tb.Context(), q)
			return err
		}
	}
}

// minting is a whole mint, with the agent's own signatures on assertion and proof.
func minting(tb testing.TB, w *world) func() error {
	b := w.issuing(tb)
	raw, err := json.Marshal(b.claims.Capabilities[:1])
	require.NoError(tb, err)
	nonce := ""
	return func() error {
		for range 2 {
			assertion, err := clientauth.Sign(w.agent, clientauth.Request{ClientID: w.Agents[0].String(), Issuer: issuer + "/acme", Now: time.Now()})
			if err != nil {
				return err
			}
			proof, err := w.proofs.Sign(dpop.Request{Method: http.MethodPost, URL: issuer + "/acme/oauth2/token", Nonce: nonce, Now: time.Now()})
			if err != nil {
				return err
			}
			header, err := b.ask("/acme/oauth2/token", url.Values{
				"grant_type": {"client_credentials"}, "authorization_details": {string(raw)}, "resource": {resource},
				"client_assertion_type": {clientauth.AssertionType}, "client_assertion": {assertion},
			}, http.Header{"Dpop": {proof}}, "access_token")
			if err == nil || nonce != "" {
				nonce = header.Get("DPoP-Nonce")
				return err
			}
			nonce = header.Get("DPoP-Nonce")
		}
		return fmt.Errorf("no proof is taken")
	}
}
