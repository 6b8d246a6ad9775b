// Package login is the broker as authorization server for people: the authorization
// endpoint with PKCE (RFC 6749, RFC 7636, RFC 9207), the device flow (RFC 8628), and the
// sessions that they begin, with refresh tokens that are used once.
//
// It owns what a browser sees and sends: which programs may ask, where a browser is sent
// back to, that the answer of an identity provider belongs to the sign-in of this browser,
// and the grants of the token endpoint for people. Who the person is, federation/oidc
// verifies; which principal they are, and what their groups give, is server/principals'.
// Sessions and codes are rows of the ledger, by their hashes.
package login

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/principals"
	"github.com/agentid-dev/agentid/server/trail"
)

// Paths below a tenant's issuer, beside those of package discovery.
const (
	PathStart    = "/login/start"    // on to an identity provider
	PathCallback = "/login/callback" // where every identity provider sends browsers back to
	PathDevice   = "/device"         // where a user code is entered
)

// How long the steps of a sign-in may take.
const (
	requestLife = 10 * time.Minute
	codeLife    = time.Minute
	deviceLife  = 10 * time.Minute
)

// How often one address may take a step of a sign-in: each is a row on disk.
const (
	DefaultPerMinute = 120
	DefaultBurst     = 60
	rememberedPeers  = 65536
)

// Config configures New. All but PerMinute, Burst, Logger and Now are required.
type Config struct {
	Issuers    discovery.Issuers
	Ledger     *ledger.Ledger
	Principals *principals.Service
	Providers  *principals.Providers
	Trail      *trail.Trail
	PerMinute  int // steps of one address; default: DefaultPerMinute
	Burst      int // default: DefaultBurst
	Logger     *slog.Logger
	Now        func() time.Time
}

// Service is safe for concurrent use.
type Service struct {
	cfg   Config
	peers *throttled.GCRARateLimiterCtx
}

// New checks cfg.
func New(cfg Config) (*Service, error) {
	if cfg.Issuers.Root() == "" || cfg.Ledger == nil || cfg.Principals == nil || cfg.Providers == nil || cfg.Trail == nil {
		return nil, errors.New("login: a required part is missing")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.PerMinute == 0 {
		cfg.PerMinute = DefaultPerMinute
	}
	if cfg.Burst == 0 {
		cfg.Burst = DefaultBurst
	}
	store, err := memstore.NewCtx(rememberedPeers)
	if err != nil {
		return nil, err
	}
	peers, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{MaxRate: throttled.PerMin(cfg.PerMinute), MaxBurst: cfg.Burst - 1})
	if err != nil {
		return nil, err
	}
	return &Service{cfg: cfg, peers: peers}, nil
}

// Routes registers the endpoints of every tenant. The root issuer has no people.
func (s *Service) Routes(r chi.Router) {
	const tenant = "/{" + discovery.ParamTenant + "}"
	r.Get(tenant+discovery.PathAuthorize, s.page("login.authorize", s.authorize))
	r.Get(tenant+PathStart, s.page("login.start", s.start))
	r.Get(tenant+PathCallback, s.page("login.callback", s.callback))
	r.Get(tenant+PathDevice, s.page("login.device", s.deviceForm))
	r.Post(tenant+PathDevice, s.page("login.device", s.deviceEntered))
	r.Post(tenant+discovery.PathDevice, httperr.Handler(s.cfg.Logger, httperr.OAuth, s.guarded("login.device_authorization", s.deviceAuthorization)))
}

// handler is one step: tenant is well formed and exists.
type handler func(w http.ResponseWriter, r *http.Request, tenant string) error

// page renders a refusal as a page for people.
func (s *Service) page(operation string, h handler) http.HandlerFunc {
	return httperr.Handler(s.cfg.Logger, refusalPage, s.guarded(operation, h))
}

// guarded bounds how often an address comes, finds the tenant, and writes a refusal to the
// audit log.
func (s *Service) guarded(operation string, h handler) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx, tenant := r.Context(), chi.URLParam(r, discovery.ParamTenant)
		err := s.limit(r)
		if err == nil {
			err = s.known(ctx, tenant)
		}
		if err == nil {
			err = h(w, r, tenant)
		}
		if err != nil {
			s.cfg.Trail.Write(ctx, trail.Stranger, auditlog.Record{Kind: auditlog.Authn, Tenant: tenant, Operation: operation}, err)
		}
		return err
	}
}

func (s *Service) limit(r *http.Request) error {
	limited, result, err := s.peers.RateLimitCtx(r.Context(), httpx.PeerIP(r).String(), 1)
	if err != nil {
		return agentid.Unavailable("rate_unavailable", err)
	}
	if limited {
		return httperr.WithRetryAfter(agentid.Errorf(agentid.KindRateLimited, "rate_address", "too many sign-ins from this address"), result.RetryAfter)
	}
	return nil
}

var errPath = agentid.Errorf(agentid.KindNotFound, "path_unknown", "there is nothing at this path")

func (s *Service) known(ctx context.Context, tenant string) error {
	if _, err := agentid.TenantRef(tenant); err != nil {
		return errPath
	}
	_, err := s.cfg.Ledger.Tenant(ctx, tenant)
	return err
}

// Offers implements discovery.People.
func (s *Service) Offers(ctx context.Context, tenant string) (discovery.Offers, error) {
	var out discovery.Offers
	all, err := s.cfg.Ledger.IdentityProviders(ctx, tenant, ledger.Page{Limit: ledger.MaxPage})
	for _, p := range all {
		out.Login = out.Login || p.Allows(ledger.FlowLogin)
		out.Device = out.Device || p.Allows(ledger.FlowDevice)
	}
	return out, err
}

// offering are the tenant's providers with a flow switched on.
func (s *Service) offering(ctx context.Context, tenant string, flow ledger.LoginFlow) ([]ledger.IdentityProvider, error) {
	all, err := s.cfg.Ledger.IdentityProviders(ctx, tenant, ledger.Page{Limit: ledger.MaxPage})
	if err != nil {
		return nil, err
	}
	var out []ledger.IdentityProvider
	for _, p := range all {
		if p.Allows(flow) {
			out = append(out, p)
		}
	}
	return out, nil
}

// query reads the parameters of a URL: each at most once, nothing that two readers could
// read differently.
func query(r *http.Request) (map[string]string, error) {
	const maxParameters, maxBytes = 32, 8 << 10
	if len(r.URL.RawQuery) > maxBytes {
		return nil, agentid.Invalidf("query", "is longer than %d bytes", maxBytes)
	}
	pairs, err := httpx.ParsePairs(r.URL.RawQuery, maxParameters)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(pairs))
	for _, p := range pairs {
		if _, twice := out[p.Name]; twice {
			return nil, agentid.Errorf(agentid.KindInvalid, "parameter_repeated", "a parameter is given more than once")
		}
		out[p.Name] = p.Value
	}
	return out, nil
}

// redirect sends the browser on. The target was checked before: it is our own, an
// identity provider's endpoint, or a redirect URI that is registered.
func redirect(w http.ResponseWriter, target string) {
	guardHeaders(w.Header(), "'none'")
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
}

// withParameters adds parameters to a URL that may have a query.
func withParameters(target string, parameters url.Values) string {
	glue := "?"
	if strings.Contains(target, "?") {
		glue = "&"
	}
	return target + glue + parameters.Encode()
}
