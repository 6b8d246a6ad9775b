package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid"
)

// revocation is what the flags of agentid revoke say.
type revocation struct {
	id     identity
	conn   connection
	out    printer
	jti    string
	tenant string
	reason string
	filter []string
	dry    bool
}

func newRevoke() *cobra.Command {
	var r revocation
	cmd := &cobra.Command{
		Use: "revoke [TOKEN | REF]", Short: "Take something away: a token, an agent with its subtree, or all that a filter selects", Args: cobra.MaximumNArgs(1),
		Long: `Take something away. When the command returns, no request that starts afterwards is
allowed with it, at any gateway.

As the agent: give the token and the agent's key. As an administrator: give the ref of a
token, agent, principal, tenant, agent type or connector, or --tenant with --filter. What
is not a token is frozen for the reason: unfreeze brings it back.

A filter is key=value, repeatable: type, principal, created_before (RFC 3339) select
agents, which are frozen; operation and resource select the live tokens that hold such a
capability, which are revoked; all=true is every agent. What is made after the call is
never selected. --dry-run says what would stop, and takes nothing.` + connectionHelp,
		Example: `  agentid revoke --agent agent:acme/refunds-1 --key agent.key < token.txt
  agentid revoke agent:acme/refunds-1 --reason stolen --dry-run
  agentid revoke token:acme/3f2a…
  agentid revoke --tenant acme --filter type=refunds --filter created_before=2026-01-01T00:00:00Z
  agentid revoke --tenant acme --filter operation=payments:refund -o json`,
		RunE: func(cmd *cobra.Command, args []string) error { return r.run(cmd, args) },
	}
	r.id.flags(cmd)
	r.conn.flags(cmd)
	r.out.flag(cmd)
	f := cmd.Flags()
	f.StringVar(&r.jti, "jti", "", "the token's id, token:tenant/jti (administrator)")
	f.StringVar(&r.tenant, "tenant", env("AGENTID_TENANT", ""), "the tenant that --filter selects in")
	f.StringVar(&r.reason, "reason", "operator", "why")
	f.StringArrayVar(&r.filter, "filter", nil, "key=value; repeatable")
	f.BoolVar(&r.dry, "dry-run", false, "say what would stop, and take nothing")
	return cmd
}

func (r *revocation) run(cmd *cobra.Command, args []string) error {
	if err := r.out.check(); err != nil {
		return err
	}
	target := r.jti
	if target == "" && len(args) == 1 && isRef(args[0]) {
		target, args = args[0], nil
	}
	switch {
	case len(r.filter) > 0:
		if target != "" || len(args) > 0 {
			return usagef("give a target or --filter, not both")
		}
		return r.byFilter(cmd)
	case target != "":
		ref, err := agentid.ParseRef(target)
		if err != nil {
			return usagef("want the ref of a token, agent, principal, tenant, agent type or connector, have %q", target)
		}
		return r.ask(cmd, ref.Tenant(), object{"target": ref.String(), "reason": r.reason})
	case r.dry:
		return usagef("--dry-run: give a ref or --filter")
	}
	return r.own(cmd, args)
}

// isRef tells a ref from a token, which holds no colon.
func isRef(text string) bool { return strings.Contains(text, ":") }

// own takes a token back as the agent that holds it.
func (r *revocation) own(cmd *cobra.Command, args []string) error {
	token, err := tokenFrom(cmd.InOrStdin(), args)
	if err != nil {
		return err
	}
	agent, err := r.id.client()
	if err != nil {
		return err
	}
	if err := agent.Revoke(cmd.Context(), token); err != nil {
		return err //nolint:wrapcheck // a Refusal says it all
	}
	return say(cmd, "revoked")
}

func (r *revocation) byFilter(cmd *cobra.Command) error {
	if r.tenant == "" {
		return usagef("--tenant: name the tenant that --filter selects in")
	}
	filter, err := parseFilter(r.filter)
	if err != nil {
		return err
	}
	return r.ask(cmd, r.tenant, object{"filter": filter, "reason": r.reason})
}

// parseFilter reads key=value pairs.
func parseFilter(pairs []string) (object, error) {
	filter := object{}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if _, twice := filter[key]; !ok || value == "" || twice {
			return nil, usagef("--filter %s: want key=value, each key once", pair)
		}
		switch key {
		case "type", "principal", "operation", "resource":
			filter[key] = value
		case "created_before":
			if _, err := time.Parse(time.RFC3339, value); err != nil {
				return nil, usagef("--filter created_before: want a time such as 2026-01-31T12:00:00Z")
			}
			filter[key] = value
		case "all":
			if value != "true" {
				return nil, usagef("--filter all: want all=true")
			}
			filter[key] = true
		default:
			return nil, usagef("--filter %s: want type, principal, created_before, operation, resource or all", key)
		}
	}
	return filter, nil
}

func (r *revocation) ask(cmd *cobra.Command, tenant string, body object) error {
	path := "/tenants/" + url.PathEscape(tenant) + "/revocations"
	if r.dry {
		path += "?dry_run=true"
	}
	var item object
	if err := r.conn.call(cmd.Context(), http.MethodPost, path, body, &item); err != nil {
		return err
	}
	if r.out.format == "json" || r.dry {
		return r.out.one(cmd.OutOrStdout(), item)
	}
	return sayRevoked(cmd.OutOrStdout(), item)
}

// sayRevoked prints what a revocation came to, and how every gateway took it.
func sayRevoked(w io.Writer, item object) error {
	what := cell(item["target"])
	switch item["subject"] {
	case "agents":
		what = fmt.Sprintf("%s agents of %s", count(item["agents"]), what)
	case "tokens":
		what = fmt.Sprintf("%s tokens of %s", count(item["tokens"]), what)
	}
	note := ""
	if info, ok := item["information"].(string); ok {
		note = " (" + strings.ReplaceAll(info, "_", " ") + ")"
	}
	_, err := fmt.Fprintf(w, "revoked %s%s\n%s\n", what, note, gatewaysSaid(item))
	return err //nolint:wrapcheck // standard output is gone
}

// gatewaysSaid is one line about a receipt.
func gatewaysSaid(receipt object) string {
	return fmt.Sprintf("gateways %s: %s acknowledged, %s waited out; operations: %s cancelled, %s on the wire; %s ms",
		count(receipt["gateways"]), count(receipt["acknowledged"]), count(receipt["waited_out"]),
		count(receipt["cancelled"]), count(receipt["on_wire"]), count(receipt["milliseconds"]))
}

// count is a number that may be left out.
func count(v any) string {
	if v == nil {
		return "0"
	}
	return cell(v)
}

// thaw takes one reason away from many agents.
func (g group) thaw(ctx context.Context, conn *connection, tenant string, filter []string, reason string, item *object) error {
	selected, err := parseFilter(filter)
	if err != nil {
		return err
	}
	return conn.call(ctx, http.MethodPost, "/tenants/"+url.PathEscape(tenant)+"/agents/unfreeze", object{"filter": selected, "reason": reason}, item)
}
