// Package introspection answers whether a token is good now (RFC 7662), plain or as a
// signed JWT (RFC 9701).
//
// A connector's service client may ask about tokens for its own connector, an agent about
// its own tokens; everybody else, and everything that is not good, is answered with
// {"active":false} and nothing more. The package keeps no state: expiry and incarnation are
// looked at each time, and policy decides on the rest each time. What a token says is worked
// out once for as long as the verifier remembers it.
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

	mediaJSON = "application/json"
	mediaJWT  = "application/token-introspection+jwt"
	typeJWT   = "token-introspection+jwt"
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
	Subject(h policy.Holder) (*policy.Subject, error)
}

// Verifier is capability.Verifier with Derive. KindUnavailable is an outage; any other
// error means that the token is not one of ours that is good by its own text.
type Verifier interface {
	VerifyIssuedToken(ctx context.Context, compact string) (*capability.Token, error)
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

// Introspect handles one request. Every refusal is in the audit log before it is
// answered; the error is to be rendered by httperr.OAuth.
func (e *Endpoint) Introspect(w http.ResponseWriter, r *http.Request, tenant string) error {
	issuer := e.cfg.Issuers.Of(tenant)
	client, answer, err := e.run(w, r, tenant) // the answer is JSON
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
		httpx.NoStore(w.Header())
		return httpx.WriteBytes(w, http.StatusOK, mediaJSON, answer)
	}
	return e.signed(w, issuer, client, answer)
}

func (e *Endpoint) run(w http.ResponseWriter, r *http.Request, tenant string) (clientauth.Client, []byte, error) {
	ctx := r.Context()
	form, err := httpx.ParseForm(w, r, formRules)
	if err != nil {
		return clientauth.Client{}, nil, err
	}
	client, err := e.client(ctx, e.cfg.Issuers.Of(tenant), r, form)
	if err != nil {
		return clientauth.Client{}, nil, err
	}
	token := form.Get("token")
	if token == "" {
		return client, nil, agentid.Invalidf("token", "is missing")
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
func (e *Endpoint) answer(ctx context.Context, tenant string, client clientauth.Client, compact string) ([]byte, error) {
	token, err := e.cfg.Verifier.VerifyIssuedToken(ctx, compact)
	if err != nil {
		return inactive(err)
	}
	if tenant != "" && token.Claims.Context.Tenant != tenant {
		return notActive, nil
	}
	if mine, err := e.concerns(ctx, client, &token.Claims); err != nil || !mine {
		return notActive, err
	}
	if err := Live(ctx, e.cfg.Fleet, e.cfg.Decider, token); err != nil {
		return inactive(err)
	}
	if h, ok := token.Derived.(*holder); ok {
		return h.answer, nil
	}
	return encode(describe(&token.Claims))
}

// notActive is the one answer to whatever is not good. It is not changed.
var notActive = []byte("{\"active\":false}\n")

// inactive makes every definite no one answer.
func inactive(err error) ([]byte, error) {
	switch agentid.KindOf(err) {
	case agentid.KindUnauthenticated, agentid.KindForbidden, agentid.KindInvalid:
		return notActive, nil
	default:
		return nil, err
	}
}

// concerns says whether the caller may know of the token: the agent that it was issued
// to, or the service of the connector that it is for.
func (e *Endpoint) concerns(ctx context.Context, client clientauth.Client, claims *capability.Claims) (bool, error) {
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
	for i := range all {
		if all[i].Ref == client.Connector {
			return all[i].Resource == claims.Audience, nil
		}
	}
	return false, nil
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
func (e *Endpoint) signed(w http.ResponseWriter, issuer string, client clientauth.Client, answer []byte) error {
	audience := client.Connector
	if client.Method == clientauth.PrivateKeyJWT {
		audience = client.Agent.Ref
	}
	payload, err := json.Marshal(struct {
		Issuer   string          `json:"iss"`
		Audience string          `json:"aud"`
		IssuedAt int64           `json:"iat"`
		Answer   json.RawMessage `json:"token_introspection"`
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
