package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/config"
)

func newConnector() *cobra.Command {
	conn := &connection{}
	g := group{
		use: "connector", plural: "a tenant's connectors", short: "Connectors and their credentials; declare them with agentid apply",
		typ: agentid.TypeConnector, segment: "connectors",
		columns: []string{"tenant", "name", "type", "state", "resource", "upstream", "credential_set"}, freezes: true, deletes: true,
	}
	cmd := g.command(conn)
	cmd.AddCommand(g.credential(conn), g.secret(conn))
	return cmd
}

// credential sets the upstream credential of a connector.
func (g group) credential(conn *connection) *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use: "credential REF", Short: "Set the upstream credential; it is sealed and cannot be read again", Args: cobra.ExactArgs(1),
		Example: `  agentid connector credential connector:acme/stripe --from file:/run/secrets/stripe-key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := g.path(args[0])
			if err != nil {
				return err
			}
			ref, err := config.ParseReference(from)
			if err != nil {
				return usagef("--from: %w", err)
			}
			secret, err := ref.Read()
			if err != nil {
				return err //nolint:wrapcheck // names the reference
			}
			if err := conn.call(cmd.Context(), http.MethodPut, path+"/credential", object{"credential": secret.Reveal()}, nil); err != nil {
				return err
			}
			return say(cmd, "the credential is set")
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "where the credential is: file:/path or env:NAME")
	return cmd
}

// secret makes a secret for the service behind a connector, to introspect with.
func (g group) secret(conn *connection) *cobra.Command {
	var out printer
	cmd := &cobra.Command{
		Use: "secret REF", Short: "Make a secret for the connector's service, to introspect with; shown once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.ask(cmd, conn, out, args[0], http.MethodPost, "/secrets", object{})
		},
	}
	out.flag(cmd)
	return cmd
}
