package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid/internal/yamlfile"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// streams are what a command reads and writes.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// usageError is a command that was used wrongly.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitError is the exit code of a command that was run, to be passed on.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// run executes one command line and gives its exit code.
func run(ctx context.Context, args []string, s streams) int {
	root := newRoot(s)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if ended, ok := errors.AsType[exitError](err); ok {
		return int(ended)
	}
	var file *yamlfile.Error
	if errors.As(err, &file) {
		_, _ = fmt.Fprintln(s.err, file.Error())
		return exitFailed
	}
	_, _ = fmt.Fprintln(s.err, "agentid: "+err.Error())
	if _, usage := errors.AsType[usageError](err); usage {
		return exitUsage
	}
	return exitFailed
}

func newRoot(s streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "agentid",
		Short: "Authorization for AI agents: capability tokens, decided again at every operation",
		Long: `AgentID turns a verified agent, acting for a verified principal, into short-lived
capability tokens, and decides every operation again at its gateway.

Exit codes: 0 done, 1 refused or failed, 2 used wrongly.`,
		Example: `  agentid demo                                  # the worked example, in seconds
  agentid serve --config agentid.yaml           # broker and gateway in one process
  agentid broker --config broker.yaml           # the broker alone; agentid gateway beside the APIs
  agentid apply -f acme.yaml --dry-run          # what would change
  agentid proxy --agent agent:acme/refunds-1 …  # beside an agent: its SDK, base URL changed
  agentid run --type refund-agent … -- CMD      # an agent for as long as a command runs`,
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q; agentid --help lists them", args[0])
			}
			return cmd.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newServe(), newBroker(), newGateway(), newFleet(), newDemo(), newProxy(), newRun(),
		newToken(), newIntrospect(), newLineage(), newRevoke(),
		newApply(), newTenant(), newPrincipal(), newAgentType(), newAgent(), newConnector(), newTemplate(), newGrant(), newFederation(),
		newLogin(), newLogout(), newDelegation(), newIdentityProvider(), newLoginClient(),
		newSchema(), newAudit(), newKeys(), newAdmin(), newConfig(), newLoadtest(), newVersion(),
	)
	for _, c := range root.Commands() {
		guardArgs(c)
	}
	return root
}

// guardArgs makes wrong arguments a usage error, and a group without its subcommand
// as well.
func guardArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{fmt.Errorf("%s: %w", cmd.CommandPath(), err)}
			}
			return nil
		}
	}
	if c.RunE == nil && c.Run == nil {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("%s has no subcommand %q", cmd.CommandPath(), args[0])
			}
			return cmd.Help()
		}
	}
	for _, sub := range c.Commands() {
		guardArgs(sub)
	}
}

// version is the module's version, or the revision it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}

// env gives a variable, or a fallback.
func env(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}
