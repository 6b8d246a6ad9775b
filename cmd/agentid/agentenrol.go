package main

import (
	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
)

// newAgentEnrol enrols a workload by what its platform says of it.
func newAgentEnrol() *cobra.Command {
	var (
		id   identity
		out  printer
		file string
	)
	cmd := &cobra.Command{
		Use: "enrol", Short: "Become an agent by what a platform says of this workload", Args: cobra.NoArgs,
		Long: `Show the broker a token that this workload's platform signed (Kubernetes, a CI job, a cloud,
SPIFFE). A rule of the tenant decides whether that makes it an agent, of which type and for
whom. The key becomes the agent's own: with it "agentid proxy" and "agentid token" go on.
Prints the agent. No administrator's credential is needed.`,
		Example: `  agentid agent keygen worker.key > worker.pub
  agentid agent enrol --issuer https://id.example.com/acme --key worker.key \
      --workload-token /var/run/secrets/tokens/agentid --template refund-customer --arg customer=cus_123 --arg max_amount=4200`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if id.issuer == "" {
				return usagef("--issuer: name the tenant's issuer")
			}
			text, err := readToken(cmd.InOrStdin(), file)
			if err != nil {
				return err
			}
			key, err := loadKey(id.key)
			if err != nil {
				return err
			}
			req := client.TokenRequest{Resource: id.resource}
			if id.template != "" || id.details != "" {
				if req, err = id.request(); err != nil {
					return err
				}
			}
			agent, token, err := client.Enrol(cmd.Context(), client.Config{Issuer: id.issuer, Key: key}, agentid.NewSecret(text), req)
			if err != nil {
				return err //nolint:wrapcheck // a Refusal says it all
			}
			return out.one(cmd.OutOrStdout(), object{"ref": agent.Agent().String(), "scope": token.Scope, "audience": token.Audience})
		},
	}
	f := cmd.Flags()
	f.StringVar(&id.issuer, "issuer", env("AGENTID_ISSUER", ""), "the tenant's issuer")
	f.StringVar(&id.key, "key", env("AGENTID_KEY", ""), "the agent's private JWK: a file of mode 0600, file:/path or env:NAME")
	f.StringVar(&file, "workload-token", "", "file that holds the platform's token; - is standard input")
	id.requestFlags(cmd)
	out.flag(cmd)
	return cmd
}
