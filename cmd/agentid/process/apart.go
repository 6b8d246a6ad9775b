package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/gateway"
	"github.com/agentid-dev/agentid/gateway/link"
	"github.com/agentid-dev/agentid/gateway/sampler"
	"github.com/agentid-dev/agentid/internal/config"
	"github.com/agentid-dev/agentid/internal/failpoint"
	"github.com/agentid-dev/agentid/internal/fleetcert"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/observe"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/brokered"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// Apart is a running gateway that has no broker in its process. It holds no data: what
// it knows it has from the broker.
type Apart struct {
	cfg  config.GatewayFile
	opts Options

	keeper   *fleetcert.Keeper
	link     *link.Link
	graph    *grpc.ClientConn
	gateway  *gateway.Gateway
	registry *prometheus.Registry
	front    *front

	health   *http.Server
	profiles *http.Server // nil without
	healthAt net.Addr
	running  context.Context // of what runs beside requests, until Close
	stopLink context.CancelFunc
	work     sync.WaitGroup
	stopOtel func(context.Context) error
	serving  chan struct{} // closed once requests are taken
}

// StartGateway brings a gateway up and returns when requests are served. It waits for a
// broker that cannot be reached, alive and not ready; one that refuses it is an error that
// says what to do.
func StartGateway(ctx context.Context, cfg config.GatewayFile, opts Options) (*Apart, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Listen == nil {
		opts.Listen = net.Listen
	}
	a := &Apart{cfg: cfg, opts: opts, front: &front{failed: make(chan error, 1)}, serving: make(chan struct{})}
	for _, step := range []func(context.Context) error{a.open, a.serveHealth, a.connect, a.makeGateway, a.serve} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, a.Close(context.WithoutCancel(ctx)))
		}
	}
	return a, nil
}

// open reads the certificate and dials nothing yet.
func (a *Apart) open(ctx context.Context) error {
	var err error
	if a.registry, err = observe.NewRegistry(a.opts.Version); err != nil {
		return err //nolint:wrapcheck // says what failed
	}
	if a.stopOtel, err = observe.Tracing(ctx, a.cfg.Telemetry.OTLPEndpoint, a.opts.Version); err != nil {
		return err //nolint:wrapcheck // says what failed
	}
	if a.keeper, err = fleetcert.Open(a.cfg.Link.TLS.Source()); err != nil {
		return fmt.Errorf("broker.tls.%w; agentid fleet certificate --gateway NAME makes one, in the broker's data folder", err)
	}
	cluster, err := clusterOf(a.cfg.Link.Cluster, a.keeper)
	if err != nil {
		return fmt.Errorf("broker.cluster: %w", err)
	}
	a.link, err = link.New(link.Config{
		Broker: a.cfg.Link.URL, Cluster: cluster, Keeper: a.keeper, BootTime: failpoint.BootTime, Now: a.opts.Now,
		Logger: a.component("link"), Metrics: a.registry,
	})
	if err != nil {
		return err //nolint:wrapcheck // names the field
	}
	// A broker that comes back is asked again soon: gRPC's own pause grows to two minutes.
	soon := backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}
	a.graph, err = grpc.NewClient("passthrough:///"+a.cfg.Link.Graph,
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: soon, MinConnectTimeout: 2 * time.Second}),
		grpc.WithTransportCredentials(credentials.NewTLS(a.keeper.ClientTLS())),
		grpc.WithPerRPCCredentials(headers{link: a.link, cluster: cluster}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Second, Timeout: 2 * time.Second, PermitWithoutStream: true}))
	if err != nil {
		return fmt.Errorf("broker.graph: %w", err)
	}
	return nil
}

// headers say on every call to the graph which protocol, cluster and life it belongs to.
type headers struct {
	link    *link.Link
	cluster string
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (h headers) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{
		api.HeaderVersion: api.Version, api.HeaderCluster: h.cluster, api.HeaderIncarnation: h.link.Incarnation(),
	}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (headers) RequireTransportSecurity() bool { return true }

// connect follows the broker, and waits for its first state.
func (a *Apart) connect(ctx context.Context) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	a.running, a.stopLink = running, stop
	a.work.Go(func() { a.link.Run(running) })
	a.work.Go(func() { renewals(running, a.keeper, a.component("link")) })
	const look = 100 * time.Millisecond
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.link.Begun():
			return nil
		case <-ticker.C:
			if err := a.link.Refused(); err != nil {
				return fmt.Errorf("the broker at %s refuses this gateway: %w", a.cfg.Link.URL, err)
			}
		}
	}
}

func (a *Apart) makeGateway(context.Context) error {
	checker, err := brokered.New(brokered.Config{Conn: a.graph, Now: a.opts.Now})
	if err != nil {
		return fmt.Errorf("graph: %w", err)
	}
	samples, err := sampler.New(sampler.Config{Logger: a.component("sampler"), Metrics: a.registry})
	if err != nil {
		return fmt.Errorf("sampler: %w", err)
	}
	decider, err := policy.New(policy.Config{Checker: checker, Now: a.opts.Now, Fresh: a.link.View(), Sample: samples.Offer})
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	a.work.Go(func() { samples.Run(a.running, decider) })
	a.gateway, err = gateway.New(gateway.Config{
		Fleet: &rated{Fleet: a.link, rates: a.cfg.Rates}, Effects: a.link, Audit: a.link, Decider: decider, View: a.link.View(),
		Kinds: connectors.Builtin(), Issuer: a.link.Issuer(),
		TenantPerMinute: a.cfg.Rates.TenantPerMinute, TenantBurst: a.cfg.Rates.TenantBurst,
		Now: a.opts.Now, Logger: a.component("gateway"), Metrics: a.registry,
	})
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	return nil
}

func (a *Apart) serve(ctx context.Context) error {
	handler, err := observed("gateway", a.gateway, a.opts, a.registry, a.cfg.Telemetry.OTLPEndpoint != "")
	if err != nil {
		return err
	}
	all, addrs, err := bindGateway(a.gateway, a.cfg.Gateway, handler, a.opts.Listen)
	if err != nil {
		for _, b := range all {
			err = errors.Join(err, b.listener.Close())
		}
		return err
	}
	a.front.gateways = addrs
	for _, b := range all {
		a.front.servers = append(a.front.servers, b.server)
		go a.front.run(b)
	}
	close(a.serving)
	a.opts.Logger.InfoContext(ctx, "agentid is ready", "gateways", a.GatewayAddrs(), "broker", a.cfg.Link.URL,
		"health", a.healthAt.String(), observe.KeyVersion, a.opts.Version)
	return nil
}

// serveHealth answers /healthz, /readyz and /metrics from before the broker is found.
func (a *Apart) serveHealth(context.Context) error {
	logger := a.component("health")
	handle := func(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
		return httperr.Handler(logger, httperr.Problem, h)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", observe.MetricsHandler(a.registry, logger))
	mux.Handle("GET /healthz", handle(func(w http.ResponseWriter, _ *http.Request) error {
		return httpx.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	}))
	mux.Handle("GET /readyz", handle(func(w http.ResponseWriter, r *http.Request) error {
		if err := a.ready(r.Context()); err != nil {
			return err
		}
		return httpx.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	}))
	l, err := a.opts.Listen("tcp", a.cfg.Health.Listen)
	if err != nil {
		return fmt.Errorf("health.listen: %w", err)
	}
	a.healthAt, a.health = l.Addr(), httpx.NewServer("", httpx.WithRequestID(mux), logger)
	go a.front.run(bound{server: a.health, listener: l})
	return a.serveProfiles(logger)
}

func (a *Apart) serveProfiles(logger *slog.Logger) error {
	if a.cfg.Telemetry.ProfileListen == "" {
		return nil
	}
	l, err := a.opts.Listen("tcp", a.cfg.Telemetry.ProfileListen)
	if err != nil {
		return fmt.Errorf("%s: %w", keyProfile, err)
	}
	a.profiles = httpx.NewServer("", observe.ProfileHandler(), logger)
	go a.front.run(bound{server: a.profiles, listener: l})
	return nil
}

// ready is nil when requests are taken and the broker vouches for what is remembered. A
// refusal of the broker's is told as it is: health is for the operator.
func (a *Apart) ready(ctx context.Context) error {
	if err := a.link.Refused(); err != nil {
		return &agentid.Error{Kind: agentid.KindUnavailable, Reason: "not_ready", Field: "broker", Message: agentid.AsError(err).Message, Cause: err}
	}
	notReady := func(part string, err error) error {
		return &agentid.Error{Kind: agentid.KindUnavailable, Reason: "not_ready", Field: part, Message: "the part does not answer", Cause: err}
	}
	if err := a.link.Ready(ctx); err != nil {
		return notReady("broker", err)
	}
	select {
	case <-a.serving:
		return nil
	default:
		return notReady("gateway", errors.New("no requests are taken yet"))
	}
}

func (a *Apart) component(name string) *slog.Logger {
	return a.opts.Logger.With(observe.KeyComponent, name)
}

// GatewayAddrs are where the gateway listens.
func (a *Apart) GatewayAddrs() []string {
	out := make([]string, len(a.front.gateways))
	for i, addr := range a.front.gateways {
		out[i] = addr.String()
	}
	return out
}

// HealthAddr is where health and metrics are served.
func (a *Apart) HealthAddr() string { return a.healthAt.String() }

// Failed gives the error of a listener that broke while serving.
func (a *Apart) Failed() <-chan error { return a.front.failed }

// Close stops taking requests, lets those under way finish within the configured drain,
// then gives the lease back, so that no revocation waits for this gateway.
func (a *Apart) Close(ctx context.Context) error {
	all := []error{a.front.drain(ctx, a.cfg.Drain)}
	if a.stopLink != nil {
		a.stopLink()
		a.work.Wait()
	}
	if a.gateway != nil {
		a.gateway.Close()
	}
	if a.link != nil {
		a.link.Close()
	}
	if a.graph != nil {
		all = append(all, a.graph.Close())
	}
	for _, s := range []*http.Server{a.health, a.profiles} {
		if s != nil {
			all = append(all, s.Close())
		}
	}
	if a.stopOtel != nil {
		all = append(all, a.stopOtel(ctx))
	}
	return errors.Join(all...)
}
