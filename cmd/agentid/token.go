package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/internal/config"
)

func newToken() *cobra.Command {
	var (
		id     identity
		out    printer
		bearer bool
		raw    bool
		from   source
	)
	cmd := &cobra.Command{
		Use: "token", Short: "Mint a token as an agent and show its claims", Args: cobra.NoArgs,
		Long: `Mint a capability token with the agent's own key, by a template's name and arguments
or by authorization_details, and print its claims. The token is bound to the key (DPoP):
it is of no use to anybody else. With --raw the token itself is printed.

With --from the token is made from the parent's (RFC 8693): within its capabilities and its
life. All of them, when neither --template nor --details names less. With --delegation it is
made under a standing delegation of the agent's principal, in the same way; with --person by
a token of theirs, which it does not outlive.`,
		Example: `  agentid token --agent agent:acme/refunds-1 --key agent.key \
      --template refund-customer --arg customer=cus_123 --arg max_amount=4200
  agentid token --agent agent:acme/refunds-1 --key agent.key --details @details.json --raw
  agentid token --agent agent:acme/reader-1 --key reader-1.key --from file:planner.token`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			token, err := id.obtain(cmd.Context(), from, bearer)
			if err != nil {
				return err
			}
			if raw {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), token.Access.Reveal())
				return err //nolint:wrapcheck // standard output is gone
			}
			claims, err := claimsOf(token.Access)
			if err != nil {
				return err
			}
			return out.one(cmd.OutOrStdout(), claims)
		},
	}
	id.flags(cmd)
	id.requestFlags(cmd)
	out.flag(cmd)
	cmd.Flags().BoolVar(&bearer, "bearer", false, "ask for an unbound token, where the connector allows it")
	cmd.Flags().StringVar(&from.parent, "from", "", "the parent's token: file:/path or env:NAME")
	cmd.Flags().StringVar(&from.delegation, "delegation", "", "id of a standing delegation of the agent's principal")
	cmd.Flags().StringVar(&from.person, "person", "", "a token of the agent's principal: file:/path or env:NAME")
	cmd.Flags().StringVar(&from.personType, "person-type", "id_token", "what --person is: id_token or access_token")
	cmd.Flags().BoolVar(&raw, "raw", false, "print the token in place of its claims")
	return cmd
}

// source is what a token is made from: nothing, or one of these.
type source struct {
	parent, delegation, person, personType string
}

func (s source) check() error {
	given := 0
	for _, text := range []string{s.parent, s.delegation, s.person} {
		if text != "" {
			given++
		}
	}
	if given > 1 {
		return usagef("give one of --from, --delegation and --person")
	}
	if s.personType != "id_token" && s.personType != "access_token" {
		return usagef("--person-type: want id_token or access_token")
	}
	return nil
}

// obtain mints a token, or makes it from what from names.
func (id *identity) obtain(ctx context.Context, from source, bearer bool) (client.Token, error) {
	if err := from.check(); err != nil {
		return client.Token{}, err
	}
	parent, err := parentToken(from.parent + from.person)
	if err != nil {
		return client.Token{}, err
	}
	req := client.TokenRequest{Resource: id.resource}
	if from.parent+from.delegation == "" || id.template != "" || id.details != "" {
		if req, err = id.request(); err != nil {
			return client.Token{}, err
		}
	}
	req.Bearer = bearer
	agent, err := id.client()
	if err != nil {
		return client.Token{}, err
	}
	switch {
	case from.delegation != "":
		return agent.Under(ctx, from.delegation, req) //nolint:wrapcheck // a Refusal says it all
	case from.person != "" && from.personType == "id_token":
		return agent.OnBehalf(ctx, parent.Access, client.PersonIDToken, req) //nolint:wrapcheck // a Refusal says it all
	case from.person != "":
		return agent.OnBehalf(ctx, parent.Access, client.PersonAccessToken, req) //nolint:wrapcheck // a Refusal says it all
	case from.parent == "":
		return agent.Mint(ctx, req) //nolint:wrapcheck // a Refusal says it all
	}
	return agent.Exchange(ctx, parent, req) //nolint:wrapcheck // a Refusal says it all
}

// parentToken reads the token to exchange; the zero Token for no reference.
func parentToken(reference string) (client.Token, error) {
	if reference == "" {
		return client.Token{}, nil
	}
	ref, err := config.ParseReference(reference)
	if err != nil {
		return client.Token{}, usagef("--from: %w", err)
	}
	access, err := ref.Read()
	return client.Token{Access: access}, err //nolint:wrapcheck // names the reference
}

// claimsOf reads a token's claims to show them. It verifies nothing.
func claimsOf(token agentid.Secret) (object, error) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("the broker's token is not a compact JWT")
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, fmt.Errorf("the broker's token: %w", err)
	}
	var claims object
	if err := json.Unmarshal(data, &claims); err != nil {
		return nil, fmt.Errorf("the broker's token: %w", err)
	}
	return claims, nil
}
