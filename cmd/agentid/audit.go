package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
)

// auditFilter selects rows of the audit log.
type auditFilter struct {
	tenant, principal, agent, token, request, kind string
}

func (f *auditFilter) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.tenant, "tenant", "", "of this tenant")
	flags.StringVar(&f.principal, "principal", "", "for this principal, principal:tenant/name")
	flags.StringVar(&f.agent, "agent", "", "by this agent, agent:tenant/name")
	flags.StringVar(&f.token, "token", "", "with this token (jti)")
	flags.StringVar(&f.request, "request", "", "of this request id")
	flags.StringVar(&f.kind, "kind", "", "operation, issue, revoke, admin or authn")
}

func (f *auditFilter) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{
		"tenant": f.tenant, "principal": f.principal, "agent": f.agent, "token": f.token, "request": f.request, "kind": f.kind,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

var auditColumns = []string{"seq", "time", "kind", "phase", "decision", "reason", "operation", "resource", "agent", "principal"}

func newAudit() *cobra.Command {
	conn := &connection{}
	cmd := &cobra.Command{
		Use: "audit", Short: "Read and follow the audit log",
		Long: "Read and follow the audit log. Every decision, token, revocation and change is in it." + connectionHelp,
		Example: `  agentid audit show --tenant acme
  agentid audit show --request 3f9k… -o json
  agentid audit tail --kind operation`,
	}
	conn.flags(cmd)
	cmd.AddCommand(newAuditShow(conn), newAuditTail(conn))
	return cmd
}

func newAuditShow(conn *connection) *cobra.Command {
	var (
		out    printer
		filter auditFilter
		limit  int
	)
	cmd := &cobra.Command{
		Use: "show", Short: "Show the newest rows, oldest of them first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			q := filter.query()
			q.Set("limit", strconv.Itoa(limit))
			q.Set("newest", "true")
			var answer struct {
				Items []object `json:"items"`
			}
			if err := conn.call(cmd.Context(), http.MethodGet, "/audit?"+q.Encode(), nil, &answer); err != nil {
				return err
			}
			for i, j := 0, len(answer.Items)-1; i < j; i, j = i+1, j-1 {
				answer.Items[i], answer.Items[j] = answer.Items[j], answer.Items[i]
			}
			return out.list(cmd.OutOrStdout(), answer.Items, auditColumns...)
		},
	}
	filter.flags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 100, "how many rows, at most 1000")
	out.flag(cmd)
	return cmd
}

func newAuditTail(conn *connection) *cobra.Command {
	var (
		out    printer
		filter auditFilter
	)
	cmd := &cobra.Command{
		Use: "tail", Short: "Print rows as they are written, until interrupted", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			admin, err := conn.admin()
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			return admin.Stream(cmd.Context(), "/audit/tail?"+filter.query().Encode(), func(line json.RawMessage) error { //nolint:wrapcheck // a Refusal says it all
				if out.format == "json" {
					_, err := fmt.Fprintln(w, string(line))
					return err //nolint:wrapcheck // standard output is gone
				}
				var item object
				if err := json.Unmarshal(line, &item); err != nil {
					return fmt.Errorf("the broker's answer: %w", err)
				}
				_, err := fmt.Fprintf(w, "%s  %-9s %-6s %-5s %-24s %-28s %s  %s\n", cell(item["time"]), cell(item["kind"]), cell(item["phase"]),
					cell(item["decision"]), cell(item["reason"]), cell(item["operation"]), cell(item["resource"]), cell(item["agent"]))
				return err //nolint:wrapcheck // standard output is gone
			})
		},
	}
	filter.flags(cmd)
	out.flag(cmd)
	return cmd
}
