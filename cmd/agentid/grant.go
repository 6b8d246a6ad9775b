package main

import (
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
)

func newGrant() *cobra.Command {
	conn := &connection{}
	cmd := &cobra.Command{
		Use: "grant", Short: "A tenant's policy: relationships with bounds; declare them with agentid apply",
		Long: "A tenant's policy: who may do what on which resource, within which bounds." + connectionHelp,
	}
	conn.flags(cmd)
	cmd.AddCommand(newGrantList(conn), newGrantDelete(conn))
	return cmd
}

func newGrantList(conn *connection) *cobra.Command {
	var (
		out    printer
		tenant string
	)
	cmd := &cobra.Command{
		Use: "list", Short: "List a tenant's grants", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if tenant == "" {
				return usagef("--tenant: name the tenant")
			}
			items, err := conn.items(cmd.Context(), "/tenants/"+url.PathEscape(tenant)+"/grants")
			if err != nil {
				return err
			}
			return out.list(cmd.OutOrStdout(), items, "resource", "relation", "subject", "caveat", "context")
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", env("AGENTID_TENANT", ""), "the tenant")
	out.flag(cmd)
	return cmd
}

func newGrantDelete(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use: "delete RESOURCE RELATION SUBJECT", Short: "Take a grant away; no later request has it", Args: cobra.ExactArgs(3),
		Example: `  agentid grant delete payments_account:acme/stripe refunder agent_type:acme/refunds`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := agentid.ParseRef(args[0])
			if err != nil {
				return usagef("want a resource such as payments_account:acme/stripe")
			}
			q := url.Values{"resource": {args[0]}, "relation": {args[1]}, "subject": {args[2]}}
			if err := conn.call(cmd.Context(), http.MethodDelete, "/tenants/"+ref.Tenant()+"/grants?"+q.Encode(), nil, nil); err != nil {
				return err
			}
			return say(cmd, "deleted")
		},
	}
}
