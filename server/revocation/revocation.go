// Package revocation takes things away, in an order that survives a crash at any point:
// the intent with the next epoch in the ledger, the denial to every gateway, the edges in
// the graph (read back), settled in the ledger, settled at every gateway, acknowledged
// (DESIGN section 6). When a call returns, no request that starts afterwards is allowed
// what it took away. Intents that stay open are replayed; until then the denial stands.
//
// It owns that order for whatever is taken away, the revocation of tokens by the agent
// that holds one (RFC 7009) and by an administrator, and what a receipt says. Which edges
// agents and what is above them have, server/agents and server/admin know; how gateways
// are reached, server/fleet/hub.
package revocation

import (
	"context"
	"errors"
	"net/http"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/clientauth"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/issue"
	"github.com/agentid-dev/agentid/server/trail"
)

const (
	maxBody   = 32 << 10
	maxFields = 16
)

var formRules = httpx.FormRules{MaxBytes: maxBody, MaxFields: maxFields}

// Clients authenticates agents.
type Clients interface {
	Agent(ctx context.Context, issuer string, r *http.Request, form httpx.Form) (clientauth.Client, error)
	// Spend uses up the assertion: KindUnauthenticated if it was used before.
	Spend(ctx context.Context, c clientauth.Client, records ...auditlog.Record) error
}

// Verifier is capability.Verifier. KindUnavailable is an outage; any other error means
// that the token is unknown here or can be used no more.
type Verifier interface {
	VerifyIssued(ctx context.Context, compact string) (capability.Claims, error)
}

// Limit bounds how often one agent calls: KindRateLimited "rate_agent" when it is too
// often. Each of its calls costs a durable row.
type Limit interface {
	Take(ctx context.Context, agent agentid.Ref) error
}

// Config configures New. Every field is required.
type Config struct {
	Issuers  discovery.Issuers
	Clients  Clients
	Verifier Verifier
	Revoker  *Revoker
	Trail    *trail.Trail
	Limit    Limit
}

// Endpoint is the revocation endpoint of the root issuer and of every tenant.
type Endpoint struct{ cfg Config }

// New checks cfg.
func New(cfg Config) (*Endpoint, error) {
	if cfg.Issuers.Root() == "" || cfg.Clients == nil || cfg.Verifier == nil || cfg.Revoker == nil || cfg.Trail == nil || cfg.Limit == nil {
		return nil, errors.New("revocation: every part is required")
	}
	return &Endpoint{cfg: cfg}, nil
}

// Revoke handles one request: 200 when the token is good no more, also for one that never
// was; KindForbidden "token_foreign" for a token of another agent. The error is to be
// rendered by httperr.OAuth.
func (e *Endpoint) Revoke(w http.ResponseWriter, r *http.Request, tenant string) error {
	ctx := r.Context()
	form, err := httpx.ParseForm(w, r, formRules)
	var client clientauth.Client
	if err == nil {
		client, err = e.cfg.Clients.Agent(ctx, e.cfg.Issuers.Of(tenant), r, form)
	}
	if err != nil {
		e.cfg.Trail.Write(ctx, trail.Stranger, auditlog.Record{Tenant: tenant, Operation: "revoke"}, err)
		return err
	}
	about := issue.About(issue.Request{Agent: client.Agent, RequestID: httpx.RequestID(ctx)})
	about.Kind = auditlog.Revoke
	if err := e.cfg.Limit.Take(ctx, client.Agent.Ref); err != nil {
		e.cfg.Trail.Write(ctx, trail.Limited, about, err)
		return err
	}
	if err := e.run(ctx, tenant, client, form.Get("token"), about); err != nil {
		e.cfg.Trail.Write(ctx, trail.Known, about, err)
		return err
	}
	httpx.NoStore(w.Header())
	w.WriteHeader(http.StatusOK)
	return nil
}

func (e *Endpoint) run(ctx context.Context, tenant string, client clientauth.Client, token string, about auditlog.Record) error {
	if token == "" {
		return agentid.Invalidf("token", "is missing")
	}
	if err := e.cfg.Clients.Spend(ctx, client); err != nil {
		return err
	}
	claims, err := e.cfg.Verifier.VerifyIssued(ctx, token)
	if err != nil {
		if agentid.KindOf(err) == agentid.KindUnauthenticated {
			return nil // unknown, expired or not ours: nothing to take away (RFC 7009 section 2.2)
		}
		return err
	}
	if claims.Context.Tenant != client.Agent.Ref.Tenant() || tenant != "" && claims.Context.Tenant != tenant {
		return nil // another tenant's token does not exist here
	}
	if claims.ClientID != client.Agent.Ref.String() {
		return agentid.Errorf(agentid.KindForbidden, "token_foreign", "the token was issued to another client").WithField("token")
	}
	ref, err := agentid.TokenRef(claims.Context.Tenant, claims.ID)
	if err != nil {
		return err
	}
	_, err = e.cfg.Revoker.Token(ctx, Order{
		Token: ref, Agent: client.Agent.Ref, Expires: claims.Expiry, Reason: "client", Actor: client.Agent.Ref.String(), Record: about,
	})
	return err
}
