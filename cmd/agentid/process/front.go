package process

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/gateway"
	"github.com/agentid-dev/agentid/internal/config"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/observe"
	"github.com/agentid-dev/agentid/server"
	"github.com/agentid-dev/agentid/server/admin"
)

// front is the listeners and the servers on them.
type front struct {
	servers  []*http.Server
	broker   net.Addr
	gateways []net.Addr
	fleet    net.Addr // of the internal API; nil without gateways apart
	graph    string   // of the graph for gateways; "" without
	failed   chan error
}

// bound is a server with the listener that it is to serve on.
type bound struct {
	server   *http.Server
	listener net.Listener
	tls      bool // the server does TLS, not the listener
}

// serve opens all listeners before it serves on any, then starts the background work.
func (p *Process) serve(ctx context.Context) error {
	p.front = &front{failed: make(chan error, 1)}
	all, err := p.bind()
	if err != nil {
		for _, b := range all {
			err = errors.Join(err, b.listener.Close())
		}
		return err
	}
	if p.internal != nil {
		addr, err := p.engine.ListenFleet(ctx, p.graphForFleet())
		if err != nil {
			for _, b := range all {
				err = errors.Join(err, b.listener.Close())
			}
			return fmt.Errorf("fleet.graph_listen: %w", err)
		}
		p.front.graph = addr
	}
	for _, b := range all {
		p.front.servers = append(p.front.servers, b.server)
		go p.front.run(b)
	}
	p.background(ctx)
	p.opts.Logger.InfoContext(ctx, "agentid is ready", "broker", p.front.broker.String(),
		"gateways", p.GatewayAddrs(), "fleet", p.FleetAddr(), "issuer", p.cfg.Broker.URL, observe.KeyVersion, p.opts.Version)
	return nil
}

// bind opens the listeners. With an error it gives those that are open.
func (p *Process) bind() (all []bound, err error) {
	brokerHandler, err := p.brokerHandler()
	if err != nil {
		return nil, err
	}
	s := httpx.NewServer("", brokerHandler, p.component("broker"))
	if s.TLSConfig, err = tlsConfig("broker.tls", p.cfg.Broker.TLS); err != nil {
		return nil, err
	}
	l, err := p.opts.Listen("tcp", p.cfg.Broker.Listen)
	if err != nil {
		return nil, fmt.Errorf("broker.listen: %w", err)
	}
	p.front.broker = l.Addr()
	all = append(all, bound{s, l, s.TLSConfig != nil})
	for _, more := range []func([]bound) ([]bound, error){p.bindFleet, p.bindGateway} {
		if all, err = more(all); err != nil {
			return all, err
		}
	}
	metrics := http.NewServeMux()
	metrics.Handle("GET /metrics", observe.MetricsHandler(p.registry, p.component("metrics")))
	if all, err = p.bindAlso(all, "telemetry.metrics_listen", p.cfg.Telemetry.MetricsListen, metrics); err != nil {
		return all, err
	}
	return p.bindAlso(all, keyProfile, p.cfg.Telemetry.ProfileListen, observe.ProfileHandler())
}

const keyProfile = "telemetry.profile_listen"

// bindAlso opens one more listener for h, where the configuration names one.
func (p *Process) bindAlso(all []bound, key, addr string, h http.Handler) ([]bound, error) {
	if addr == "" {
		return all, nil
	}
	l, err := p.opts.Listen("tcp", addr)
	if err != nil {
		return all, fmt.Errorf("%s: %w", key, err)
	}
	return append(all, bound{server: httpx.NewServer("", h, p.component("telemetry")), listener: l}), nil
}

func (p *Process) bindGateway(all []bound) ([]bound, error) {
	if p.gateway == nil {
		return all, nil
	}
	handler, err := p.observed("gateway", p.gateway)
	if err != nil {
		return all, err
	}
	gateways, addrs, err := bindGateway(p.gateway, p.cfg.Gateway, handler, p.opts.Listen)
	p.front.gateways = addrs
	return append(all, gateways...), err
}

// bindGateway opens a gateway's listeners. With an error it gives those that are open.
func bindGateway(g *gateway.Gateway, cfg config.Gateway, handler http.Handler, listen listenFunc) (all []bound, addrs []net.Addr, err error) {
	for i, addr := range cfg.Listen {
		l, err := gatewayListener(g, cfg, addr, listen)
		if err != nil {
			return all, addrs, fmt.Errorf("gateway.listen[%d]: %w", i, err)
		}
		addrs = append(addrs, l.Addr())
		s := g.Server("")
		s.Handler = handler
		all = append(all, bound{server: s, listener: l})
	}
	return all, addrs, nil
}

type listenFunc func(network, addr string) (net.Listener, error)

// gatewayListener refuses, below net/http, what net/http would repair. Over TLS the
// gateway speaks HTTP/1.1, so that nothing passes these checks by.
func gatewayListener(g *gateway.Gateway, cfg config.Gateway, addr string, listen listenFunc) (net.Listener, error) {
	l, err := listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	secure, err := tlsConfig("gateway.tls", cfg.TLS)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if secure != nil {
		secure.NextProtos = []string{"http/1.1"}
		secure.ClientAuth = tls.RequestClientCert // a token may be bound to one
		l = tls.NewListener(l, secure)
	}
	return g.Listener(l), nil
}

func (f *front) run(b bound) {
	serve := func() error { return b.server.Serve(b.listener) }
	if b.tls {
		serve = func() error { return b.server.ServeTLS(b.listener, "", "") }
	}
	if err := serve(); !errors.Is(err, http.ErrServerClosed) {
		select {
		case f.failed <- fmt.Errorf("serve on %s: %w", b.listener.Addr(), err):
		default:
		}
	}
}

func (f *front) drain(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var group errgroup.Group
	for _, s := range f.servers {
		group.Go(func() error {
			if err := s.Shutdown(ctx); err != nil {
				return errors.Join(fmt.Errorf("drain: %w", err), s.Close())
			}
			return nil
		})
	}
	return group.Wait() //nolint:wrapcheck // says what failed
}

// background starts what runs beside requests, until Close.
func (p *Process) background(ctx context.Context) {
	ctx, p.stopWork = context.WithCancel(context.WithoutCancel(ctx))
	p.work.Go(func() { p.broker.Run(ctx) })
	p.work.Go(func() { p.replay(ctx) })
	if p.sample != nil {
		p.work.Go(func() { p.sample(ctx) })
	}
	if p.keeper != nil {
		p.work.Go(func() { renewals(ctx, p.keeper, p.component("fleet")) })
	}
}

func (p *Process) brokerHandler() (http.Handler, error) {
	router, err := p.broker.Handler(server.Mount{Path: server.PathAdmin, Routes: p.admin.Routes, OpenAPI: admin.OpenAPI})
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if p.cfg.Telemetry.MetricsListen == "" {
		p.localMetrics(router)
	}
	return p.observed("broker", router)
}

// observed adds the request line, the metrics and the span to a server's handler.
func (p *Process) observed(component string, h http.Handler) (http.Handler, error) {
	return observed(component, h, p.opts, p.registry, p.cfg.Telemetry.OTLPEndpoint != "")
}

// localMetrics serves /metrics on the broker, to loopback peers only.
func (p *Process) localMetrics(router chi.Router) {
	metrics := observe.MetricsHandler(p.registry, p.component("metrics"))
	router.Get("/metrics", httperr.Handler(p.component("metrics"), httperr.Problem, func(w http.ResponseWriter, r *http.Request) error {
		if !httpx.PeerIP(r).IsLoopback() {
			return agentid.Errorf(agentid.KindNotFound, "path_unknown", "there is nothing at this path")
		}
		metrics.ServeHTTP(w, r)
		return nil
	}))
}

func observed(component string, h http.Handler, opts Options, registry *prometheus.Registry, traced bool) (http.Handler, error) {
	requests, err := observe.NewRequests(observe.RequestsConfig{Component: component, Logger: opts.Logger, Registry: registry, Now: opts.Now})
	if err != nil {
		return nil, err //nolint:wrapcheck // says what failed
	}
	if !traced { // a span that nobody records costs as much as one that somebody does
		return requests.Wrap(h), nil
	}
	return observe.Traced(component, requests.Wrap(h)), nil
}

// tlsConfig reads a certificate and its key; nil when TLS is not configured.
func tlsConfig(section string, c config.TLS) (*tls.Config, error) {
	if !c.Enabled() {
		return nil, nil //nolint:nilnil // no TLS
	}
	chain, err := os.ReadFile(c.Cert)
	if err != nil {
		return nil, fmt.Errorf("%s.cert: %w", section, err)
	}
	key, err := c.Key.Read()
	if err != nil {
		return nil, fmt.Errorf("%s.key: %w", section, err)
	}
	pair, err := tls.X509KeyPair(chain, []byte(key.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", section, err)
	}
	out := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if c.ClientCertificates { // whose it is, is decided by whoever trusts its issuer
		out.ClientAuth = tls.RequestClientCert
	}
	return out, nil
}

// BrokerAddr is where the broker listens.
func (p *Process) BrokerAddr() string { return p.front.broker.String() }

// GatewayAddrs are where the gateway listens.
func (p *Process) GatewayAddrs() []string {
	out := make([]string, len(p.front.gateways))
	for i, a := range p.front.gateways {
		out[i] = a.String()
	}
	return out
}

// Failed gives the error of a listener that broke while serving.
func (p *Process) Failed() <-chan error { return p.front.failed }

// Close stops taking requests, lets those under way finish within the configured drain,
// and closes everything in the reverse order of starting.
func (p *Process) Close(ctx context.Context) error {
	var all []error
	if p.front != nil {
		close(p.draining)
		all = append(all, p.front.drain(ctx, p.cfg.Drain))
	}
	if p.stopWork != nil {
		p.stopWork()
		p.work.Wait()
	}
	if p.gateway != nil {
		p.gateway.Close()
	}
	if p.mark != nil {
		all = append(all, p.mark.Close())
	}
	if p.ledger != nil {
		all = append(all, p.ledger.Close())
	}
	if p.engine != nil {
		all = append(all, p.engine.Close())
	}
	if p.store != nil {
		all = append(all, p.store.Close())
	}
	if p.stopOtel != nil {
		all = append(all, p.stopOtel(ctx))
	}
	if p.lock != nil {
		all = append(all, p.lock.Close())
	}
	return errors.Join(all...)
}
