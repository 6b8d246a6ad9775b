package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid/cmd/agentid/process"
	"github.com/agentid-dev/agentid/internal/config"
	"github.com/agentid-dev/agentid/internal/failpoint"
	"github.com/agentid-dev/agentid/internal/observe"
)

func newBroker() *cobra.Command {
	var (
		path     string
		restored bool
	)
	cmd := &cobra.Command{
		Use: "broker", Short: "Run the broker alone, for gateways that run apart", Args: cobra.NoArgs,
		Long: `Run the Identity Broker, SpiceDB and the ledger over one data folder, without a gateway.
Gateways ("agentid gateway") reach it over mutual TLS at fleet.listen and fleet.graph_listen;
"agentid fleet init" makes the certificates. Everything else is as with "agentid serve".`,
		Example: `  agentid fleet init --data agentid-data --host broker.internal
  agentid broker --config broker.yaml`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			return runProcess(cmd, cfg.Log, func(ctx context.Context, logger *slog.Logger) (running, error) {
				return process.Start(ctx, cfg, process.Options{Logger: logger, Version: version(), Now: failpoint.Now, Apart: true, Restored: restored})
			})
		},
	}
	configFlag(cmd, &path)
	restoredFlag(cmd, &restored)
	return cmd
}

// restoredFlag is for who puts data in place that does not show its age.
func restoredFlag(cmd *cobra.Command, restored *bool) {
	cmd.Flags().BoolVar(restored, "restored", false, "the data is from a backup: refuse tokens from before, freeze every agent until it is confirmed")
}

func newGateway() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "gateway", Short: "Run a gateway apart from its broker", Args: cobra.NoArgs,
		Long: `Run the Resource Gateway alone. It holds no database: it asks the broker's graph, and has
its settings, its credentials (for the connectors that its certificate names), effects and
audit from the broker, over mutual TLS. A revocation at the broker holds at every gateway
when it returns; one that cannot be reached is waited out by its lease.

It waits for a broker that cannot be reached. One that refuses it, because of its release,
certificate or cluster, ends it with a message that says what to do. health.listen serves
/healthz, /readyz and /metrics.`,
		Example: `  agentid fleet certificate --data agentid-data --gateway gw-1 --out gateway-certificate
  agentid gateway --config gateway.yaml`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadGatewayConfig(path)
			if err != nil {
				return err
			}
			return runProcess(cmd, cfg.Log, func(ctx context.Context, logger *slog.Logger) (running, error) {
				return process.StartGateway(ctx, cfg, process.Options{Logger: logger, Version: version(), Now: failpoint.Now})
			})
		},
	}
	configFlag(cmd, &path)
	return cmd
}

// loadGatewayConfig reads a gateway's file, or gives the defaults where none is named.
func loadGatewayConfig(path string) (config.GatewayFile, error) {
	if path == "" {
		return config.DefaultGateway("."), nil
	}
	return config.LoadGateway(path) //nolint:wrapcheck // every problem with its line
}

// running is a process that serves until it is closed.
type running interface {
	Failed() <-chan error
	Close(ctx context.Context) error
}

// gcPercent lets a server's heap grow to five times what is live before it is collected:
// what lives is some tens of megabytes, a hundred and some at most, and collecting is a
// tenth of a request's CPU at Go's default of 100. The environment's GOGC goes first.
const gcPercent = 400

// runProcess starts one, and ends it with the command's context or its own failure.
func runProcess(cmd *cobra.Command, log config.Log, start func(context.Context, *slog.Logger) (running, error)) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	logger, err := observe.NewLogger(os.Stderr, log.Format, log.Level)
	if err != nil {
		return err //nolint:wrapcheck // validated
	}
	ctx := cmd.Context()
	p, err := start(ctx, logger)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return nil // stopped while it waited for its broker
		}
		return err
	}
	select {
	case <-ctx.Done():
		logger.Info("draining")
	case err = <-p.Failed():
	}
	return errors.Join(err, p.Close(context.WithoutCancel(ctx)))
}
