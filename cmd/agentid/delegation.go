package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/internal/peopleclient"
)

func newDelegation() *cobra.Command {
	p := &person{}
	cmd := &cobra.Command{
		Use: "delegation", Short: "What you let agents do for you while you are away",
		Long: `A standing delegation lets agents of one type act for you, on what it names, until it ends or
you take it back. Sign in first: agentid login.` + personHelp,
	}
	p.flags(cmd)
	cmd.AddCommand(p.grant(), p.list(), p.revoke(), p.launch())
	return cmd
}

func (p *person) grant() *cobra.Command {
	var (
		out                 printer
		want                asks
		typ, resource, till string
		life                time.Duration
	)
	cmd := &cobra.Command{
		Use: "grant --type TYPE", Short: "Let agents of a type act for you", Args: cobra.NoArgs,
		Example: `  agentid delegation grant --type refund-agent --for 720h \
      --template refund-customer --arg customer=cus_123 --arg max_amount=4200
  agentid delegation grant --type refund-agent --until 2026-12-31T18:00:00Z --details @details.json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if err := want.check(); err != nil {
				return err
			}
			details, err := want.ceiling()
			if err != nil {
				return err
			}
			if details == nil {
				return usagef("name what is delegated: --template or --details")
			}
			until, err := end(life, till)
			if err != nil {
				return err
			}
			body := object{"type": typ, "authorization_details": json.RawMessage(details), "until": until}
			if resource != "" {
				body["resource"] = resource
			}
			var v object
			if err := p.call(cmd.Context(), http.MethodPost, "/delegations", body, &v); err != nil {
				return err
			}
			return out.one(cmd.OutOrStdout(), v)
		},
	}
	want.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&typ, "type", "", "the agent type")
	f.StringVar(&resource, "resource", "", "the connector's resource URI, where more than one fits")
	f.DurationVar(&life, "for", 0, "how long it stands")
	f.StringVar(&till, "until", "", "when it ends (RFC 3339), in place of --for")
	out.flag(cmd)
	return cmd
}

// end is the time at which something ends.
func end(life time.Duration, till string) (string, error) {
	if (life == 0) == (till == "") {
		return "", usagef("give --for or --until")
	}
	if till == "" {
		return time.Now().Add(life).UTC().Truncate(time.Second).Format(time.RFC3339), nil
	}
	if _, err := time.Parse(time.RFC3339, till); err != nil {
		return "", usagef("--until: want a time such as 2026-12-31T18:00:00Z")
	}
	return till, nil
}

func (p *person) list() *cobra.Command {
	var out printer
	cmd := &cobra.Command{
		Use: "list", Short: "List your delegations", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			var answer struct {
				Items []object `json:"items"`
			}
			if err := p.call(cmd.Context(), http.MethodGet, "/delegations", nil, &answer); err != nil {
				return err
			}
			return out.list(cmd.OutOrStdout(), answer.Items, "id", "type", "until", "state")
		},
	}
	out.flag(cmd)
	return cmd
}

func (p *person) revoke() *cobra.Command {
	var out printer
	cmd := &cobra.Command{
		Use: "revoke ID", Short: "Take a delegation back: its tokens and agents are good no more when this returns", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			var v object
			if err := p.call(cmd.Context(), http.MethodDelete, "/delegations/"+url.PathEscape(args[0]), nil, &v); err != nil {
				return err
			}
			return out.one(cmd.OutOrStdout(), v)
		},
	}
	out.flag(cmd)
	return cmd
}

// launch starts an agent for the person, which may live by a delegation.
func (p *person) launch() *cobra.Command {
	var (
		out               printer
		typ, keyOut, from string
		life              time.Duration
	)
	cmd := &cobra.Command{
		Use: "launch REF --type TYPE --key-out FILE", Short: "Start an agent that acts for you, now or by a delegation", Args: cobra.ExactArgs(1),
		Long: `Start an agent that acts for you, of a type that you may launch. Its key is made here. With
--delegation it lives by that: nothing beyond it, no longer than it.` + personHelp,
		Example: `  agentid delegation launch agent:acme/mine --type refund-agent --key-out mine.key --for 8h
  agentid delegation launch agent:acme/nightly --type refund-agent --key-out nightly.key --delegation d-…`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			ref, err := agentid.ParseRefAs(agentid.TypeAgent, args[0])
			if err != nil || keyOut == "" {
				return usagef("want agent:tenant/name, and --key-out")
			}
			s, err := peopleclient.Fresh(cmd.Context(), p.file, p.http())
			if err != nil {
				return err //nolint:wrapcheck // says what to do
			}
			key, err := savedKey(keyOut)
			if err != nil {
				return err
			}
			proof, err := client.ProveKey(key, s.Issuer, ref)
			if err != nil {
				return err //nolint:wrapcheck // names the field
			}
			body := object{"type": typ, "name": ref.Name(), "key": key.Public(), "key_proof": proof}
			if life > 0 {
				body["expires"] = time.Now().Add(life).UTC().Truncate(time.Second).Format(time.RFC3339)
			}
			if from != "" {
				body["delegation"] = from
			}
			var v object
			if err := s.Call(cmd.Context(), p.http(), http.MethodPost, "/agents", body, &v); err != nil {
				return err //nolint:wrapcheck // a Refusal says it all
			}
			return out.one(cmd.OutOrStdout(), v)
		},
	}
	f := cmd.Flags()
	f.StringVar(&typ, "type", "", "the agent type")
	f.StringVar(&keyOut, "key-out", "", "new file for its private JWK (mode 0600)")
	f.StringVar(&from, "delegation", "", "id of the delegation that it lives by")
	f.DurationVar(&life, "for", 0, "how long it lives; 0: as long as limits, or the delegation, allow")
	out.flag(cmd)
	return cmd
}
