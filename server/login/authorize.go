package login

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation/oidc"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/ledger"
)

// request is one sign-in under way. It rests sealed, under the hash of a handle that only
// the browser has.
type request struct {
	Client      string `json:"client"`
	Display     string `json:"display"`
	RedirectURI string `json:"redirect_uri,omitempty"` // empty: for a device
	State       string `json:"state,omitempty"`        // the program's
	Challenge   string `json:"challenge,omitempty"`    // S256
	UserCode    string `json:"user_code,omitempty"`    // of the device that waits
	Browser     string `json:"browser"`                // hash of the browser's cookie
	// What was sent to the identity provider; Provider is empty before that.
	Provider string `json:"provider,omitempty"`
	Nonce    string `json:"nonce,omitempty"`
	Verifier string `json:"verifier,omitempty"`
}

func (q request) flow() ledger.LoginFlow {
	if q.RedirectURI == "" {
		return ledger.FlowDevice
	}
	return ledger.FlowLogin
}

// authorize is the authorization endpoint (RFC 6749 section 3.1). What is wrong with the
// program or the redirect URI is shown here; everything else goes back to the program. It
// shows who asks and where the person may sign in: nobody is sent on without a click, so
// that a program cannot sign somebody in behind their back (RFC 8252 section 8.6).
func (s *Service) authorize(w http.ResponseWriter, r *http.Request, tenant string) error {
	q, err := query(r)
	if err != nil {
		return err
	}
	c, err := s.client(r.Context(), tenant, q["client_id"])
	if err != nil {
		return err
	}
	if err := c.redirectURI(q["redirect_uri"]); err != nil {
		return err
	}
	asked := request{Client: c.id, Display: c.display, RedirectURI: q["redirect_uri"], State: q["state"], Challenge: q["code_challenge"]}
	if err := s.checkAsked(tenant, q); err != nil {
		s.refuseTo(w, r, tenant, asked, err)
		return nil
	}
	return s.choose(w, r, tenant, asked)
}

func (s *Service) checkAsked(tenant string, q map[string]string) error {
	const maxState = 1024
	switch {
	case q["response_type"] != "code":
		return httperr.WithCode(agentid.Invalidf("response_type", "want code"), httperr.UnsupportedResponseType)
	case q["response_mode"] != "" && q["response_mode"] != "query":
		return agentid.Invalidf("response_mode", "want query")
	case q["request"] != "" || q["request_uri"] != "":
		return agentid.Invalidf("request", "request objects are not supported")
	case len(q["state"]) > maxState:
		return agentid.Invalidf("state", "is longer than %d bytes", maxState)
	case q["resource"] != "" && q["resource"] != s.cfg.Issuers.Of(tenant):
		return httperr.WithCode(agentid.Invalidf("resource", "people's tokens are for this issuer alone"), httperr.InvalidTarget)
	}
	return checkChallenge(q["code_challenge"], q["code_challenge_method"])
}

// choose shows the providers to sign in with, and keeps the request.
func (s *Service) choose(w http.ResponseWriter, r *http.Request, tenant string, asked request) error {
	providers, err := s.offering(r.Context(), tenant, asked.flow())
	if err != nil {
		return err
	}
	if len(providers) == 0 {
		return agentid.Errorf(agentid.KindNotFound, "login_unavailable", "nobody signs in to this tenant in this way")
	}
	if asked.Browser, err = s.browser(w, r); err != nil {
		return err
	}
	handle, err := ledger.NewHandle("")
	if err != nil {
		return err
	}
	if err := s.cfg.Ledger.PutFlow(r.Context(), ledger.FlowRequest, tenant, handle, "", s.cfg.Now().Add(requestLife), asked); err != nil {
		return err
	}
	page := chooser{Tenant: tenant, Program: asked.Display, Device: asked.RedirectURI == "", UserCode: asked.UserCode}
	if u, err := url.Parse(asked.RedirectURI); err == nil {
		page.Host = u.Host
	}
	for _, p := range providers {
		name := p.Display
		if name == "" {
			name = p.Name
		}
		page.Providers = append(page.Providers, choice{
			Name: name, Issuer: p.Issuer,
			URL: s.cfg.Issuers.Of(tenant) + PathStart + "?" + url.Values{"flow": {handle.Reveal()}, "provider": {p.Name}}.Encode(),
		})
	}
	return render(w, http.StatusOK, "'none'", "choose", page)
}

// start sends the browser to the identity provider that was chosen, with a state, a nonce
// and a PKCE verifier of this attempt alone.
func (s *Service) start(w http.ResponseWriter, r *http.Request, tenant string) error {
	q, err := query(r)
	if err != nil {
		return err
	}
	var asked request
	if err := s.cfg.Ledger.PeekFlow(r.Context(), ledger.FlowRequest, tenant, agentid.NewSecret(q["flow"]), &asked); err != nil {
		return err
	}
	if err := s.sameBrowser(r, asked); err != nil {
		return err
	}
	set, err := s.cfg.Ledger.IdentityProvider(r.Context(), tenant, q["provider"])
	if err != nil {
		return err
	}
	if !set.Allows(asked.flow()) {
		return agentid.Errorf(agentid.KindForbidden, "flow_disabled", "this provider does not take sign-ins in this way")
	}
	provider, err := s.cfg.Providers.Open(r.Context(), set)
	if err != nil {
		return err
	}
	state, err := ledger.NewHandle("")
	if err != nil {
		return err
	}
	asked.Provider, asked.Nonce, asked.Verifier = set.Name, rand.Text(), oidc.NewVerifier()
	if err := s.cfg.Ledger.PutFlow(r.Context(), ledger.FlowRequest, tenant, state, "", s.cfg.Now().Add(requestLife), asked); err != nil {
		return err
	}
	redirect(w, provider.AuthorizationURL(s.attempt(tenant, state, asked)))
	return nil
}

func (s *Service) attempt(tenant string, state agentid.Secret, q request) oidc.Attempt {
	return oidc.Attempt{State: state.Reveal(), Nonce: q.Nonce, Verifier: q.Verifier, RedirectURI: s.cfg.Issuers.Of(tenant) + PathCallback}
}

// refuseTo sends a refusal to the program's redirect URI, which was checked (RFC 6749
// section 4.1.2.1), with our issuer (RFC 9207).
func (s *Service) refuseTo(w http.ResponseWriter, r *http.Request, tenant string, asked request, err error) {
	httperr.Log(s.cfg.Logger, r, err)
	a := httperr.Of(err)
	parameters := url.Values{"error": {a.OAuth}, "iss": {s.cfg.Issuers.Of(tenant)}}
	if detail := httperr.Description(a.Detail); detail != "" {
		parameters.Set("error_description", detail)
	}
	if asked.State != "" {
		parameters.Set("state", asked.State)
	}
	redirect(w, withParameters(asked.RedirectURI, parameters))
}

// cookieName is the browser's cookie. Over https a browser takes this name only from the
// host itself, for all of its paths, and secure.
func (s *Service) cookieName() string {
	if s.secure() {
		return "__Host-agentid-login"
	}
	return "agentid-login"
}

func (s *Service) secure() bool { return s.cfg.Issuers.Root()[:5] == "https" }

// browser is the hash of this browser's cookie; it is set where there is none. A sign-in
// ends in the browser that it began in, and in no other.
func (s *Service) browser(w http.ResponseWriter, r *http.Request) (string, error) {
	if have, err := s.cookie(r); err == nil {
		return have, nil
	}
	value, err := ledger.NewHandle("")
	if err != nil {
		return "", err
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // secure wherever the broker is on https
		Name: s.cookieName(), Value: value.Reveal(), Path: "/", HttpOnly: true, Secure: s.secure(), SameSite: http.SameSiteLaxMode,
		MaxAge: int(2 * requestLife / time.Second),
	})
	return cookieHash(value.Reveal()), nil
}

var errNoCookie = errors.New("there is not one cookie of ours")

func (s *Service) cookie(r *http.Request) (string, error) {
	const size = 43 // 256 bits in base64url
	found := r.CookiesNamed(s.cookieName())
	if len(found) != 1 || len(found[0].Value) != size {
		return "", errNoCookie
	}
	return cookieHash(found[0].Value), nil
}

func cookieHash(value string) string {
	sum := sha256.Sum256([]byte("browser " + value))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// sameBrowser refuses a sign-in that another browser began: KindForbidden browser_differs.
func (s *Service) sameBrowser(r *http.Request, q request) error {
	have, err := s.cookie(r)
	if err != nil || q.Browser == "" || subtle.ConstantTimeCompare([]byte(have), []byte(q.Browser)) != 1 {
		return agentid.Errorf(agentid.KindForbidden, "browser_differs", "the sign-in began in another browser, or cookies are off: begin again").WithCause(err)
	}
	return nil
}

var _ discovery.People = (*Service)(nil)
