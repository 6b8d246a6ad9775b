package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid/server/admin"
)

// errNotAdmitted is a token that resolves to nobody.
var errNotAdmitted = errors.New("the token resolves to no agent")

func newFederation() *cobra.Command {
	conn := &connection{}
	cmd := &cobra.Command{Use: "federation", Short: "Identities from outside: workload issuers and the rules that admit them", Long: "Identities from outside." + connectionHelp}
	conn.flags(cmd)
	cmd.AddCommand(newFederationTest(conn))
	issuers := group{
		use: "issuer", plural: "a tenant's workload issuers", short: "Workload issuers; declare them with agentid apply",
		typ: admin.KindWorkloadIssuer, segment: "workload-issuers", columns: []string{"tenant", "name", "type", "issuer"}, deletes: true,
	}
	rules := group{
		use: "rule", plural: "a tenant's enrolment rules", short: "Enrolment rules; declare them with agentid apply",
		typ: admin.KindEnrolmentRule, segment: "enrolment-rules", columns: []string{"tenant", "name", "issuer", "agent_type", "principal", "max_live"}, deletes: true,
	}
	cmd.AddCommand(issuers.command(conn), rules.command(conn))
	return cmd
}

func newFederationTest(conn *connection) *cobra.Command {
	var (
		out               printer
		tenant, file, use string
	)
	cmd := &cobra.Command{
		Use: "test --token FILE", Short: "Show step by step what a workload's or a person's token resolves to; enrol nobody", Args: cobra.NoArgs,
		Long: `Verify a token as the token endpoint would, and show each step: which issuer, which key,
audience and times, which rule, which agent type and principal; or the first step that fails,
and why. Nobody is enrolled, and the token is not used up. Exit code 1 when it resolves to no
agent.` + connectionHelp,
		Example: `  agentid federation test --tenant acme --token /var/run/secrets/tokens/agentid
  curl -sS "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=…" … | agentid federation test --token - -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if tenant == "" {
				return usagef("--tenant: name the tenant")
			}
			token, err := readToken(cmd.InOrStdin(), file)
			if err != nil {
				return err
			}
			var answer admin.Resolution
			path := "/tenants/" + url.PathEscape(tenant) + "/federation/test"
			if err := conn.call(cmd.Context(), http.MethodPost, path, object{"token": token, "use": use}, &answer); err != nil {
				return err
			}
			if err := printResolution(cmd.OutOrStdout(), &out, answer); err != nil {
				return err
			}
			if !answer.OK {
				return errNotAdmitted
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&tenant, "tenant", env("AGENTID_TENANT", ""), "the tenant")
	f.StringVar(&file, "token", "", "file that holds the token; - is standard input")
	f.StringVar(&use, "use", "grant", "how it is presented: grant, or client for client authentication")
	out.flag(cmd)
	return cmd
}

// readToken reads a token of at most 64 KiB.
func readToken(in io.Reader, file string) (string, error) {
	switch file {
	case "":
		return "", usagef("name the file that holds the token, or - for standard input")
	case "-":
	default:
		f, err := os.Open(file)
		if err != nil {
			return "", usageError{err}
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, 64<<10))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// plain takes out what a terminal would act on: a token's claims are somebody else's text.
func plain(text string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, text)
}

func printResolution(w io.Writer, out *printer, r admin.Resolution) error {
	if out.format == "json" {
		return out.json(w, r)
	}
	for _, c := range r.Checks {
		mark, why := "ok  ", c.Detail
		if !c.OK {
			mark = "FAIL"
		}
		if _, err := fmt.Fprintf(w, "%s  %-9s  %s\n", mark, c.Step, plain(why)); err != nil {
			return err
		}
	}
	if !r.OK {
		return nil
	}
	principal := r.Principal
	if principal == "" {
		principal = "whoever delegates to it"
	}
	_, err := fmt.Fprintf(w, "\n%s of rule %s, for %s\n", r.AgentType, r.Rule, principal)
	return err
}
