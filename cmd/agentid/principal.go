package main

import (
	"net/http"

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
	cmd.AddCommand(create, g.sync(conn))
	return cmd
}

// sync brings what a principal's groups give into place.
func (g group) sync(conn *connection) *cobra.Command {
	var (
		out    printer
		groups []string
	)
	cmd := &cobra.Command{
		Use: "sync REF", Short: "Bring what its groups give into place, without a sign-in", Args: cobra.ExactArgs(1),
		Long: `Ask the identity provider which groups the person is in now, by what the last sign-in left,
and bring what they give into place; or take the groups from --groups, "" for none. What was
taken away is gone for every request that starts afterwards.` + connectionHelp,
		Example: `  agentid principal sync principal:acme/corp-x7…
  agentid principal sync principal:acme/corp-x7… --groups support,staff`,
		RunE: func(cmd *cobra.Command, args []string) error {
			body := object{}
			if cmd.Flags().Changed("groups") {
				body["groups"] = append([]string{}, groups...)
			}
			return g.ask(cmd, conn, out, args[0], http.MethodPost, "/sync", body)
		},
	}
	cmd.Flags().StringSliceVar(&groups, "groups", nil, "the groups, in place of asking the provider")
	out.flag(cmd)
	return cmd
}

func newIdentityProvider() *cobra.Command {
	return group{
		use: "identity-provider", plural: "a tenant's identity providers", short: "OpenID providers of people; declare them with agentid apply",
		typ: "identity_provider", segment: "identity-providers", columns: []string{"tenant", "name", "issuer", "client_id", "flows"}, deletes: true,
	}.command(&connection{})
}

func newLoginClient() *cobra.Command {
	return group{
		use: "login-client", plural: "programs that a tenant's people sign in to", short: "Programs that people sign in to; declare them with agentid apply",
		typ: "login_client", segment: "login-clients", columns: []string{"tenant", "name", "display", "redirect_uris"}, deletes: true,
	}.command(&connection{})
}
