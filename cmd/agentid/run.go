package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/internal/agentrun"
	"github.com/agentid-dev/agentid/internal/observe"
)

func newRun() *cobra.Command {
	var l launch
	cmd := &cobra.Command{
		Use: "run --type TYPE [--for PRINCIPAL] --template NAME -- CMD [ARG…]", Short: "Run a command as an agent that lives as long as it does",
		Args: cobra.MinimumNArgs(1),
		Long: `Spawn an agent, start a proxy on loopback for each connector that its tokens are for, run
the command with the proxies' URLs in its environment, and retire the agent, its children
included, when the command ends. Signals are passed on; the exit code is the command's (128
plus the signal's number when a signal killed it; 126 or 127 when it could not be started; 1
when the agent was refused).

The agent's key is made in this process and is nowhere else: not in the command's
environment, arguments or files. The agent's ceiling is what it asks for here: no token of
it exceeds that. The command gets

  AGENTID_AGENT              the agent, agent:tenant/name
  AGENTID_<CONNECTOR>_URL    base URL of each connector, such as AGENTID_STRIPE_URL
  STRIPE_API_BASE            the same, as the SDKs of the connector's kind read it, and a
                             placeholder in place of the API's key

and none of the caller's AGENTID_ variables.

An administrator's credential (as for "agentid agent") starts an agent for --for PRINCIPAL;
--parent and --key start a child of that agent instead. When this process is killed itself,
the agent ends with its --lifetime; its key is gone at once.

Whoever reaches the proxy's port acts as the agent. On a machine with other users set
--local-secret, and give it to the SDK as its API key.`,
		Example: `  agentid run --tenant acme --type refund-agent --for alice \
      --template refund-customer --arg customer=cus_123 --arg max_amount=4200 \
      -- ./refund-agent

  agentid run --parent agent:acme/planner --key planner.key --type refund-agent \
      --template read-customer --arg customer=cus_123 -- python agent.py`,
		RunE: func(cmd *cobra.Command, args []string) error { return l.run(cmd, args) },
	}
	l.flags(cmd)
	return cmd
}

// launch is what to run, and as whom.
type launch struct {
	conn                       connection
	tenant, typ, principal     string
	parent, key, issuer        string
	name                       string
	lifetime                   time.Duration
	asks                       asks
	connect, localSecret, logs string
	perEffect                  bool
}

const defaultRunLifetime = time.Hour

func (l *launch) flags(cmd *cobra.Command) {
	l.conn.flags(cmd)
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the command is the command's
	f.StringVar(&l.tenant, "tenant", env("AGENTID_TENANT", ""), "the tenant, where no ref names it")
	f.StringVar(&l.typ, "type", "", "the agent's type: its name, or agent_type:tenant/name")
	f.StringVar(&l.principal, "for", "", "whom it acts for: a principal's name or ref; default the type's only launcher")
	f.StringVar(&l.parent, "parent", "", "spawn a child of this agent, with its --key, and not as an administrator")
	f.StringVar(&l.key, "key", "", "the parent's private JWK: a file of mode 0600, file:/path or env:NAME")
	f.StringVar(&l.issuer, "issuer", env("AGENTID_ISSUER", ""), "the issuer; default <server>/<tenant>")
	f.StringVar(&l.name, "name", "", "the agent's name; default run-<random>")
	f.DurationVar(&l.lifetime, "lifetime", defaultRunLifetime, "the longest that it lives, also when this process is killed; less where its type or parent allows less")
	l.asks.flags(cmd)
	f.StringVar(&l.connect, "connect", "", "host:port of the gateway, where the resource's own name does not lead there")
	f.StringVar(&l.localSecret, "local-secret", "", "what the SDK must send as its API key: file:/path or env:NAME")
	f.BoolVar(&l.perEffect, "per-effect", false, "mint a fresh token for each request that is not a read: for templates with uses: 1")
	f.StringVar(&l.logs, "log-level", "warn", "debug, info, warn or error")
}

func (l *launch) run(cmd *cobra.Command, command []string) error {
	logger, err := observe.NewLogger(cmd.ErrOrStderr(), "text", l.logs)
	if err != nil {
		return usageError{err}
	}
	secret, err := optionalSecret(l.localSecret)
	if err != nil {
		return err
	}
	if err := l.asks.check(); err != nil {
		return err
	}
	if err := keepMemory(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)

	spawned, err := l.spawn(cmd.Context())
	if err != nil {
		return err
	}
	code, err := agentrun.Run(cmd.Context(), agentrun.Config{
		Agent: spawned.agent, Retire: spawned.retire, Requests: spawned.requests, Kinds: connectors.Builtin(),
		Command: command, Environment: os.Environ(), Hidden: hidden(l.key),
		Stdin: cmd.InOrStdin(), Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr(), Signals: signals,
		Connect: l.connect, LocalSecret: secret, PerEffect: l.perEffect, Logger: logger,
	})
	switch {
	case err != nil && code != 0: // the command could not be started
		_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "agentid: "+err.Error())
		return exitError(code)
	case err != nil:
		return err //nolint:wrapcheck // a Refusal says it all
	case code != 0:
		return exitError(code)
	}
	return nil
}

// hidden are the caller's variables that hold a key by reference.
func hidden(references ...string) []string {
	var out []string
	for _, r := range references {
		if name, ok := strings.CutPrefix(r, "env:"); ok {
			out = append(out, name)
		}
	}
	return out
}

// retireItself ends an agent by its own key, and where that is refused otherwise.
func retireItself(agent *client.Client, otherwise func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := agent.Retire(ctx)
		if refused, ok := errors.AsType[*client.Refusal](err); ok && otherwise != nil && refused.Status < 500 {
			return otherwise(ctx)
		}
		return err //nolint:wrapcheck // a Refusal says it all
	}
}
