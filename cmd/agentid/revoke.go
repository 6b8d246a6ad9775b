package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
)

func newRevoke() *cobra.Command {
	var (
		id   identity
		conn connection
		jti  string
	)
	cmd := &cobra.Command{
		Use: "revoke [TOKEN]", Short: "Take a token back: as its agent, or as an administrator by its id", Args: cobra.MaximumNArgs(1),
		Long: `Take a token back. When the command returns, no request that starts afterwards is
allowed with it.

As the agent: give the token and the agent's key. As an administrator: give --jti.` + connectionHelp,
		Example: `  agentid revoke --agent agent:acme/refunds-1 --key agent.key < token.txt
  agentid revoke --jti token:acme/3f2a…`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if jti != "" {
				ref, err := agentid.ParseRefAs(agentid.TypeToken, jti)
				if err != nil {
					return usagef("--jti: want token:tenant/id")
				}
				path := "/tenants/" + url.PathEscape(ref.Tenant()) + "/tokens/" + url.PathEscape(ref.Name())
				var receipt object
				if err := conn.call(cmd.Context(), http.MethodDelete, path, nil, &receipt); err != nil {
					return err
				}
			} else {
				token, err := tokenFrom(cmd.InOrStdin(), args)
				if err != nil {
					return err
				}
				agent, err := id.client()
				if err != nil {
					return err
				}
				if err := agent.Revoke(cmd.Context(), token); err != nil {
					return err //nolint:wrapcheck // a Refusal says it all
				}
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "revoked")
			return err //nolint:wrapcheck // standard output is gone
		},
	}
	id.flags(cmd)
	conn.flags(cmd)
	cmd.Flags().StringVar(&jti, "jti", "", "the token's id, token:tenant/jti (administrator)")
	return cmd
}
