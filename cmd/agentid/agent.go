package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
)

func newAgent() *cobra.Command {
	conn := &connection{}
	g := group{
		use: "agent", plural: "a tenant's agents", short: "Agents: running instances, each with its own key",
		typ: agentid.TypeAgent, segment: "agents",
		columns: []string{"tenant", "name", "type", "principal", "state", "expires", "frozen_for"}, freezes: true,
	}
	cmd := g.command(conn)
	cmd.AddCommand(newKeygen(), g.register(conn), g.spawn(conn), g.respawn(conn), newRotate(conn), newAgentEnrol(), g.narrow(conn), g.retire(conn), g.tokens(conn), g.tree(conn))
	return cmd
}

func newKeygen() *cobra.Command {
	var algorithm string
	cmd := &cobra.Command{
		Use: "keygen FILE", Short: "Make an agent's key: the private JWK goes to FILE (mode 0600), the public one is printed", Args: cobra.ExactArgs(1),
		Example: `  agentid agent keygen agent.key > agent.pub`,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := client.GenerateKey(algorithm)
			if err != nil {
				return usageError{err}
			}
			if err := key.Save(args[0]); err != nil {
				return err //nolint:wrapcheck // names the file
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(key.Public()))
			return err //nolint:wrapcheck // standard output is gone
		},
	}
	cmd.Flags().StringVar(&algorithm, "alg", "EdDSA", "EdDSA or ES256")
	return cmd
}

func (g group) register(conn *connection) *cobra.Command {
	var (
		out                           printer
		typ, principal, public, bound string
		life                          time.Duration
	)
	cmd := &cobra.Command{
		Use: "register REF", Short: "Register an agent by its public key", Args: cobra.ExactArgs(1),
		Example: `  agentid agent register agent:acme/refunds-1 --type refunds --principal alice \
      --public-key agent.pub --for 8h`,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := os.ReadFile(public)
			if err != nil {
				return usagef("--public-key: %w", err)
			}
			if !json.Valid(key) {
				return usagef("--public-key: %s is not JSON", public)
			}
			body := object{
				"type": typ, "principal": principal, "key": json.RawMessage(key),
				"expires": time.Now().Add(life).UTC().Truncate(time.Second).Format(time.RFC3339),
			}
			if bound != "" {
				ceiling, err := os.ReadFile(bound)
				if err != nil || !json.Valid(ceiling) {
					return usagef("--ceiling: want a file with a JSON array of capabilities")
				}
				body["ceiling"] = json.RawMessage(ceiling)
			}
			return g.put(cmd, conn, args[0], body, &out)
		},
	}
	f := cmd.Flags()
	f.StringVar(&typ, "type", "", "its agent type")
	f.StringVar(&principal, "principal", "", "whom it acts for; a service principal when it is autonomous")
	f.StringVar(&public, "public-key", "", "file with its public JWK")
	f.StringVar(&bound, "ceiling", "", "file with a JSON array of capabilities that no token of it exceeds")
	f.DurationVar(&life, "for", 8*time.Hour, "how long it lives")
	out.flag(cmd)
	return cmd
}

func (g group) retire(conn *connection) *cobra.Command {
	var out printer
	cmd := &cobra.Command{
		Use: "retire REF", Short: "End an agent for good", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.ask(cmd, conn, out, args[0], http.MethodPost, "/retire", object{})
		},
	}
	out.flag(cmd)
	return cmd
}

// tokens lists the live tokens of an agent.
func (g group) tokens(conn *connection) *cobra.Command {
	var out printer
	cmd := &cobra.Command{
		Use: "tokens REF", Short: "List an agent's tokens that are neither expired nor revoked", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			ref, err := agentid.ParseRefAs(g.typ, args[0])
			if err != nil {
				return usagef("want agent:tenant/name")
			}
			items, err := conn.items(cmd.Context(), "/tenants/"+ref.Tenant()+"/tokens?agent="+ref.Name())
			if err != nil {
				return err
			}
			return out.list(cmd.OutOrStdout(), items, "ref", "audience", "issued", "expires")
		},
	}
	out.flag(cmd)
	return cmd
}
