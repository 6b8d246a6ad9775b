package login

import (
	"context"
	"net/http"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/ledger"
)

// Tokens is the answer to a grant for people (RFC 6749 section 5.1).
type Tokens struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token"`
}

// Grant carries out a grant for people at the token endpoint: authorization_code,
// refresh_token or device_code. Refusals carry their OAuth codes: invalid_grant,
// invalid_client, and those of RFC 8628 section 3.5.
func (s *Service) Grant(r *http.Request, tenant string, form httpx.Form) (Tokens, error) {
	ctx := r.Context()
	if err := s.limit(r); err != nil {
		return Tokens{}, err
	}
	if tenant == "" {
		return Tokens{}, httperr.WithCode(agentid.Errorf(agentid.KindInvalid, httperr.UnsupportedGrantType, "people sign in at a tenant's issuer"), httperr.UnsupportedGrantType)
	}
	if err := s.known(ctx, tenant); err != nil {
		return Tokens{}, err
	}
	for _, name := range []string{"client_secret", "client_assertion"} {
		if form.Get(name) != "" {
			return Tokens{}, agentid.Errorf(agentid.KindUnauthenticated, "credential_method", "programs of people have no credential").WithField(name)
		}
	}
	c, err := s.client(ctx, tenant, form.Get("client_id"))
	if err != nil {
		return Tokens{}, err
	}
	var out ledger.LoginTokens
	switch form.Get("grant_type") {
	case discovery.GrantAuthorizationCode:
		out, err = s.code(ctx, tenant, c, form)
	case discovery.GrantRefreshToken:
		out, err = s.refresh(ctx, tenant, c, form)
	case discovery.GrantDeviceCode:
		out, err = s.deviceCode(ctx, tenant, c, form)
	default:
		return Tokens{}, agentid.Invalidf("grant_type", "is not one for people")
	}
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{
		AccessToken: out.Access.Reveal(), TokenType: "Bearer", RefreshToken: out.Refresh.Reveal(),
		ExpiresIn: int64(out.Expires.Sub(s.cfg.Now()) / time.Second),
	}, nil
}

// invalidGrant gives a refusal of a code or a refresh token its OAuth code. An outage
// stays one.
func invalidGrant(err error) error {
	if err != nil && agentid.KindOf(err) == agentid.KindInvalid {
		return httperr.WithCode(err, httperr.InvalidGrant)
	}
	return err
}

// code redeems an authorization code (RFC 6749 section 4.1.3): once, by the program that
// it was given to, with the redirect URI that it was sent to and the PKCE verifier.
func (s *Service) code(ctx context.Context, tenant string, c client, form httpx.Form) (ledger.LoginTokens, error) {
	if form.Get("code") == "" {
		return ledger.LoginTokens{}, agentid.Invalidf("code", "is missing")
	}
	var spec signedIn
	out, err := s.cfg.Ledger.RedeemFlow(ctx, ledger.FlowCode, tenant, agentid.NewSecret(form.Get("code")), &spec, func() (ledger.LoginSession, error) {
		switch {
		case spec.Client != c.id:
			return ledger.LoginSession{}, agentid.Errorf(agentid.KindInvalid, "code_foreign", "the code was given to another program").WithField("client_id")
		case spec.RedirectURI != form.Get("redirect_uri"):
			return ledger.LoginSession{}, agentid.Errorf(agentid.KindInvalid, "redirect_uri_differs", "is not the one that the code was sent to").WithField("redirect_uri")
		}
		return spec.session(tenant), checkVerifier(form.Get("code_verifier"), spec.Challenge)
	}, s.loginRecord(ctx))
	return out, invalidGrant(err)
}

func (d signedIn) session(tenant string) ledger.LoginSession {
	return ledger.LoginSession{Tenant: tenant, Principal: d.Principal, Client: d.Client, Provider: d.Provider, Upstream: agentid.NewSecret(d.Upstream)}
}

// loginRecord is the audit row of a session that begins.
func (s *Service) loginRecord(ctx context.Context) func(ledger.LoginSession) auditlog.Record {
	return func(session ledger.LoginSession) auditlog.Record {
		return auditlog.Record{
			Kind: auditlog.Issue, Phase: auditlog.Single, Request: httpx.RequestID(ctx), Tenant: session.Tenant, Principal: session.Principal.String(),
			Operation: "login", Decision: auditlog.Allow,
			Notes: map[string]string{"client": session.Client, "provider": session.Provider, "session": session.ID},
		}
	}
}

// refresh exchanges a refresh token (RFC 6749 section 6): each is used once, and a second
// use revokes the session (RFC 9700 section 4.14.2).
func (s *Service) refresh(ctx context.Context, tenant string, c client, form httpx.Form) (ledger.LoginTokens, error) {
	if form.Get("refresh_token") == "" {
		return ledger.LoginTokens{}, agentid.Invalidf("refresh_token", "is missing")
	}
	out, err := s.cfg.Ledger.RefreshSession(ctx, tenant, c.id, agentid.NewSecret(form.Get("refresh_token")))
	return out, invalidGrant(err)
}
