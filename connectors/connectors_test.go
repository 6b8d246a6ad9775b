package connectors_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/connectors/payments"
)

func refund(t testing.TB) *connectors.Operation {
	t.Helper()
	o, ok := connectors.Builtin()["payments"].Operation("payments:refund")
	require.True(t, ok)
	return o
}

func TestBuiltinPayments(t *testing.T) {
	k := connectors.Builtin()["payments"]
	var names []string
	for _, o := range k.Operations() {
		names = append(names, o.Name)
		require.NotZero(t, o.Effect)
	}
	require.Equal(t, []string{"payments:preview_invoice", "payments:read_charge", "payments:read_customer", "payments:read_payment_intent", "payments:read_refund", "payments:refund"}, names)
	o := refund(t)
	require.Equal(t, connectors.Irreversible, o.Effect)
	require.True(t, o.Effect.Changes())
	require.Equal(t, []string{"amount", "charge", "currency", "customer", "payment_intent", "reason"}, o.Inputs())
	require.True(t, k.RefusesHeader("stripe-account"))
	require.True(t, k.ForwardsHeader("stripe-version"))
	require.False(t, k.ForwardsHeader("X-Other"))
	require.False(t, k.ForwardsHeader("Authorization"))
	require.Equal(t, connectors.Environment{BaseURL: []string{"STRIPE_API_BASE"}, Placeholder: []string{"STRIPE_API_KEY", "STRIPE_SECRET_KEY"}}, k.Environment)
}

func TestMatchRefusesWhatIsNotDeclared(t *testing.T) {
	k := connectors.Builtin()["payments"]
	o, params, err := k.Match("GET", []string{"v1", "customers", "cus_1"})
	require.NoError(t, err)
	require.Equal(t, "payments:read_customer", o.Name)
	require.Equal(t, map[string]string{"customer": "cus_1"}, params)
	for _, c := range [][]string{
		{"POST", "v1", "subscriptions", "sub_1"},
		{"DELETE", "v1", "customers", "cus_1"},
		{"POST", "v1", "customers", "cus_1"},
		{"GET", "v1", "customers"},
		{"GET", "v1", "customers", "cus_1", "x"},
		{"get", "v1", "customers", "cus_1"},
		{"GET"},
		{"", ""},
		{"GET", "v1", "refunds"},
		{"PUT", "v1", "refunds"},
		{"POST", "V1", "refunds"},
	} {
		_, _, err := k.Match(c[0], c[1:])
		require.Equal(t, "operation_unmatched", agentid.ReasonOf(err), "%v", c)
		require.Equal(t, agentid.KindForbidden, agentid.KindOf(err))
	}
}

func TestRefundInputs(t *testing.T) {
	o := refund(t)
	good, err := o.Parse(nil, "", "amount=4200&charge=ch_1&reason=duplicate&metadata[order]=a%20b&metadata%5Bx%5D=")
	require.NoError(t, err)
	require.Equal(t, "amount=4200&charge=ch_1&reason=duplicate&metadata%5Border%5D=a+b&metadata%5Bx%5D=", good.Body())
	require.Equal(t, "/v1/refunds", good.Path())

	for body, want := range map[string][2]string{
		"amount=1&amount=9&charge=ch_1":                    {"parameter_repeated", "amount"},
		"amount=1&%61mount=9&charge=ch_1":                  {"parameter_repeated", "amount"},
		"charge=ch_1":                                      {"parameter_missing", "amount"},
		"amount=1":                                         {"parameter_missing", "charge"},
		"amount=1&charge=ch_1&payment_intent=pi_1":         {"parameter_invalid", "payment_intent"},
		"amount=-1&charge=ch_1":                            {"parameter_invalid", "amount"},
		"amount=0&charge=ch_1":                             {"parameter_invalid", "amount"},
		"amount=10.5&charge=ch_1":                          {"parameter_invalid", "amount"},
		"amount=1e3&charge=ch_1":                           {"parameter_invalid", "amount"},
		"amount=%2B1&charge=ch_1":                          {"parameter_invalid", "amount"},
		"amount=010&charge=ch_1":                           {"parameter_invalid", "amount"},
		"amount=&charge=ch_1":                              {"parameter_invalid", "amount"},
		"amount=9007199254740993&charge=ch_1":              {"parameter_invalid", "amount"},
		"amount=99999999999999999999&charge=ch_1":          {"parameter_invalid", "amount"},
		"amount=1&charge=ch_1%00":                          {"form_malformed", ""},
		"amount=1&charge=ch_1%2f..":                        {"parameter_invalid", "charge"},
		"amount=1&charge=pi_1":                             {"parameter_invalid", "charge"},
		"amount=1&charge=ch_1%0a":                          {"parameter_invalid", "charge"},
		"amount=1&charge=ch_1;amount=9":                    {"form_malformed", ""},
		"amount[]=1&charge=ch_1":                           {"parameter_unknown", "amount[]"},
		"amount[0]=1&amount=1&charge=ch_1":                 {"parameter_unknown", "amount[0]"},
		"amount=1&charge=ch_1&reverse_transfer=true":       {"parameter_unknown", "reverse_transfer"},
		"amount=1&charge=ch_1&expand[]=charge":             {"parameter_unknown", "expand[]"},
		"amount=1&charge=ch_1&metadata=x":                  {"parameter_unknown", "metadata"},
		"amount=1&charge=ch_1&metadata[a][b]=x":            {"parameter_unknown", "metadata[a][b]"},
		"amount=1&charge=ch_1&metadata[]=x":                {"parameter_unknown", "metadata[]"},
		"amount=1&charge=ch_1&metadata[a]=1&metadata[a]=2": {"parameter_repeated", "metadata[a]"},
		"amount=1&charge=ch_1&reason=because":              {"parameter_invalid", "reason"},
		"amount=1&charge=ch_1&Amount=9":                    {"parameter_unknown", "Amount"},
		"amount=1&charge=ch_1&%ff=1":                       {"form_malformed", ""},
		"amount=%zz&charge=ch_1":                           {"form_malformed", ""},
	} {
		_, err := o.Parse(nil, "", body)
		require.Error(t, err, body)
		require.Equal(t, want[0], agentid.ReasonOf(err), body)
		require.Equal(t, want[1], agentid.AsError(err).Field, body)
		require.Equal(t, agentid.KindInvalid, agentid.KindOf(err), body)
	}
	_, err = o.Parse(nil, "amount=1", "amount=1&charge=ch_1")
	require.Equal(t, "parameter_unknown", agentid.ReasonOf(err))
	_, err = o.Parse(nil, "", strings.Repeat("metadata[a]=1&", 200)+"amount=1")
	require.Equal(t, "form_too_many", agentid.ReasonOf(err))
}

// TestPreviewInputs: a parameter may be spelled as the API does; it has one spelling still,
// and a refusal names it so.
func TestPreviewInputs(t *testing.T) {
	o, ok := connectors.Builtin()["payments"].Operation("payments:preview_invoice")
	require.True(t, ok)
	require.Equal(t, connectors.Read, o.Effect)
	require.Equal(t, []string{"amount", "currency", "customer"}, o.Inputs())
	const amount, currency = "invoice_items[0][amount]", "invoice_items[0][currency]"
	good, err := o.Parse(nil, "", "customer=cus_1&"+currency+"=usd&invoice_items%5B0%5D%5Bamount%5D=4200")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"customer": "cus_1", "currency": "usd", "amount": connectors.Money{Amount: 4200, Currency: "usd"}}, good.Inputs())
	require.Equal(t, map[string]any{"amount": int64(4200), "currency": "usd"}, good.Context())
	require.Equal(t, "customer=cus_1&invoice_items%5B0%5D%5Bcurrency%5D=usd&invoice_items%5B0%5D%5Bamount%5D=4200", good.Body())
	r, err := good.Resource("acme", "stripe")
	require.NoError(t, err)
	require.Equal(t, "payments_customer:acme/cus_1", r.String())
	for body, want := range map[string][2]string{
		"customer=cus_1&" + currency + "=usd":                                               {"parameter_missing", amount},
		"customer=cus_1&" + amount + "=1":                                                   {"parameter_missing", currency},
		amount + "=1&" + currency + "=usd":                                                  {"parameter_missing", "customer"},
		"customer=cus_1&" + currency + "=USD&" + amount + "=1":                              {"parameter_invalid", currency},
		"customer=cus_1&" + currency + "=usd&" + amount + "=-1":                             {"parameter_invalid", amount},
		"customer=cus_1&" + currency + "=usd&" + amount + "=1&" + amount + "=9":             {"parameter_repeated", amount},
		"customer=cus_1&" + currency + "=usd&" + amount + "=1&amount=9":                     {"parameter_unknown", "amount"},
		"customer=cus_1&" + currency + "=usd&" + amount + "=1&currency=usd":                 {"parameter_unknown", "currency"},
		"customer=cus_1&" + currency + "=usd&" + amount + "=1&invoice_items[1][amount]=9":   {"parameter_unknown", "invoice_items[1][amount]"},
		"customer=cus_1&" + currency + "=usd&" + amount + "=1&invoice_items[0][quantity]=9": {"parameter_unknown", "invoice_items[0][quantity]"},
		"customer=cus_1&" + currency + "=usd&" + amount + "=1&subscription=sub_1":           {"parameter_unknown", "subscription"},
		"customer=cus_1&customer=cus_2&" + currency + "=usd&" + amount + "=1":               {"parameter_repeated", "customer"},
	} {
		_, err := o.Parse(nil, "", body)
		require.Equal(t, want[0], agentid.ReasonOf(err), body)
		require.Equal(t, want[1], agentid.AsError(err).Field, body)
	}
}

func ask(t *testing.T, c *connectors.Call, answers map[string]string) error {
	t.Helper()
	for _, l := range c.Lookups() {
		path, ok := c.LookupPath(l)
		if !ok {
			continue
		}
		answer, known := answers[path]
		require.True(t, known, path)
		if err := c.Learn(l, []byte(answer)); err != nil {
			return err
		}
	}
	return nil
}

const charge = `{"id":"ch_1","object":"charge","customer":"cus_1","currency":"usd","amount":10000,"amount_refunded":5000,"payment_intent":"pi_1"}`

func TestRefundByPaymentIntentLearnsItsCharge(t *testing.T) {
	c, err := refund(t).Parse(nil, "", "amount=1000&payment_intent=pi_1")
	require.NoError(t, err)
	require.NoError(t, ask(t, c, map[string]string{
		"/v1/payment_intents/pi_1": `{"id":"pi_1","object":"payment_intent","latest_charge":"ch_1"}`,
		"/v1/charges/ch_1":         charge,
	}))
	r, err := c.Resource("acme", "stripe")
	require.NoError(t, err)
	require.Equal(t, "payments_customer:acme/cus_1", r.String())
	hold, ok := c.Hold()
	require.True(t, ok)
	require.Equal(t, "charge/ch_1", hold.Key)
	require.EqualValues(t, 1000, hold.Amount)
	require.Equal(t, connectors.Money{Amount: 5000, Currency: "usd"}, c.Facts()["charge.refundable"])
	require.Equal(t, connectors.Money{Amount: 1000, Currency: "usd"}, c.Inputs()["amount"])
	require.Equal(t, "cus_1", c.Inputs()["customer"])
	require.Equal(t, map[string]any{"amount": int64(1000), "currency": "usd"}, c.Context())
	// The fact is live: a later answer replaces it.
	require.NoError(t, c.Learn(hold.Lookup, []byte(strings.Replace(charge, "5000", "9000", 1))))
	require.EqualValues(t, 1000, c.Facts()["charge.refundable"].Amount)
	// Nothing else may change between two answers.
	require.Equal(t, "upstream_mismatch", agentid.ReasonOf(c.Learn(hold.Lookup, []byte(strings.Replace(charge, "cus_1", "cus_2", 1)))))
	require.Equal(t, "upstream_mismatch", agentid.ReasonOf(c.Learn(hold.Lookup, []byte(strings.Replace(charge, "usd", "eur", 1)))))
}

func TestChargeWithoutCustomerFallsToTheAccount(t *testing.T) {
	c, err := refund(t).Parse(nil, "", "amount=1000&charge=ch_1")
	require.NoError(t, err)
	require.NoError(t, ask(t, c, map[string]string{"/v1/charges/ch_1": strings.Replace(charge, `"cus_1"`, "null", 1)}))
	r, err := c.Resource("acme", "stripe")
	require.NoError(t, err)
	require.Equal(t, "payments_account:acme/stripe", r.String())
}

func TestUpstreamAnswerOfAnotherObjectIsRefused(t *testing.T) {
	for name, answer := range map[string]string{
		"other id":             strings.Replace(charge, "ch_1", "ch_2", 1),
		"other object":         strings.Replace(charge, `"object":"charge"`, `"object":"refund"`, 1),
		"no id":                strings.Replace(charge, `"id":"ch_1",`, "", 1),
		"amount a string":      strings.Replace(charge, "10000", `"10000"`, 1),
		"amount fractional":    strings.Replace(charge, "10000", `100.5`, 1),
		"amount absent":        strings.Replace(charge, `"amount":10000,`, "", 1),
		"currency upper case":  strings.Replace(charge, "usd", "USD", 1),
		"customer no id":       strings.Replace(charge, "cus_1", "../x", 1),
		"not json":             "<html>",
		"two documents":        charge + charge,
		"an array":             "[" + charge + "]",
		"no refundable amount": strings.Replace(charge, `"amount_refunded":5000,`, "", 1),
	} {
		c, err := refund(t).Parse(nil, "", "amount=1000&charge=ch_1")
		require.NoError(t, err)
		err = ask(t, c, map[string]string{"/v1/charges/ch_1": answer})
		require.Equal(t, "upstream_mismatch", agentid.ReasonOf(err), name)
		require.Equal(t, agentid.KindUpstream, agentid.KindOf(err), name)
	}
	c, err := refund(t).Parse(nil, "", "amount=1000&payment_intent=pi_1")
	require.NoError(t, err)
	err = ask(t, c, map[string]string{
		"/v1/payment_intents/pi_1": `{"id":"pi_1","object":"payment_intent","latest_charge":"ch_1"}`,
		"/v1/charges/ch_1":         strings.Replace(charge, "pi_1", "pi_2", 1),
	})
	require.Equal(t, "upstream_mismatch", agentid.ReasonOf(err), "a charge of another payment intent")
}

func TestResourcesStayInTheTenantAndTheConnector(t *testing.T) {
	k := connectors.Builtin()["payments"]
	ref := func(s string) agentid.Ref {
		r, err := agentid.ParseRef(s)
		require.NoError(t, err)
		return r
	}
	got, err := k.Resources("acme", "stripe", ref("payments_customer:acme/cus_1"))
	require.NoError(t, err)
	require.Equal(t, []agentid.Ref{ref("payments_customer:acme/cus_1"), ref("payments_account:acme/stripe")}, got)
	got, err = k.Resources("acme", "stripe", ref("payments_account:acme/stripe"))
	require.NoError(t, err)
	require.Len(t, got, 1)
	for _, bad := range []agentid.Ref{ref("payments_customer:other/cus_1"), ref("payments_account:acme/other"), ref("ticket:acme/1"), {}} {
		_, err := k.Resources("acme", "stripe", bad)
		require.Equal(t, "resource_foreign", agentid.ReasonOf(err))
	}
}

type constraints struct {
	fields, facts []string
	limited       bool
}

func (c constraints) Fields() []string    { return c.fields }
func (c constraints) Facts() []string     { return c.facts }
func (c constraints) Uses() (int64, bool) { return 1, c.limited }

func TestConstraintsThatAnOperationCannotHold(t *testing.T) {
	o := refund(t)
	require.NoError(t, o.CheckConstraints(constraints{[]string{"amount", "reason", "customer", "time", "client_ip"}, []string{"charge.refundable"}, true}))
	require.Equal(t, "constraints.colour", agentid.AsError(o.CheckConstraints(constraints{fields: []string{"colour"}})).Field)
	require.Equal(t, "constraints.charge.age", agentid.AsError(o.CheckConstraints(constraints{facts: []string{"charge.age"}})).Field)
	read, _ := connectors.Builtin()["payments"].Operation("payments:read_customer")
	require.Equal(t, "constraint_unsupported", agentid.ReasonOf(read.CheckConstraints(constraints{limited: true})))
	require.Error(t, read.CheckConstraints(constraints{fields: []string{"amount"}}))
}

func TestManifestFaultsNameThePath(t *testing.T) {
	text := string(payments.Manifest)
	for name, c := range map[string][3]string{
		"unknown key":         {"dialect: stripe", "dialect: stripe\ncolour: red", "colour"},
		"effect":              {"effect: irreversible", "effect: harmless", "operations.refund.effect"},
		"get with effect":     {"method: POST", "method: GET", "operations.refund.effect"},
		"input type":          {"amount: { in: form, type: money", "amount: { in: form, type: cash", "operations.refund.inputs.amount.type"},
		"unknown id":          {"charge: { in: form, type: id, id: charge }", "charge: { in: form, type: id, id: chrg }", "operations.refund.inputs.charge.id"},
		"loose id":            {"cus_[A-Za-z0-9_]{1,120}", ".*", "ids.customer"},
		"unknown lookup":      {"lookups: [payment_intent, charge]", "lookups: [intent, charge]", "operations.refund.lookups"},
		"lookup order":        {"lookups: [refund, charge]", "lookups: [charge, refund]", "operations.read_refund.lookups"},
		"unknown variable":    {"context: { amount: amount,", "context: { amount: sum,", "operations.refund.context.amount"},
		"hold fact":           {"fact: charge.refundable,", "fact: charge.left,", "operations.refund.hold.fact"},
		"own header":          {"forward: [Accept,", "forward: [Authorization,", "headers.forward"},
		"refused forwarded":   {"forward: [Accept,", "forward: [Stripe-Account,", "headers.forward"},
		"resource type":       {"resource: { type: payments_customer, name: customer }", "resource: { type: customer, name: customer }", "operations.read_customer.resource.type"},
		"path variable":       {"path: /v1/customers/{customer}\n    permission", "path: /v1/customers/{cus}\n    permission", "operations.read_customer"},
		"overlap":             {"path: /v1/customers/{customer}\n    permission", "path: /v1/charges/{customer}\n    permission", "operations"},
		"second document":     {"kind: payments", "kind: payments\n---\nkind: other", ""},
		"dialect":             {"dialect: stripe", "dialect: klingon", "dialect"},
		"loader's variable":   {"base_url: [STRIPE_API_BASE]", "base_url: [LD_PRELOAD]", "environment.base_url"},
		"our variable":        {"base_url: [STRIPE_API_BASE]", "base_url: [AGENTID_KEY]", "environment.base_url"},
		"shell's variable":    {"base_url: [STRIPE_API_BASE]", "base_url: [PATH]", "environment.base_url"},
		"variable twice":      {"placeholder: [STRIPE_API_KEY, STRIPE_SECRET_KEY]", "placeholder: [STRIPE_API_KEY, STRIPE_API_KEY]", "environment.placeholder"},
		"read by PUT":         {"effect: read\n    method: POST", "effect: read\n    method: PUT", "operations.preview_invoice.effect"},
		"odd parameter":       {`"invoice_items[0][amount]"`, `"invoice_items[][amount]"`, "operations.preview_invoice.inputs.amount.parameter"},
		"parameter twice":     {`"invoice_items[0][amount]"`, `"invoice_items[0][currency]"`, "operations.preview_invoice.inputs.currency.parameter"},
		"parameter in a path": {"in: path, type: id, id: charge", "in: path, parameter: ch, type: id, id: charge", "operations.read_charge.inputs.charge.parameter"},
		"enum without values": {", values: [duplicate, fraudulent, requested_by_customer]", "", "operations.refund.inputs.reason.values"},
	} {
		require.Contains(t, text, c[0], name)
		_, err := connectors.Compile([]byte(strings.Replace(text, c[0], c[1], 1)))
		require.Error(t, err, name)
		require.Contains(t, err.Error(), c[2], name)
	}
}

// FuzzParse: whatever is accepted is written anew so that parsing it again gives the
// same call: what policy saw is what the upstream reads.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"amount=1&charge=ch_1", "amount=1&amount=2", "metadata[a]=%E2%80%A8&amount=1&charge=ch_1", "a;b", "%"} {
		f.Add(seed)
	}
	o := refund(f)
	f.Fuzz(func(t *testing.T, body string) {
		c, err := o.Parse(nil, "", body)
		if err != nil {
			return
		}
		again, err := o.Parse(nil, "", c.Body())
		if err != nil || again.Body() != c.Body() || again.Digest() != c.Digest() {
			t.Fatalf("%q became %q: %v", body, c.Body(), err)
		}
	})
}
