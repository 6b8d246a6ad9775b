package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/adminclient"
	"github.com/agentid-dev/agentid/internal/config"
)

// errInactive is a token that is not good.
var errInactive = errors.New("the token is not active")

func newIntrospect() *cobra.Command {
	var (
		service adminclient.Service
		secret  string
		out     printer
	)
	cmd := &cobra.Command{
		Use: "introspect [TOKEN]", Short: "Ask the broker about a token, as a service (RFC 7662)", Args: cobra.MaximumNArgs(1),
		Long: `Ask the broker whether a token is good now, as the service that the token is for. The
token comes from the argument or, better, from standard input. Exit code 1 when it is not
active.`,
		Example: `  agentid token … --raw | agentid introspect \
      --client-id connector:acme/stripe --client-secret file:/run/secrets/stripe-client`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			token, err := tokenFrom(cmd.InOrStdin(), args)
			if err != nil {
				return err
			}
			ref, err := config.ParseReference(secret)
			if err != nil {
				return usagef("--client-secret: %w", err)
			}
			if service.Secret, err = ref.Read(); err != nil {
				return err //nolint:wrapcheck // names the reference
			}
			answer, err := service.Introspect(cmd.Context(), token)
			if err != nil {
				return err //nolint:wrapcheck // a Refusal says it all
			}
			var doc object
			if err := json.Unmarshal(answer, &doc); err != nil {
				return fmt.Errorf("the broker's answer: %w", err)
			}
			if err := out.one(cmd.OutOrStdout(), doc); err != nil {
				return err
			}
			if active, _ := doc["active"].(bool); !active {
				return errInactive
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&service.Issuer, "issuer", env("AGENTID_ISSUER", config.DefaultBrokerURL), "the issuer")
	f.StringVar(&service.ID, "client-id", "", "the service, connector:tenant/name")
	f.StringVar(&secret, "client-secret", "", "the service's secret: file:/path or env:NAME")
	out.flag(cmd)
	return cmd
}

// tokenFrom reads a token from the arguments or one line of standard input.
func tokenFrom(in io.Reader, args []string) (agentid.Secret, error) {
	if len(args) == 1 {
		return agentid.NewSecret(strings.TrimSpace(args[0])), nil
	}
	line, err := bufio.NewReader(io.LimitReader(in, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return agentid.Secret{}, fmt.Errorf("read the token: %w", err)
	}
	if line = strings.TrimSpace(line); line == "" {
		return agentid.Secret{}, usagef("give the token as an argument or on standard input")
	}
	return agentid.NewSecret(line), nil
}
