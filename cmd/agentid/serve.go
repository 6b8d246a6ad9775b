package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid/cmd/agentid/process"
	"github.com/agentid-dev/agentid/internal/failpoint"
)

func newServe() *cobra.Command {
	var (
		path     string
		restored bool
	)
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the broker and the gateway in one process, with the embedded graph", Args: cobra.NoArgs,
		Long: `Run the Identity Broker, the Resource Gateway, SpiceDB and the ledger in one process over
one data folder. The broker also serves /healthz, /readyz, /metrics and /admin/v1.

The first start makes the sealing key, a signing key and the first administrator's
credential, which it writes to <data_dir>/admin.token (mode 0600). SIGTERM drains: requests
under way finish, new ones are refused.`,
		Example: `  agentid serve                                    # defaults, on loopback
  agentid serve --config /etc/agentid/agentid.yaml`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			return runProcess(cmd, cfg.Log, func(ctx context.Context, logger *slog.Logger) (running, error) {
				return process.Start(ctx, cfg, process.Options{Logger: logger, Version: version(), Now: failpoint.Now, Restored: restored})
			})
		},
	}
	configFlag(cmd, &path)
	restoredFlag(cmd, &restored)
	return cmd
}
