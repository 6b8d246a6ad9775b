package server

import (
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	assertion "github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/discovery"
)

// PathAdmin is where the administration is mounted.
const PathAdmin = "/admin/v1"

// Mount is a further part of the broker's HTTP surface: the administration.
type Mount struct {
	Path    string
	Routes  func(chi.Router) // registers routes below Path
	OpenAPI []byte           // document of these routes, with full paths; may be nil
}

// Handler returns the broker's routes, with everything that each request goes through:
// an id, a recover that leaks nothing. An OpenAPI document that does not merge is an error.
func (b *Broker) Handler(mounts ...Mount) (chi.Router, error) {
	var more [][]byte
	for _, m := range mounts {
		if m.OpenAPI != nil {
			more = append(more, m.OpenAPI)
		}
	}
	document, err := OpenAPI(more...)
	if err != nil {
		return nil, err
	}
	r := chi.NewRouter()
	r.Use(httpx.WithRequestID, httpx.Recover(b.cfg.Logger, httperr.Problem))
	r.NotFound(b.problem(func(http.ResponseWriter, *http.Request) error {
		return agentid.Errorf(agentid.KindNotFound, "path_unknown", "there is nothing at this path")
	}))
	r.MethodNotAllowed(b.problem(func(http.ResponseWriter, *http.Request) error {
		return agentid.Errorf(agentid.KindInvalid, httperr.ReasonMethodNotAllowed, "the path does not take this method")
	}))
	metadata, jwks := b.problem(b.documents.Metadata), b.problem(b.documents.JWKS)
	const tenant = "/{" + discovery.ParamTenant + "}"
	r.Get("/.well-known/oauth-authorization-server", metadata)
	r.Get("/.well-known/oauth-authorization-server"+tenant, metadata)
	r.Get("/.well-known/openid-configuration", metadata)
	r.Get("/.well-known/openid-configuration"+tenant, metadata)
	r.Get(tenant+"/.well-known/openid-configuration", metadata)
	for _, prefix := range []string{"", tenant} {
		r.Get(prefix+discovery.PathJWKS, jwks)
		r.Post(prefix+discovery.PathToken, b.oauth(b.tokens.Token))
		r.Post(prefix+discovery.PathIntrospect, b.oauth(b.introspec.Introspect))
		r.Post(prefix+discovery.PathRevoke, b.oauth(b.revoke.Revoke))
		b.lifecycle.Routes(r, prefix)
	}
	b.login.Routes(r)
	b.delegations.Routes(r)
	r.Get("/healthz", b.problem(Healthz))
	r.Get("/readyz", b.problem(Readyz(b.cfg.Checks)))
	r.Get("/openapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		_ = httpx.WriteBytes(w, http.StatusOK, "application/yaml", document) // the peer is gone: nobody to tell
	})
	for _, m := range mounts {
		r.Route(m.Path, m.Routes)
	}
	return r, nil
}

func (b *Broker) problem(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return httperr.Handler(b.cfg.Logger, httperr.Problem, h)
}

// oauth adapts an endpoint that exists at the root and for each tenant. A tenant that no
// tenant can be called is told as a path that does not exist.
func (b *Broker) oauth(h func(http.ResponseWriter, *http.Request, string) error) http.HandlerFunc {
	return httperr.Handler(b.cfg.Logger, httperr.OAuth, func(w http.ResponseWriter, r *http.Request) error {
		tenant := chi.URLParam(r, discovery.ParamTenant)
		if tenant != "" {
			if _, err := agentid.TenantRef(tenant); err != nil {
				return agentid.Errorf(agentid.KindNotFound, "path_unknown", "there is nothing at this path")
			}
		}
		return h(w, r, tenant)
	})
}

func clientAlgorithms() []jose.SignatureAlgorithm { return assertion.Algorithms() }
