package main

import (
	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
)

func newPrincipal() *cobra.Command {
	conn := &connection{}
	g := group{
		use: "principal", plural: "a tenant's principals", short: "Humans and services on whose behalf agents act",
		typ: agentid.TypePrincipal, segment: "principals",
		columns: []string{"tenant", "name", "type", "state", "display"}, freezes: true, deletes: true,
	}
	cmd := g.command(conn)
	var (
		out                           printer
		typ, display, issuer, subject string
	)
	create := &cobra.Command{
		Use: "create REF", Short: "Create or change a principal", Args: cobra.ExactArgs(1),
		Example: `  agentid principal create principal:acme/alice --type human`,
		RunE: func(cmd *cobra.Command, args []string) error {
			body := object{"type": typ}
			for name, value := range map[string]string{"display": display, "issuer": issuer, "subject": subject} {
				if value != "" {
					body[name] = value
				}
			}
			return g.put(cmd, conn, args[0], body, &out)
		},
	}
	f := create.Flags()
	f.StringVar(&typ, "type", "human", "human or service")
	f.StringVar(&display, "display", "", "a name for people")
	f.StringVar(&issuer, "issuer", "", "its identity provider")
	f.StringVar(&subject, "subject", "", "its subject there")
	out.flag(create)
	cmd.AddCommand(create)
	return cmd
}
