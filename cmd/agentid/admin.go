package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/cmd/agentid/process"
)

func newAdmin() *cobra.Command {
	conn := &connection{}
	cmd := &cobra.Command{
		Use: "admin", Short: "Administrators' credentials",
		Long: "Administrators' credentials. The first start of serve writes one to <data_dir>/admin.token." + connectionHelp,
	}
	conn.flags(cmd)
	cmd.AddCommand(newAdminList(conn), newAdminRotate(conn), newAdminRecover(), newAdminRestored(conn))
	return cmd
}

func newAdminList(conn *connection) *cobra.Command {
	var out printer
	cmd := &cobra.Command{
		Use: "list", Short: "List credentials, without their secrets", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			items, err := conn.items(cmd.Context(), "/admins")
			if err != nil {
				return err
			}
			return out.list(cmd.OutOrStdout(), items, "id", "subject", "created")
		},
	}
	out.flag(cmd)
	return cmd
}

func newAdminRotate(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use: "rotate", Short: "Exchange your credential: the file gets the new one, the old one is refused", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var fresh struct {
				Secret string `json:"secret"`
			}
			if err := conn.call(cmd.Context(), http.MethodPost, "/admins/rotate", object{}, &fresh); err != nil {
				return err
			}
			if err := process.WriteCredential(conn.credential, agentid.NewSecret(fresh.Secret)); err != nil {
				return err //nolint:wrapcheck // names the file
			}
			return say(cmd, "the new credential is in "+conn.credential)
		},
	}
}

// newAdminRestored tells the broker what it could not see by itself.
func newAdminRestored(conn *connection) *cobra.Command {
	var (
		out    printer
		reason string
	)
	cmd := &cobra.Command{
		Use: "restored", Short: "Say that the data was put in place from an older backup", Args: cobra.NoArgs,
		Long: `Say that the data was put in place from an older backup. What was revoked since is not
known any more, so a new incarnation begins: every token from before is refused, and every
agent is frozen for the reason "restored" until it is confirmed:

  agentid agent unfreeze agent:acme/refunds-1 --reason restored
  agentid agent unfreeze --tenant acme --filter all=true --reason restored

The broker does this by itself where it can tell: by the mark beside the data, which no
backup holds, by what gateways know, and by a graph that is older than the ledger. A copy
of the whole disk it cannot tell: start it with "agentid serve --restored".`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			var item object
			if err := conn.call(cmd.Context(), http.MethodPost, "/restored", object{"reason": reason}, &item); err != nil {
				return err
			}
			return out.one(cmd.OutOrStdout(), item)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "an administrator said so", "why; for the audit log")
	out.flag(cmd)
	return cmd
}

func newAdminRecover() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "recover", Short: "Make a credential when none is left; the server must be stopped", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			if err := process.Recover(cmd.Context(), cfg); err != nil {
				return err //nolint:wrapcheck // says which part
			}
			return say(cmd, "the new credential is in "+cfg.Admin.TokenFile)
		},
	}
	configFlag(cmd, &path)
	return cmd
}
