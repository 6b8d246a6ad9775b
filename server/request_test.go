package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/auditlog"
)

func parseAgent(s string) (agentid.Ref, error) { return agentid.ParseRefAs(agentid.TypeAgent, s) }

// detail is one capability for cus_123 with these constraints.
func detail(constraints string) string {
	return `[{"type":"agentid_capability","identifier":"payments_customer:acme/cus_123","actions":["payments:refund"],"constraints":` + constraints + `}]`
}

func TestTokenRequests(t *testing.T) {
	w := newWorld(t)
	w.mint(w.agent)
	template := func(name, arguments string) string {
		return `[{"type":"agentid_template","template":"` + name + `","arguments":` + arguments + `}]`
	}
	both := `[{"type":"agentid_capability","identifier":"payments_customer:acme/cus_123","actions":["payments:refund","payments:read_customer"]}]`
	const invalidDetails = "invalid_authorization_details"
	for _, c := range []struct {
		name   string
		form   []string
		status int
		code   string // "": granted
		reason string
		field  string
	}{
		{name: "no constraints", form: []string{"authorization_details", detail(`{}`)}},
		{name: "template", form: []string{"authorization_details", template("refund-customer", `{"customer":"cus_123","max_amount":4200}`)}},
		{name: "template chooses its connector", form: []string{"resource", "", "authorization_details", template("refund-customer", `{"customer":"cus_123","max_amount":4200}`)}},
		{name: "capability on the account", form: []string{"authorization_details", strings.Replace(details, "payments_customer:acme/cus_123", "payments_account:acme/stripe", 1)}},
		{name: "audience is resource", form: []string{"resource", "", "audience", resource}},
		{name: "both say the same", form: []string{"audience", resource}},
		{name: "scope", form: []string{"scope", "payments:refund"}},
		{name: "empty scope is omitted", form: []string{"client_id", "agent:acme/ag-1"}},
		{name: "unknown parameters are ignored", form: []string{"color", "blue"}},

		{name: "no grant type", form: []string{"grant_type", ""}, status: 400, code: "invalid_request", reason: "invalid_request", field: "grant_type"},
		{name: "password grant", form: []string{"grant_type", "password"}, status: 400, code: "unsupported_grant_type", reason: "unsupported_grant_type", field: "grant_type"},
		{name: "code grant", form: []string{"grant_type", "authorization_code"}, status: 401, code: "invalid_client", reason: "credential_method", field: "client_assertion"},
		{name: "token exchange without a subject", form: []string{"grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"}, status: 400, code: "invalid_request", reason: "invalid_request", field: "subject_token"},
		{name: "no details", form: []string{"authorization_details", ""}, status: 400, code: invalidDetails, reason: invalidDetails, field: "authorization_details"},
		{name: "scope alone", form: []string{"authorization_details", "", "scope", "payments:refund"}, status: 400, code: invalidDetails, reason: invalidDetails, field: "authorization_details"},
		{name: "details are no array", form: []string{"authorization_details", `{}`}, status: 400, code: invalidDetails, reason: invalidDetails, field: "authorization_details"},
		{name: "empty array", form: []string{"authorization_details", `[]`}, status: 400, code: invalidDetails, reason: invalidDetails, field: "authorization_details"},
		{name: "unknown type", form: []string{"authorization_details", `[{"type":"payment_initiation"}]`}, status: 400, code: invalidDetails, reason: invalidDetails, field: "authorization_details[0].type"},
		{name: "unknown field", form: []string{"authorization_details", strings.Replace(details, `"actions"`, `"locations":[],"actions"`, 1)}, status: 400, code: invalidDetails, reason: invalidDetails, field: "authorization_details[0].locations"},
		{name: "unknown constraint", form: []string{"authorization_details", detail(`{"amount":{"around":42}}`)}, status: 400, code: invalidDetails, reason: invalidDetails, field: "authorization_details[0].constraints.amount.around"},
		{name: "duplicate key", form: []string{"authorization_details", strings.Replace(details, `"type"`, `"type":"agentid_capability","type"`, 1)}, status: 400, code: invalidDetails, reason: invalidDetails, field: "authorization_details"},
		{name: "fraction", form: []string{"authorization_details", detail(`{"amount":{"max":42.5,"currency":"usd"}}`)}, status: 400, code: invalidDetails, reason: invalidDetails, field: "authorization_details[0].constraints.amount.max"},
		{name: "over 2^53", form: []string{"authorization_details", detail(`{"amount":{"max":9007199254740993,"currency":"usd"}}`)}, status: 400, code: invalidDetails, reason: invalidDetails, field: "authorization_details[0].constraints.amount.max"},
		{name: "input that the operation lacks", form: []string{"authorization_details", detail(`{"color":{"is":"blue"}}`)}, status: 400, code: invalidDetails, reason: "constraint_unsupported", field: "constraints.color"},
		{name: "unknown operation", form: []string{"authorization_details", strings.Replace(details, "payments:refund", "payments:payout", 1)}, status: 400, code: invalidDetails, reason: "operation_unknown", field: "actions"},
		{name: "unknown kind", form: []string{"authorization_details", strings.Replace(details, "payments:refund", "tickets:close", 1)}, status: 400, code: invalidDetails, reason: "operation_unknown", field: "actions"},
		{name: "another tenant's resource", form: []string{"authorization_details", strings.Replace(details, "acme", "rival", 1)}, status: 400, code: invalidDetails, reason: "tenant_mismatch", field: "identifier"},
		{name: "wildcard", form: []string{"authorization_details", strings.Replace(details, "cus_123", "*", 1)}, status: 400, code: invalidDetails, reason: invalidDetails, field: "authorization_details[0].identifier"},
		{name: "an agent as resource", form: []string{"authorization_details", strings.Replace(details, "payments_customer:acme/cus_123", "agent:acme/ag-1", 1)}, status: 400, code: invalidDetails, reason: "resource_type", field: "identifier"},
		{name: "another connector's account", form: []string{"authorization_details", strings.Replace(details, "payments_customer:acme/cus_123", "payments_account:acme/open", 1)}, status: 400, code: invalidDetails, reason: "resource_foreign", field: "identifier"},
		{name: "unknown template", form: []string{"authorization_details", template("refund-all", `{}`)}, status: 400, code: invalidDetails, reason: "template_unknown", field: "template"},
		{name: "template argument over its maximum", form: []string{"authorization_details", template("refund-customer", `{"customer":"cus_123","max_amount":5001}`)}, status: 400, code: invalidDetails, reason: invalidDetails, field: "arguments.max_amount"},
		{name: "template argument missing", form: []string{"authorization_details", template("refund-customer", `{"customer":"cus_123"}`)}, status: 400, code: invalidDetails, reason: invalidDetails, field: "arguments.max_amount"},
		{name: "wildcard in a template", form: []string{"authorization_details", template("refund-customer", `{"customer":"*","max_amount":1}`)}, status: 400, code: invalidDetails, reason: invalidDetails, field: "arguments.customer"},
		{name: "template of another connector", form: []string{"resource", resourceBearer, "authorization_details", template("refund-customer", `{"customer":"cus_123","max_amount":1}`)}, status: 400, code: "invalid_target", reason: "invalid_target", field: "resource"},
		{name: "two kinds", form: []string{"authorization_details", strings.Replace(both, "payments:read_customer", "tickets:read", 1)}, status: 400, code: "invalid_target", reason: "invalid_target", field: "resource"},
		{name: "unknown resource", form: []string{"resource", "https://elsewhere.example"}, status: 400, code: "invalid_target", reason: "invalid_target", field: "resource"},
		{name: "another tenant's connector", form: []string{"resource", strings.ReplaceAll(resource, "acme", "rival")}, status: 400, code: "invalid_target", reason: "invalid_target", field: "resource"},
		{name: "trailing slash", form: []string{"resource", resource + "/"}, status: 400, code: "invalid_target", reason: "invalid_target", field: "resource"},
		{name: "fragment", form: []string{"resource", resource + "#x"}, status: 400, code: "invalid_target", reason: "invalid_target", field: "resource"},
		{name: "several connectors and none named", form: []string{"resource", ""}, status: 400, code: "invalid_target", reason: "invalid_target", field: "resource"},
		{name: "resource and audience differ", form: []string{"audience", "https://elsewhere.example"}, status: 400, code: "invalid_target", reason: "invalid_target", field: "resource"},
		{name: "scope beyond the capabilities", form: []string{"scope", "payments:refund payments:read_customer"}, status: 400, code: "invalid_scope", reason: "scope_not_granted", field: "scope"},
		{name: "scope with two spaces", form: []string{"scope", "payments:refund  x"}, status: 400, code: "invalid_scope", reason: "invalid_scope", field: "scope"},
		{name: "scope with a quote", form: []string{"scope", `a"b`}, status: 400, code: "invalid_scope", reason: "invalid_scope", field: "scope"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.tb = t
			resp, doc := w.do(w.agent, w.tokenCall(c.form...))
			if c.code == "" {
				require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
				require.Equal(t, auditlog.Allow, w.audited(resp).Decision)
				return
			}
			w.refused(resp, doc, c.status, c.code, c.reason)
			require.Equal(t, c.field, fieldOf(doc), "%v", doc)
		})
	}
	w.tb = t
	t.Run("scope narrows", func(t *testing.T) {
		w.tb = t
		_, doc := w.mint(w.agent, "authorization_details", both, "scope", "payments:read_customer")
		require.Equal(t, "payments:read_customer", doc["scope"])
		require.Contains(t, fmt.Sprint(doc["authorization_details"]), "[payments:read_customer]")
	})
	w.tb = t
}

func fieldOf(doc map[string]any) string { s, _ := doc["field"].(string); return s }

func TestTokenForms(t *testing.T) {
	w := newWorld(t)
	good := w.tokenCall().form.Encode()
	for _, c := range []struct {
		name, body, kind, query string
		status                  int
		code, reason, field     string
	}{
		{name: "repeated parameter", body: good + "&grant_type=client_credentials", status: 400, code: "invalid_request", reason: "parameter_repeated", field: "grant_type"},
		{name: "repeated unknown parameter", body: good + "&x=1&x=2", status: 400, code: "invalid_request", reason: "parameter_repeated", field: "x"},
		{name: "quote in a repeated name", body: good + "&%22%5C%C3%A9=1&%22%5C%C3%A9=2", status: 400, code: "invalid_request", reason: "parameter_repeated", field: "'/?"},
		{name: "JSON", body: `{"grant_type":"client_credentials"}`, kind: "application/json", status: 415, code: "invalid_request", reason: "unsupported_media_type", field: "Content-Type"},
		{name: "multipart", body: good, kind: "multipart/form-data; boundary=x", status: 415, code: "invalid_request", reason: "unsupported_media_type", field: "Content-Type"},
		{name: "query", body: good, query: "?client_id=x", status: 400, code: "invalid_request", reason: "invalid_request", field: "query"},
		{name: "over the cap", body: "x=" + strings.Repeat("a", 70_000), status: 413, code: "invalid_request", reason: "body_too_large"},
		{name: "semicolon", body: good + ";x=1", status: 400, code: "invalid_request", reason: "form_malformed"},
		{name: "empty body", body: "", status: 400, code: "invalid_request", reason: "invalid_request", field: "grant_type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.tb = t
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.base+"/acme/oauth2/token"+c.query, strings.NewReader(c.body))
			require.NoError(t, err)
			kind := c.kind
			if kind == "" {
				kind = "application/x-www-form-urlencoded"
			}
			req.Header.Set("Content-Type", kind)
			resp, doc := w.send(req)
			w.refused(resp, doc, c.status, c.code, c.reason)
			require.Equal(t, c.field, fieldOf(doc))
		})
	}
	w.tb = t
	t.Run("two resources", func(t *testing.T) {
		w.tb = t
		w.do(w.agent, w.tokenCall()) // learns a nonce
		for _, name := range []string{"resource", "audience"} {
			c := w.tokenCall("resource", "")
			c.form[name] = []string{resource, resourceBearer}
			resp, doc := w.do(w.agent, c)
			w.refused(resp, doc, 400, "invalid_target", "invalid_target")
		}
	})
	w.tb = t
	t.Run("GET", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.base+"/acme/oauth2/token?"+url.Values{"grant_type": {"client_credentials"}}.Encode(), nil)
		require.NoError(t, err)
		resp, doc := w.send(req)
		require.Equal(t, 405, resp.StatusCode)
		require.Equal(t, "method_not_allowed", doc["reason"])
	})
}

func TestTooManyCapabilities(t *testing.T) {
	w := newWorld(t)
	one := strings.Trim(details, "[]")
	w.mint(w.agent)
	resp, doc := w.do(w.agent, w.tokenCall("authorization_details", "["+strings.Repeat(one+",", capability.MaxCapabilities)+one+"]"))
	w.refused(resp, doc, 400, "invalid_authorization_details", "invalid_authorization_details")
}
