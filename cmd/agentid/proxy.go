package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/agentproxy"
	"github.com/agentid-dev/agentid/internal/config"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/observe"
)

func newProxy() *cobra.Command {
	var (
		id          identity
		listen      string
		connect     string
		localSecret string
		perEffect   bool
	)
	cmd := &cobra.Command{
		Use: "proxy", Short: "Run beside an agent: its SDK, with the base URL changed and nothing else", Args: cobra.NoArgs,
		Long: `Listen on loopback or on a Unix socket, hold the agent's key, mint and refresh its token,
add the proof to each request and forward it to the gateway. Whatever credential the SDK
sends is taken off; keys and tokens never enter the agent's process.

Whoever reaches the address acts as the agent. On a machine with other users listen on a
Unix socket (mode 0600), or set --local-secret and give it to the SDK as its API key.`,
		Example: `  agentid proxy --agent agent:acme/refunds-1 --key agent.key --listen 127.0.0.1:8100 \
      --resource https://stripe.gateway.example.com \
      --template refund-customer --arg customer=cus_123 --arg max_amount=4200

  # and in the agent:  new Stripe('unused', {host: '127.0.0.1', port: 8100, protocol: 'http'})`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := observe.NewLogger(cmd.ErrOrStderr(), "text", "info")
			if err != nil {
				return err //nolint:wrapcheck // fixed arguments
			}
			cfg := agentproxy.Config{Connect: connect, PerEffect: perEffect, Logger: logger}
			if cfg.Request, err = id.request(); err != nil {
				return err
			}
			if cfg.Agent, err = id.client(); err != nil {
				return err
			}
			if cfg.LocalSecret, err = optionalSecret(localSecret); err != nil {
				return err
			}
			return serveProxy(cmd.Context(), cfg, listen, logger)
		},
	}
	id.flags(cmd)
	id.requestFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:8100", "loopback host:port or unix:/path")
	f.StringVar(&connect, "connect", "", "host:port of the gateway, where the resource's own name does not lead there")
	f.StringVar(&localSecret, "local-secret", "", "what the SDK must send as its API key: file:/path or env:NAME")
	f.BoolVar(&perEffect, "per-effect", false, "mint a fresh token for each request that is not a read: for templates with uses: 1")
	return cmd
}

func optionalSecret(reference string) (agentid.Secret, error) {
	if reference == "" {
		return agentid.Secret{}, nil
	}
	ref, err := config.ParseReference(reference)
	if err != nil {
		return agentid.Secret{}, usagef("--local-secret: %w", err)
	}
	return ref.Read() //nolint:wrapcheck // names the reference
}

// serveProxy runs until ctx ends, then lets requests under way finish.
func serveProxy(ctx context.Context, cfg agentproxy.Config, addr string, logger *slog.Logger) error {
	p, err := agentproxy.New(cfg)
	if err != nil {
		return err //nolint:wrapcheck // names the field
	}
	listener, err := agentproxy.Listen(addr)
	if err != nil {
		return err //nolint:wrapcheck // says what to listen on
	}
	srv := httpx.NewServer("", p, logger)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(listener) }()
	logger.InfoContext(ctx, "the proxy is ready", observe.KeyAddr, listener.Addr().String())
	select {
	case err := <-failed:
		return fmt.Errorf("proxy: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("proxy: %w", err)
	}
	return nil
}
