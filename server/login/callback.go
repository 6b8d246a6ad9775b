package login

import (
	"context"
	"net/http"
	"net/url"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation/oidc"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/server/ledger"
)

// signedIn is what an authorization code, or an approved device code, stands for.
type signedIn struct {
	Client      string      `json:"client"`
	RedirectURI string      `json:"redirect_uri,omitempty"`
	Challenge   string      `json:"challenge,omitempty"`
	Principal   agentid.Ref `json:"principal"`
	Provider    string      `json:"provider"`
	Upstream    string      `json:"upstream,omitempty"` // the provider's refresh token: the row is sealed
}

// callback takes the answer of an identity provider (RFC 6749 section 4.1.2). Its state is
// used once, and belongs to the browser that began; its iss is held against the provider
// that was asked before anything is sent there (RFC 9207).
func (s *Service) callback(w http.ResponseWriter, r *http.Request, tenant string) error {
	q, err := query(r)
	if err != nil {
		return err
	}
	var asked request
	state := agentid.NewSecret(q["state"])
	if err := s.cfg.Ledger.TakeFlow(r.Context(), ledger.FlowRequest, tenant, state, &asked); err != nil {
		return err
	}
	if asked.Provider == "" {
		return agentid.Errorf(agentid.KindInvalid, "flow_unknown", "this sign-in was not sent to any provider")
	}
	if err := s.sameBrowser(r, asked); err != nil {
		return err
	}
	done, err := s.answered(r.Context(), tenant, q, asked, state)
	if err != nil {
		return s.failed(w, r, tenant, asked, err)
	}
	if asked.RedirectURI == "" {
		return s.approve(w, r, tenant, asked, done)
	}
	code, err := ledger.NewHandle("")
	if err != nil {
		return err
	}
	if err := s.cfg.Ledger.PutFlow(r.Context(), ledger.FlowCode, tenant, code, "", s.cfg.Now().Add(codeLife), done); err != nil {
		return err
	}
	parameters := url.Values{"code": {code.Reveal()}, "iss": {s.cfg.Issuers.Of(tenant)}}
	if asked.State != "" {
		parameters.Set("state", asked.State)
	}
	redirect(w, withParameters(asked.RedirectURI, parameters))
	return nil
}

// answered turns the answer into the principal that signed in.
func (s *Service) answered(ctx context.Context, tenant string, q map[string]string, asked request, state agentid.Secret) (signedIn, error) {
	set, err := s.cfg.Ledger.IdentityProvider(ctx, tenant, asked.Provider)
	if err != nil {
		return signedIn{}, err
	}
	if !set.Allows(asked.flow()) {
		return signedIn{}, agentid.Errorf(agentid.KindForbidden, "flow_disabled", "this provider does not take sign-ins in this way")
	}
	provider, err := s.cfg.Providers.Open(ctx, set)
	if err != nil {
		return signedIn{}, err
	}
	iss, given := q["iss"]
	if err := provider.CheckIssuer(iss, given); err != nil {
		return signedIn{}, err
	}
	if q["error"] != "" || q["code"] == "" {
		return signedIn{}, agentid.Errorf(agentid.KindForbidden, "provider_refused", "the identity provider did not sign you in")
	}
	in, _, err := provider.Redeem(ctx, s.attempt(tenant, state, asked), q["code"])
	if err != nil {
		return signedIn{}, err
	}
	p, err := s.cfg.Principals.SignedIn(ctx, set, in.Person)
	if err != nil {
		return signedIn{}, err
	}
	return signedIn{
		Client: asked.Client, RedirectURI: asked.RedirectURI, Challenge: asked.Challenge,
		Principal: p.Ref, Provider: set.Name, Upstream: in.Refresh.Reveal(),
	}, nil
}

// failed tells the program, or the person whose device waits, that nobody signed in. What
// failed is in the log; the program gets no more than that access was denied, or that a
// part is down.
func (s *Service) failed(w http.ResponseWriter, r *http.Request, tenant string, asked request, err error) error {
	if asked.RedirectURI == "" || agentid.ReasonOf(err) == oidc.ReasonMixUp {
		return err // a mix-up: nothing of this answer is passed on
	}
	told := agentid.Errorf(agentid.KindForbidden, "access_denied", "the person was not signed in").WithCause(err)
	out := httperr.WithCode(told, httperr.AccessDenied)
	if kind := agentid.KindOf(err); kind == agentid.KindUnavailable || kind == agentid.KindInternal {
		out = err
	}
	s.refuseTo(w, r, tenant, asked, out)
	return nil
}
