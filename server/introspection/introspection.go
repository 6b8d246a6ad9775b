// Package introspection answers whether a token is good now (RFC 7662), plain or as a
// signed JWT (RFC 9701).
//
// A connector's service client may ask about tokens for its own connector, an agent about
// its own tokens; everybody else, and everything that is not good, is answered with
// {"active":false} and nothing more. The package keeps no state: signature, expiry and
// incarnation are looked at, and the graph is asked for the rest each time.
package introspection

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/clientauth"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/trail"
)

const (
	maxBody   = 32 << 10
	maxFields = 16

	mediaJWT = "application/token-introspection+jwt"
	typeJWT  = "token-introspection+jwt"
)

var formRules = httpx.FormRules{MaxBytes: maxBody, MaxFields: maxFields}

// Clients authenticates callers.
type Clients interface {
	Any(ctx context.Context, issuer string, r *http.Request, form httpx.Form) (clientauth.Client, error)
	// Spend uses up an agent's assertion: KindUnauthenticated if it was used before.
	Spend(ctx context.Context, c clientauth.Client, records ...auditlog.Record) error
}

// Decider is policy.Decider.
type Decider interface {
	Decide(ctx context.Context, q policy.Question) (policy.Allowed, error)
}

// Verifier is capability.Verifier. KindUnavailable is an outage; any other error means
// that the token is not one of ours that is good by its own text.
type Verifier interface {
	VerifyIssued(ctx context.Context, compact string) (capability.Claims, error)
}

// Signer gives the active key for signed answers.
type Signer interface {
	Active() (jose.SigningKey, error)
}

// Limit bounds how often one agent calls: KindRateLimited "rate_agent" when it is too
// often. Each of its calls costs a durable row.
type Limit interface {
	Take(ctx context.Context, agent agentid.Ref) error
}

// Config configures New. Everything but Now is required.
type Config struct {
	Issuers  discovery.Issuers
	Clients  Clients
	Verifier Verifier
	Decider  Decider
	Fleet    wire.Fleet
	Signer   Signer
	Trail    *trail.Trail
	Limit    Limit            // of agents; services are not limited
	Now      func() time.Time // default: time.Now
}

// Endpoint is the introspection endpoint of the root issuer and of every tenant.
type Endpoint struct{ cfg Config }

// New checks cfg.
func New(cfg Config) (*Endpoint, error) {
	if cfg.Issuers.Root() == "" || cfg.Clients == nil || cfg.Verifier == nil || cfg.Decider == nil ||
		cfg.Fleet == nil || cfg.Signer == nil || cfg.Trail == nil || cfg.Limit == nil {
		return nil, errors.New("introspection: every part is required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Endpoint{cfg: cfg}, nil
}

// Answer is RFC 7662 section 2.2. The zero Answer says that the token is not active.
type Answer struct {
	Active       bool                     `json:"active"`
	Scope        string                   `json:"scope,omitempty"`
	ClientID     string                   `json:"client_id,omitempty"`
	TokenType    string                   `json:"token_type,omitempty"`
	Expiry       int64                    `json:"exp,omitempty"`
	IssuedAt     int64                    `json:"iat,omitempty"`
	NotBefore    int64                    `json:"nbf,omitempty"`
	Subject      string                   `json:"sub,omitempty"`
	Audience     string                   `json:"aud,omitempty"`
	Issuer       string                   `json:"iss,omitempty"`
	ID           string                   `json:"jti,omitempty"`
	Actor        *capability.Actor        `json:"act,omitempty"`
	Lineage      []agentid.Ref            `json:"lineage,omitempty"` // act as a list: the agent, then its ancestors
	Confirmation *capability.Confirmation `json:"cnf,omitempty"`
	Details      []capability.Capability  `json:"authorization_details,omitempty"`
}

// Introspect handles one request. Every refusal is in the audit log before it is
// answered; the error is to be rendered by httperr.OAuth.
func (e *Endpoint) Introspect(w http.ResponseWriter, r *http.Request, tenant string) error {
	issuer := e.cfg.Issuers.Of(tenant)
	client, answer, err := e.run(w, r, tenant)
	if err != nil {
		who, about := trail.Stranger, auditlog.Record{Kind: auditlog.Authn, Tenant: tenant, Operation: "introspect"}
		if client.Method != 0 {
			who, about.Agent, about.Resource = trail.Known, client.Agent.Ref.String(), client.Connector.String()
		}
		if agentid.KindOf(err) == agentid.KindRateLimited {
			who = trail.Limited
		}
		e.cfg.Trail.Write(r.Context(), who, about, err)
		return err
	}
	if !wantsJWT(r) {
		return httpx.WriteJSON(w, http.StatusOK, answer)
	}
	return e.signed(w, issuer, client, answer)
}

func (e *Endpoint) run(w http.ResponseWriter, r *http.Request, tenant string) (clientauth.Client, Answer, error) {
	ctx := r.Context()
	form, err := httpx.ParseForm(w, r, formRules)
	if err != nil {
		return clientauth.Client{}, Answer{}, err
	}
	client, err := e.client(ctx, e.cfg.Issuers.Of(tenant), r, form)
	if err != nil {
		return clientauth.Client{}, Answer{}, err
	}
	token := form.Get("token")
	if token == "" {
		return client, Answer{}, agentid.Invalidf("token", "is missing")
	}
	answer, err := e.answer(ctx, tenant, client, token)
	return client, answer, err
}

// client authenticates the caller and uses up its assertion.
func (e *Endpoint) client(ctx context.Context, issuer string, r *http.Request, form httpx.Form) (clientauth.Client, error) {
	client, err := e.cfg.Clients.Any(ctx, issuer, r, form)
	if err != nil || client.Method != clientauth.PrivateKeyJWT {
		return client, err
	}
	if err := e.cfg.Limit.Take(ctx, client.Agent.Ref); err != nil {
		return client, err
	}
	return client, e.cfg.Clients.Spend(ctx, client)
}

// answer is active only if the token is ours and good by its own text, the caller may
// know of it, and the graph says that its agents live and that it is not revoked. An
// outage is an error, not an inactive token.
func (e *Endpoint) answer(ctx context.Context, tenant string, client clientauth.Client, token string) (Answer, error) {
	claims, err := e.cfg.Verifier.VerifyIssued(ctx, token)
	if err != nil {
		return inactive(err)
	}
	if tenant != "" && claims.Context.Tenant != tenant {
		return Answer{}, nil
	}
	if mine, err := e.concerns(ctx, client, claims); err != nil || !mine {
		return Answer{}, err
	}
	if err := Live(ctx, e.cfg.Fleet, e.cfg.Decider, claims); err != nil {
		return inactive(err)
	}
	return describe(claims), nil
}

// inactive makes every definite no one answer.
func inactive(err error) (Answer, error) {
	switch agentid.KindOf(err) {
	case agentid.KindUnauthenticated, agentid.KindForbidden, agentid.KindInvalid:
		return Answer{}, nil
	default:
		return Answer{}, err
	}
}

// concerns says whether the caller may know of the token: the agent that it was issued
// to, or the service of the connector that it is for.
func (e *Endpoint) concerns(ctx context.Context, client clientauth.Client, claims capability.Claims) (bool, error) {
	if client.Method == clientauth.PrivateKeyJWT {
		return claims.ClientID == client.Agent.Ref.String(), nil
	}
	if client.Method != clientauth.ClientSecretBasic || client.Connector.Tenant() != claims.Context.Tenant {
		return false, nil
	}
	all, err := e.cfg.Fleet.Connectors(ctx)
	if err != nil {
		return false, err
	}
	for _, c := range all {
		if c.Ref == client.Connector {
			return c.Resource == claims.Audience, nil
		}
	}
	return false, nil
}

// Live asks the graph whether a token that verified is good now: none of its chain is
// revoked, every agent of its lineage lives, and it is of this incarnation. KindForbidden
// is a definite no.
func Live(ctx context.Context, fleet wire.Fleet, decider Decider, claims capability.Claims) error {
	floor, epoch, incarnation, err := fleet.Floor(ctx)
	if err != nil {
		return err
	}
	if claims.Context.Incarnation != incarnation {
		return agentid.Errorf(agentid.KindForbidden, "token_incarnation", "the token is from before a restore")
	}
	tokens, err := claims.Tokens()
	if err != nil {
		return err
	}
	q := policy.Question{
		Stage: policy.StageLive, Principal: claims.Context.Principal, OwnAuthority: claims.Context.OwnAuthority,
		Tokens: tokens, AtLeast: claims.Context.Zookie,
	}
	// A token of an older epoch was decided on before the floor was raised.
	if floor != "" && claims.Context.Epoch < epoch {
		q.AtLeast = floor
	}
	for _, agent := range claims.Lineage() {
		q.Lineage = append(q.Lineage, policy.Member{Agent: agent})
	}
	_, err = decider.Decide(ctx, q)
	return err
}

func describe(c capability.Claims) Answer {
	a := Answer{
		Active: true, Scope: c.Scope, ClientID: c.ClientID, TokenType: "Bearer",
		Expiry: c.Expiry.Unix(), IssuedAt: c.IssuedAt.Unix(), Subject: c.Subject, Audience: c.Audience,
		Issuer: c.Issuer, ID: c.ID, Actor: c.Actor, Lineage: c.Lineage(), Details: c.Capabilities,
	}
	if !c.NotBefore.IsZero() {
		a.NotBefore = c.NotBefore.Unix()
	}
	if !c.Confirmation.IsZero() {
		a.TokenType, a.Confirmation = "DPoP", &c.Confirmation
	}
	return a
}

// wantsJWT reports whether Accept names the signed form and does not rule it out.
func wantsJWT(r *http.Request) bool {
	for _, header := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(header, ",") {
			media, params, err := mime.ParseMediaType(part)
			if err == nil && media == mediaJWT && params["q"] != "0" {
				return true
			}
		}
	}
	return false
}

// signed is RFC 9701 section 5: the answer in one claim, so that the JWT cannot be taken
// for an access token; aud is the caller.
func (e *Endpoint) signed(w http.ResponseWriter, issuer string, client clientauth.Client, answer Answer) error {
	audience := client.Connector
	if client.Method == clientauth.PrivateKeyJWT {
		audience = client.Agent.Ref
	}
	payload, err := json.Marshal(struct {
		Issuer   string `json:"iss"`
		Audience string `json:"aud"`
		IssuedAt int64  `json:"iat"`
		Answer   Answer `json:"token_introspection"`
	}{issuer, audience.String(), e.cfg.Now().Unix(), answer})
	if err != nil {
		return fmt.Errorf("introspection: %w", err)
	}
	key, err := e.cfg.Signer.Active()
	if err != nil {
		return err
	}
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType(typeJWT))
	if err != nil {
		return fmt.Errorf("introspection: %w", err)
	}
	made, err := signer.Sign(payload)
	if err != nil {
		return agentid.Unavailable("signing_unavailable", err)
	}
	compact, err := made.CompactSerialize()
	if err != nil {
		return fmt.Errorf("introspection: %w", err)
	}
	httpx.NoStore(w.Header())
	return httpx.WriteBytes(w, http.StatusOK, mediaJWT, []byte(compact))
}
