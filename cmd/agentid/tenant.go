package main

import (
	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
)

func newTenant() *cobra.Command {
	conn := &connection{}
	g := group{
		use: "tenant", plural: "tenants", short: "Organisations: the isolation boundary", typ: agentid.TypeTenant,
		columns: []string{"name", "state", "display"}, freezes: true, deletes: true,
	}
	cmd := g.command(conn)
	var (
		out     printer
		display string
	)
	create := &cobra.Command{
		Use: "create REF", Short: "Create or change a tenant", Args: cobra.ExactArgs(1),
		Example: `  agentid tenant create tenant:acme --display "Acme Inc"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			body := object{}
			if display != "" {
				body["display"] = display
			}
			return g.put(cmd, conn, args[0], body, &out)
		},
	}
	create.Flags().StringVar(&display, "display", "", "a name for people")
	out.flag(create)
	cmd.AddCommand(create)
	return cmd
}
