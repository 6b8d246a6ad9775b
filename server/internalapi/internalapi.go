// Package internalapi is the broker's side of the API between a broker and the gateways
// that run apart from it: the fleet (events, leases, settings), effects, and the audit
// log, over mutual TLS.
//
// It owns who may call and for what: a gateway is known by its certificate, and reads,
// reserves and records only for connectors that it may serve. What the calls do is the
// ledger's and the hub's; the shapes are those of internal/wire/api. It opens no listener.
package internalapi

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/fleetcert"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/internal/wire/api"
	"github.com/agentid-dev/agentid/server/fleet/hub"
)

// Fleet is what gateways learn of settings, answered from memory.
type Fleet interface {
	Connectors(ctx context.Context) ([]wire.Connector, error)
	Floor(ctx context.Context) (agentid.Zookie, agentid.Epoch, string, error)
}

// Log takes audit records together, or none of them.
type Log interface {
	Append(ctx context.Context, durable bool, records ...auditlog.Record) error
}

// Config configures New. All without a default are required.
type Config struct {
	Roster  fleetcert.Roster // who is admitted; its Cluster is required
	Issuer  string           // the broker's base URL
	Fleet   Fleet
	Keys    func() jose.JSONWebKeySet // the public token keys
	Hub     *hub.Hub
	Effects wire.Effects
	Log     Log
	// Draining is closed when the broker is about to stop: streams end, so that the
	// gateways look for it again. May be nil.
	Draining <-chan struct{}
	Now      func() time.Time // default: time.Now
	Logger   *slog.Logger     // default: discards
}

// API serves the internal API. It is safe for concurrent use.
type API struct {
	cfg     Config
	streams streams
	lines   encoded
}

// New checks cfg.
func New(cfg Config) (*API, error) {
	switch {
	case cfg.Roster.Cluster == "", cfg.Issuer == "":
		return nil, errors.New("internalapi: a cluster and an issuer are required")
	case cfg.Fleet == nil, cfg.Keys == nil, cfg.Hub == nil, cfg.Effects == nil, cfg.Log == nil:
		return nil, errors.New("internalapi: fleet, keys, hub, effects and log are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &API{cfg: cfg, streams: streams{byID: map[string]*stream{}}}, nil
}

// Handler is the routes. It must be served over TLS that verifies client certificates:
// a request without one is refused.
func (a *API) Handler() http.Handler {
	r := chi.NewRouter()
	r.Use(httpx.WithRequestID, httpx.Recover(a.cfg.Logger, render))
	r.NotFound(a.plain(func() error {
		return agentid.Errorf(agentid.KindNotFound, "path_unknown", "there is nothing at this path; is the gateway of the broker's release?")
	}))
	r.MethodNotAllowed(a.plain(func() error {
		return agentid.Errorf(agentid.KindInvalid, httperr.ReasonMethodNotAllowed, "the path does not take this method")
	}))
	r.Get(api.PathEvents, a.admitted(anyIncarnation, a.events))
	r.Get(api.PathSettings, a.admitted(anyIncarnation, a.settings))
	r.Post(api.PathRenew, a.admitted(sameIncarnation, a.renew))
	r.Post(api.PathLeave, a.admitted(sameIncarnation, a.leave))
	r.Post(api.PathEffects, a.admitted(sameIncarnation, a.effects))
	r.Post(api.PathAwait, a.admitted(sameIncarnation, a.await))
	r.Post(api.PathAudit, a.admitted(sameIncarnation, a.audit))
	return r
}

// peer is an admitted gateway.
type peer struct {
	fleetcert.Identity
	cert *x509.Certificate
}

type handler func(w http.ResponseWriter, r *http.Request, p peer) error

func (a *API) admitted(want incarnation, h handler) http.HandlerFunc {
	return httperr.Handler(a.cfg.Logger, render, func(w http.ResponseWriter, r *http.Request) error {
		p, err := a.admit(r, want)
		if err != nil {
			return err
		}
		return h(w, r, p)
	})
}

func (a *API) plain(refuse func() error) http.HandlerFunc {
	return httperr.Handler(a.cfg.Logger, render, func(http.ResponseWriter, *http.Request) error { return refuse() })
}

// read takes a request's body strictly into v.
func read(w http.ResponseWriter, r *http.Request, v any) error {
	if err := httpx.CheckContentType(r, "application/json"); err != nil {
		return err
	}
	body, err := httpx.ReadBody(w, r, api.MaxRequest)
	if err != nil {
		return err
	}
	return api.Decode(body, api.MaxRequest, v)
}

// answer writes a success. When the peer is gone, it will ask again.
func answer(w http.ResponseWriter, v any) { _ = httpx.WriteJSON(w, http.StatusOK, v) }
