package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/gateway/forward"
	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/gateway/limits"
	"github.com/agentid-dev/agentid/gateway/rawhttp"
	"github.com/agentid-dev/agentid/internal/egress"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Config makes a Gateway. Fleet, Effects, Audit, Decider and Issuer are required.
type Config struct {
	Fleet   wire.Fleet
	Effects wire.Effects
	Audit   wire.Audit
	Decider *policy.Decider
	// View is what the gateway hears of changes: the one that Decider was made with. Nil:
	// it hears of none, and asks the graph for everything.
	View   *freshness.View
	Kinds  map[string]*connectors.Kind // connectors.Builtin() when nil
	Issuer string                      // the broker's base URL; tokens are of it or of <Issuer>/<tenant>

	Skew            time.Duration   // between the clocks of broker and gateway; 30 s when zero
	UpstreamTimeout time.Duration   // of one forwarded request; 30 s when zero
	StreamIdle      time.Duration   // how long a stream may be silent; 60 s when zero
	LookupTimeout   time.Duration   // of one lookup; 10 s when zero
	HoldWait        time.Duration   // for earlier holds on the same fact; 15 s when zero
	Resolver        egress.Resolver // net.DefaultResolver when nil
	TenantPerMinute int             // requests of one tenant; limits.TenantPerMinute when zero
	TenantBurst     int             // at once; limits.TenantBurst when zero
	Now             func() time.Time
	Logger          *slog.Logger
	Metrics         prometheus.Registerer // nil: none
}

// MaxHeaderBytes bounds a request's header, on top of net/http's slack of 4 KiB.
const MaxHeaderBytes = 32 << 10

// verifiedTokens is how many tokens are remembered whose signature was checked.
const verifiedTokens = 4096

// settleMargin is added to every timeout of an effect to make its hold's deadline.
const settleMargin = 30 * time.Second

// Gateway is an http.Handler. It is safe for concurrent use.
type Gateway struct {
	cfg       Config
	table     table
	verifier  *capability.Verifier
	proofs    *dpop.Guard
	limits    *limits.Limits
	forwarder *forward.Forwarder
	trail     *trail
	metrics   *metrics
	guard     *rawhttp.Guard
	handler   http.Handler
}

// New checks cfg and makes a Gateway.
func New(cfg Config) (*Gateway, error) {
	switch {
	case cfg.Fleet == nil, cfg.Effects == nil, cfg.Audit == nil, cfg.Decider == nil:
		return nil, errors.New("gateway: Fleet, Effects, Audit and Decider are required")
	case cfg.Issuer == "":
		return nil, errors.New("gateway: Issuer is required")
	}
	cfg = withDefaults(cfg)
	verifier, err := capability.NewVerifier(capability.VerifierConfig{Keys: cfg.Fleet, Base: cfg.Issuer, Skew: cfg.Skew, Now: cfg.Now, Cache: verifiedTokens, Derive: deriving(cfg.Decider)})
	if err != nil {
		return nil, err
	}
	proofs, err := newProofs(cfg)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		cfg: cfg, verifier: verifier, proofs: proofs, limits: limits.New(limits.Tenant{PerMinute: cfg.TenantPerMinute, Burst: cfg.TenantBurst}, cfg.Now), metrics: m, guard: rawhttp.New(MaxHeaderBytes),
		trail:     newTrail(cfg),
		forwarder: forward.New(forward.Config{Timeout: cfg.UpstreamTimeout, Idle: cfg.StreamIdle, Lookup: cfg.LookupTimeout, Resolver: cfg.Resolver, Now: cfg.Now}),
	}
	g.table.kinds, g.table.view = cfg.Kinds, cfg.View
	g.handler = httpx.WithRequestID(httpx.Recover(cfg.Logger, g.renderPlain)(http.HandlerFunc(g.serve)))
	return g, nil
}

func withDefaults(cfg Config) Config {
	if cfg.Kinds == nil {
		cfg.Kinds = connectors.Builtin()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.View == nil {
		cfg.View = freshness.New(freshness.Config{Now: cfg.Now})
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&cfg.Skew, capability.MaxSkew},
		{&cfg.UpstreamTimeout, 30 * time.Second},
		{&cfg.StreamIdle, time.Minute},
		{&cfg.LookupTimeout, 10 * time.Second},
		{&cfg.HoldWait, 15 * time.Second},
	} {
		if *d.value <= 0 {
			*d.value = d.fallback
		}
	}
	return cfg
}

// ServeHTTP implements http.Handler. Behind another server than Server's the raw
// checks of package rawhttp are missing.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.handler.ServeHTTP(w, r) }

// Server is a server for g with every bound set. Serve it on Listener's listener.
func (g *Gateway) Server(addr string) *http.Server {
	s := httpx.NewServer(addr, g, g.cfg.Logger)
	s.MaxHeaderBytes, s.ConnContext = MaxHeaderBytes, withConnection
	s.WriteTimeout = g.cfg.UpstreamTimeout + g.cfg.HoldWait + g.cfg.LookupTimeout*4 + settleMargin
	return s
}

// Listener wraps l so that what net/http would repair is refused: see package rawhttp.
func (g *Gateway) Listener(l net.Listener) net.Listener { return g.guard.Listener(l) }

// Ready reports whether settings and decisions can be had.
func (g *Gateway) Ready(ctx context.Context) error {
	_, err := g.cfg.Fleet.Connectors(ctx)
	return err
}

// Close drops the connections to upstreams. Requests in flight go on.
func (g *Gateway) Close() { g.forwarder.Close() }

func unknownConnector() error {
	return agentid.Errorf(agentid.KindNotFound, "connector_unknown", "no connector is served under this host")
}
