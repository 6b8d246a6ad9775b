package demo

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/agentid-dev/agentid/cmd/agentid/process"
	"github.com/agentid-dev/agentid/internal/config"
	"github.com/agentid-dev/agentid/internal/fleetcert"
)

// anyPort is a free port of this machine.
const anyPort = "127.0.0.1:0"

// certify makes an authority and the broker's certificate, and has the broker listen for
// gateways.
func certify(cfg *config.Config) error {
	folder := filepath.Join(cfg.DataDir, config.FleetFolder)
	authority, err := fleetcert.Init(folder, "demo", time.Now())
	if err != nil {
		return err //nolint:wrapcheck // says what is wrong
	}
	pair, err := authority.Broker([]string{"127.0.0.1"}, fleetcert.BrokerLifetime, time.Now())
	if err != nil {
		return err //nolint:wrapcheck // names the field
	}
	cfg.Fleet.Listen, cfg.Fleet.GraphListen = anyPort, anyPort
	cfg.Fill()
	return pair.Write(filepath.Join(folder, config.BrokerFolder)) //nolint:wrapcheck // names the file
}

// startGateway makes a gateway's certificate and runs it against the broker.
func (w *world) startGateway(ctx context.Context, broker config.Config, options process.Options, dir string) error {
	authority, err := fleetcert.Load(filepath.Join(broker.DataDir, config.FleetFolder))
	if err != nil {
		return err //nolint:wrapcheck // says what is wrong
	}
	pair, err := authority.Gateway("demo", nil, true, fleetcert.GatewayLifetime, time.Now())
	if err != nil {
		return err //nolint:wrapcheck // names the field
	}
	cfg := config.DefaultGateway(dir)
	if err := pair.Write(filepath.Dir(cfg.Link.TLS.Cert)); err != nil {
		return err //nolint:wrapcheck // names the file
	}
	cfg.Gateway, cfg.Health.Listen = broker.Gateway, anyPort
	cfg.Link.URL, cfg.Link.Graph = "https://"+w.process.FleetAddr(), w.process.GraphAddr()
	options.Apart = false
	if w.gateway, err = process.StartGateway(ctx, cfg, options); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	return nil
}
