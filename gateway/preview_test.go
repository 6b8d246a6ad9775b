package gateway_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
)

func preview(customer string, amount int64, currency string) sending {
	return sending{
		method: http.MethodPost, path: "/v1/invoices/create_preview",
		body: fmt.Sprintf("customer=%s&invoice_items[0][currency]=%s&invoice_items[0][amount]=%d", customer, currency, amount),
	}
}

// TestAPreviewIsAReadWithinItsAmount: an amount that was never asked for is held against
// the token's constraint and the tenant's caveat each time, and nothing is reserved.
func TestAPreviewIsAReadWithinItsAmount(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant(`{"amount":{"max":4200,"currency":"usd"}}`, "payments:preview_invoice"))
	wide := w.token(nil, w.grant("", "payments:preview_invoice"))
	reads := w.token(nil, w.grant("", "payments:read_customer"))
	for _, amount := range []int64{1, 4199, 4200} {
		a := w.send(token, preview("cus_1", amount, "usd"))
		require.Equal(t, http.StatusOK, a.status, a.body)
		require.Contains(t, a.body, fmt.Sprintf(`"amount_due":%d`, amount))
		require.Equal(t, auditlog.Single, w.last().Phase, "one record, as of every read")
		require.Equal(t, "payments:preview_invoice", w.last().Operation)
	}
	sent := len(w.sent.of(http.MethodPost))
	for name, c := range map[string]struct {
		token  string
		send   sending
		status int
		reason string
	}{
		"over the token's limit":   {token, preview("cus_1", 4201, "usd"), 403, "constraint_amount_max"},
		"another currency":         {token, preview("cus_1", 1, "eur"), 403, "constraint_amount_currency"},
		"over the tenant's limit":  {wide, preview("cus_1", policytest.Limit+1, "usd"), 403, "policy_denied"},
		"currency by policy":       {wide, preview("cus_1", 1, "eur"), 403, "policy_denied"},
		"another customer":         {wide, preview("cus_2", 1, "usd"), 403, "resource_not_permitted"},
		"a token for reads":        {reads, preview("cus_1", 1, "usd"), 403, "operation_not_permitted"},
		"an amount under no limit": {token, sending{method: "POST", path: "/v1/invoices/create_preview", body: "customer=cus_1&invoice_items[0][currency]=usd&invoice_items[1][amount]=9"}, 400, "parameter_unknown"},
		"an invoice":               {wide, sending{method: "POST", path: "/v1/invoices", body: "customer=cus_1", key: "k"}, 403, "operation_unmatched"},
	} {
		a := w.send(c.token, c.send)
		require.Equal(t, c.status, a.status, "%s: %s", name, a.body)
		require.Equal(t, c.reason, a.reason(), name)
	}
	require.Len(t, w.sent.of(http.MethodPost), sent, "what is refused is not forwarded")
}
