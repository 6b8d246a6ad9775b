package capability

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/agentid-dev/agentid"
)

const refundYAML = `
name: refund-customer
connector: stripe
arguments:
  customer: {type: id}
  max_amount: {type: integer, minimum: 1, maximum: 50000}
  currency: {type: currency, default: usd, one_of: [usd, eur]}
  reason: {type: string, default: requested_by_customer}
resource: "payments_customer:{customer}"
operations: [payments:refund, payments:read]
constraints:
  customer: {is: "{customer}"}
  amount: {max: "{max_amount}", currency: "{currency}", at_most_fact: charge.refundable}
  reason: {in: [duplicate, "{reason}"]}
  uses: {max: 1}
`

func refundTemplate(t testing.TB) Template {
	t.Helper()
	var tpl Template
	if err := yaml.Unmarshal([]byte(refundYAML), &tpl); err != nil {
		t.Fatal(err)
	}
	return tpl
}

func TestTemplateExpand(t *testing.T) {
	tpl := refundTemplate(t)
	if err := tpl.Validate(); err != nil {
		t.Fatal(err)
	}
	got, err := tpl.Expand("acme", map[string]any{"customer": "cus_123", "max_amount": int64(4200)})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"agentid_capability","identifier":"payments_customer:acme/cus_123","actions":["payments:read","payments:refund"],"constraints":{"amount":{"at_most_fact":"charge.refundable","currency":"usd","max":4200},"customer":{"is":"cus_123"},"reason":{"in":["duplicate","requested_by_customer"]},"uses":{"max":1}}}`
	if mustJSON(got) != want {
		t.Errorf("%s\nwant %s", mustJSON(got), want)
	}
	text, err := json.Marshal(tpl)
	if err != nil {
		t.Fatal(err)
	}
	var again Template
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if err := again.Validate(); err != nil {
		t.Fatal(err)
	}
	same, err := again.Expand("acme", map[string]any{"customer": "cus_123", "max_amount": int64(4200), "currency": "usd"})
	if err != nil || same.Digest() != got.Digest() {
		t.Errorf("through JSON: %s, %v", mustJSON(same), err)
	}
}

func TestTemplateArgumentsRefused(t *testing.T) {
	tpl := refundTemplate(t)
	good := map[string]any{"customer": "cus_123", "max_amount": int64(4200)}
	for _, c := range []struct {
		argument string
		value    any
	}{
		{"customer", nil},
		{"customer", ""},
		{"customer", "*"},
		{"customer", "a/b"},
		{"customer", "+"},
		{"customer", "a,b"},
		{"customer", "a:b"},
		{"customer", "a#b"},
		{"customer", "../x"},
		{"customer", "{max_amount}"},
		{"customer", `x","max":9`},
		{"customer", "сus_123"}, // a Cyrillic letter
		{"customer", strings.Repeat("a", 257)},
		{"customer", int64(7)},
		{"max_amount", int64(0)},
		{"max_amount", int64(50001)},
		{"max_amount", int64(-1)},
		{"max_amount", "4200"},
		{"max_amount", 4200.5},
		{"max_amount", 1e300},
		{"max_amount", true},
		{"max_amount", []any{int64(1)}},
		{"currency", "gbp"},
		{"currency", "USD"},
		{"currency", ""},
		{"reason", "a\x00b"},
		{"reason", strings.Repeat("a", 1025)},
		{"other", "x"},
		{"Customer", "x"},
	} {
		args := maps.Clone(good)
		args[c.argument] = c.value
		_, err := tpl.Expand("acme", args)
		wantError(t, err, agentid.KindInvalid, ReasonDetails, "arguments."+printable(c.argument))
	}
	_, err := tpl.Expand("acme", map[string]any{"customer": "cus_123"})
	wantError(t, err, agentid.KindInvalid, ReasonDetails, "arguments.max_amount")
	_, err = tpl.Expand("ac/me", good)
	wantError(t, err, agentid.KindInvalid, ReasonDetails, "")
	_, err = (Template{}).Expand("acme", nil)
	wantError(t, err, agentid.KindInvalid, ReasonDetails, "resource")
}

// TestArgumentCannotBreakOut: a text argument stays one text, whatever it holds.
func TestArgumentCannotBreakOut(t *testing.T) {
	tpl := refundTemplate(t)
	for _, text := range []string{`"],"max":9}`, `{max_amount}`, `\u0022`, `a"b`, `<script>`} {
		c, err := tpl.Expand("acme", map[string]any{"customer": "cus_1", "max_amount": int64(1), "reason": text})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if err := c.Constraints.Check(Inputs{"customer": "cus_1", "amount": Money{1, "usd"}, "reason": text}); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if limit, _ := c.Constraints.field("amount"); limit.max.amount != 1 {
			t.Errorf("%s raised the limit", text)
		}
	}
}

func TestTemplateValidateRefusals(t *testing.T) {
	number := func(n int64) *int64 { return &n }
	for name, c := range map[string]struct {
		change func(*Template)
		field  string
	}{
		"no name":       {func(t *Template) { t.Name = "" }, "name"},
		"odd name":      {func(t *Template) { t.Name = "Refund Customer" }, "name"},
		"no connector":  {func(t *Template) { t.Connector = "" }, "connector"},
		"odd connector": {func(t *Template) { t.Connector = "a/b" }, "connector"},
		"no resource":   {func(t *Template) { t.Resource = "" }, ""},
		"resource wildcard": {func(t *Template) {
			t.Resource = "payments_customer:*"
			delete(t.Arguments, "customer")
			delete(t.Constraints, "customer")
		}, ""},
		"resource type":       {func(t *Template) { t.Resource = "{customer}:x" }, ""},
		"partial hole":        {func(t *Template) { t.Resource = "payments_customer:x{customer}" }, "resource"},
		"partial limit":       {func(t *Template) { t.Constraints["customer"]["is"] = "x{customer}" }, "constraints.customer.is"},
		"nested hole":         {func(t *Template) { t.Constraints["customer"]["is"] = "{{customer}}" }, "constraints.customer.is"},
		"unknown hole":        {func(t *Template) { t.Constraints["customer"]["is"] = "{who}" }, "constraints.customer.is"},
		"unknown in a list":   {func(t *Template) { t.Constraints["reason"]["in"] = []any{"{who}"} }, "constraints.reason.in"},
		"unused argument":     {func(t *Template) { t.Arguments["extra"] = Argument{Type: ArgumentID} }, "arguments.extra"},
		"argument name":       {func(t *Template) { t.Arguments["A b"] = Argument{Type: ArgumentID} }, `arguments."A b"`},
		"no type":             {func(t *Template) { t.Arguments["customer"] = Argument{} }, "arguments.customer.type"},
		"unknown type":        {func(t *Template) { t.Arguments["customer"] = Argument{Type: "any"} }, "arguments.customer.type"},
		"integer as resource": {func(t *Template) { t.Arguments["customer"] = Argument{Type: ArgumentInteger} }, ""},
		"currency as amount":  {func(t *Template) { t.Arguments["max_amount"] = Argument{Type: ArgumentCurrency} }, "constraints.amount.max"},
		"bounds crossed": {func(t *Template) {
			t.Arguments["max_amount"] = Argument{Type: ArgumentInteger, Minimum: number(5), Maximum: number(4)}
		}, "arguments.max_amount.maximum"},
		"negative minimum":  {func(t *Template) { t.Arguments["max_amount"] = Argument{Type: ArgumentInteger, Minimum: number(-5)} }, "arguments.max_amount.maximum"},
		"bounds on a text":  {func(t *Template) { t.Arguments["customer"] = Argument{Type: ArgumentID, Maximum: number(5)} }, "arguments.customer"},
		"choice of numbers": {func(t *Template) { t.Arguments["max_amount"] = Argument{Type: ArgumentInteger, OneOf: []string{"1"}} }, "arguments.max_amount.one_of"},
		"empty choice":      {func(t *Template) { t.Arguments["customer"] = Argument{Type: ArgumentID, OneOf: []string{}} }, "arguments.customer.one_of"},
		"default type":      {func(t *Template) { t.Arguments["customer"] = Argument{Type: ArgumentID, Default: 7} }, "arguments.customer.default"},
		"default wildcard":  {func(t *Template) { t.Arguments["customer"] = Argument{Type: ArgumentID, Default: "*"} }, "arguments.customer.default"},
		"no operations":     {func(t *Template) { t.Operations = nil }, "actions"},
		"odd operation":     {func(t *Template) { t.Operations = []string{"payments:*"} }, "actions[0]"},
		"unknown kind":      {func(t *Template) { t.Constraints["amount"]["maximum"] = 5 }, "constraints.amount.maximum"},
		"fraction":          {func(t *Template) { t.Constraints["uses"]["max"] = 1.5 }, "constraints.uses.max"},
		"list in a list":    {func(t *Template) { t.Constraints["reason"]["in"] = []any{"{reason}", []any{"x"}} }, "constraints.reason.in"},
		"object":            {func(t *Template) { t.Constraints["reason"]["in"] = map[string]any{"a": 1} }, "arguments.reason"},
		"no value":          {func(t *Template) { t.Constraints["uses"]["max"] = nil }, "constraints.uses.max"},
	} {
		t.Run(name, func(t *testing.T) {
			tpl := refundTemplate(t)
			c.change(&tpl)
			wantError(t, tpl.Validate(), agentid.KindInvalid, "", c.field)
		})
	}
}
