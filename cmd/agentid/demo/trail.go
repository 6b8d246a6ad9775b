package demo

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
)

// reasonOtherCustomer is what a token for one customer gets for another's charge.
const reasonOtherCustomer = "resource_not_permitted"

// auditRow is what the trail shows of a record.
type auditRow struct {
	Time      string `json:"time"`
	Kind      string `json:"kind"`
	Phase     string `json:"phase"`
	Agent     string `json:"agent"`
	Principal string `json:"principal"`
	Operation string `json:"operation"`
	Resource  string `json:"resource"`
	Decision  string `json:"decision"`
	Reason    string `json:"reason"`
	Policy    string `json:"policy_version"`
}

// auditTrail reads the log of it all.
func (s *story) auditTrail(ctx context.Context) error {
	s.page.title("The audit trail of it all")
	var answer struct {
		Items []auditRow `json:"items"`
	}
	if err := s.admin.Call(ctx, http.MethodGet, "/audit?tenant=acme&limit=1000", nil, &answer); err != nil {
		return err //nolint:wrapcheck // a Refusal says it all
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "KIND\tAGENT\tFOR\tPOLICY\tOPERATION\tRESOURCE\tPHASE\tDECISION")
	seen := map[string]bool{}
	complete := true
	for _, r := range answer.Items {
		if r.Kind == "admin" || r.Reason == "use_dpop_nonce" { // settings, and the first handshake
			continue
		}
		decision := r.Decision
		if r.Reason != "" {
			decision += " " + r.Reason
		}
		seen[r.Decision+" "+r.Reason] = true
		if r.Kind == "operation" && r.Agent != "" && (r.Principal == "" || r.Operation == "") {
			complete = complete && r.Reason == "operation_unmatched"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Kind, short(r.Agent), short(r.Principal), short12(r.Policy), dash(r.Operation), short(r.Resource), r.Phase, decision)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	s.page.note(strings.TrimRight(b.String(), "\n"))
	for _, reason := range []string{
		"", "uses_exhausted", "constraint_amount_max", "constraint_amount_at_most_fact", reasonOtherCustomer, "operation_unmatched", "agent_not_live",
	} {
		decision := "deny"
		if reason == "" {
			decision = "allow"
		}
		s.page.expect(seen[decision+" "+reason], "in the log: %s %s", decision, reason)
	}
	s.page.expect(complete, "each row of an operation names the agent, whom it acts for, and the operation")
	return nil
}

// short leaves the type and the tenant out of an id.
func short(ref string) string {
	if i := strings.LastIndexByte(ref, '/'); i >= 0 {
		return ref[i+1:]
	}
	return dash(ref)
}

func short12(s string) string {
	const n = 12
	if len(s) > n {
		return s[:n]
	}
	return dash(s)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
