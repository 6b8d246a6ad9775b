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
	cmd.AddCommand(newAdminList(conn), newAdminRotate(conn), newAdminRecover())
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
