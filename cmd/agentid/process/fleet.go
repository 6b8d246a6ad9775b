package process

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/agentid-dev/agentid/internal/engine"
	"github.com/agentid-dev/agentid/internal/fleetcert"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/observe"
	"github.com/agentid-dev/agentid/server/internalapi"
)

// renewEach is how often a certificate's file is looked at.
const renewEach = 30 * time.Second

// makeFleet opens the broker's side towards gateways that run apart, where there are any.
func (p *Process) makeFleet(context.Context) error {
	cfg := p.cfg.Fleet
	if !cfg.Enabled() {
		return nil
	}
	var err error
	if p.keeper, err = fleetcert.Open(cfg.TLS.Source()); err != nil {
		return fmt.Errorf("fleet.tls.%w; agentid fleet init makes an authority and the broker's certificate", err)
	}
	cluster, err := clusterOf(cfg.Cluster, p.keeper)
	if err != nil {
		return fmt.Errorf("fleet.cluster: %w", err)
	}
	roster, err := cfg.Roster(cluster)
	if err != nil {
		return err //nolint:wrapcheck // names the field
	}
	p.internal, err = internalapi.New(internalapi.Config{
		Roster: roster, Issuer: p.cfg.Broker.URL, Fleet: p.broker.Fleet(), Keys: p.broker.Signer().JWKS, Hub: p.hub.Load(),
		Effects: p.ledger, Log: p.ledger.Audit(), Draining: p.draining, Now: p.opts.Now, Logger: p.component("fleet"),
	})
	return err //nolint:wrapcheck // begins with "internalapi"
}

// clusterOf is the configured name, or that in the certificate.
func clusterOf(configured string, k *fleetcert.Keeper) (string, error) {
	if configured != "" {
		return configured, nil
	}
	id, err := fleetcert.Of(k.Leaf())
	if err != nil {
		return "", fmt.Errorf("is required with a certificate of another authority: %w", err)
	}
	return id.Cluster, nil
}

// bindFleet opens the internal API's listener.
func (p *Process) bindFleet(all []bound) ([]bound, error) {
	if p.internal == nil {
		return all, nil
	}
	quiet := p.opts // renewals come twice a second from each gateway: no line for each call
	quiet.Logger = slog.New(slog.DiscardHandler)
	handler, err := observed("fleet", p.internal.Handler(), quiet, p.registry, p.cfg.Telemetry.OTLPEndpoint != "")
	if err != nil {
		return all, err
	}
	s := httpx.NewServer("", handler, p.component("fleet"))
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true) // one call at a time on a connection
	s.TLSConfig = p.keeper.ServerTLS()
	l, err := p.opts.Listen("tcp", p.cfg.Fleet.Listen)
	if err != nil {
		return all, fmt.Errorf("fleet.listen: %w", err)
	}
	p.front.fleet = l.Addr()
	return append(all, bound{server: s, listener: l, tls: true}), nil
}

func (p *Process) graphForFleet() engine.Fleet {
	return engine.Fleet{Addr: p.cfg.Fleet.GraphListen, TLS: p.keeper.ServerTLS(), Admit: p.internal.Admit}
}

// FleetAddr is where gateways that run apart reach the broker; "" when there are none.
func (p *Process) FleetAddr() string {
	if p.front.fleet == nil {
		return ""
	}
	return p.front.fleet.String()
}

// GraphAddr is where they ask the graph; "" when there are none.
func (p *Process) GraphAddr() string { return p.front.graph }

// renewals takes up renewed certificates until ctx ends.
func renewals(ctx context.Context, k *fleetcert.Keeper, logger *slog.Logger) {
	ticker := time.NewTicker(renewEach)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			changed, err := k.Refresh()
			if err != nil {
				logger.ErrorContext(ctx, "the renewed certificate cannot be read", observe.KeyError, err.Error())
			}
			if changed {
				logger.InfoContext(ctx, "a renewed certificate is in use", "until", k.Leaf().NotAfter)
			}
		}
	}
}
