package capability

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/agentid-dev/agentid"
)

const goodDetail = `{"type":"agentid_capability","identifier":"payments_customer:acme/cus_123","actions":["payments:refund","payments:read"],"constraints":{"amount":{"max":4200,"currency":"usd"},"uses":{"max":1}}}`

func mustCapability(t testing.TB, text string) Capability {
	t.Helper()
	var c Capability
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return c
}

func TestParseRequest(t *testing.T) {
	r, err := ParseRequest([]byte(`[` + goodDetail + `,
		{"type":"agentid_template","template":"refund-customer","arguments":{"customer":"cus_123","max_amount":4200}},
		{"type":"agentid_template","template":"read-all"}]`))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Capabilities) != 1 || len(r.Templates) != 2 {
		t.Fatalf("%+v", r)
	}
	c := r.Capabilities[0]
	if c.Resource.String() != "payments_customer:acme/cus_123" || fmt.Sprint(c.Operations) != "[payments:read payments:refund]" {
		t.Errorf("%+v", c)
	}
	call := r.Templates[0]
	if call.Template != "refund-customer" || call.Arguments["customer"] != "cus_123" || call.Arguments["max_amount"] != int64(4200) {
		t.Errorf("%+v", call)
	}
	if got := mustJSON(c); got != `{"type":"agentid_capability","identifier":"payments_customer:acme/cus_123","actions":["payments:read","payments:refund"],"constraints":{"amount":{"currency":"usd","max":4200},"uses":{"max":1}}}` {
		t.Error(got)
	}
}

func TestParseRequestRefusals(t *testing.T) {
	with := func(old, fresh string) string { return "[" + strings.Replace(goodDetail, old, fresh, 1) + "]" }
	many := strings.TrimSuffix(strings.Repeat(goodDetail+",", 33), ",")
	const d = "authorization_details"
	for text, field := range map[string]string{
		``:                        d,
		`null`:                    d,
		`{}`:                      d,
		`[]`:                      d,
		goodDetail:                d,
		`[` + goodDetail + `] x`:  d,
		`[` + many + `]`:          d,
		`[5]`:                     d + "[0]",
		`[` + goodDetail + `,{}]`: d + "[1].type",
		with(`"agentid_capability"`, `"payment_initiation"`):                     d + "[0].type",
		with(`"agentid_capability"`, `7`):                                        d + "[0].type",
		with(`"type":`, `"Type":`):                                               d + "[0].type",
		with(`"type":`, `"locations":["x"],"type":`):                             d + "[0].locations",
		with(`"type":`, `"foo":1,"type":`):                                       d + "[0].foo",
		with(`"type":`, `"actions":["a:b"],"type":`):                             d,
		with(`"type":`, `"Actions":["a:b"],"type":`):                             d,
		with(`"identifier":"payments_customer:acme/cus_123",`, ``):               d + "[0].identifier",
		with(`payments_customer:acme/cus_123`, `payments_customer:acme/*`):       d + "[0].identifier",
		with(`payments_customer:acme/cus_123`, `payments_customer:acme/a/b`):     d + "[0].identifier",
		with(`payments_customer:acme/cus_123`, `payments_customer:acme/`):        d + "[0].identifier",
		with(`payments_customer:acme/cus_123`, `payments_customer`):              d + "[0].identifier",
		with(`payments_customer:acme/cus_123`, `payments_customer:acme/сus_123`): d + "[0].identifier",
		with(`payments_customer:acme/cus_123`, `tenant:acme`):                    d + "[0].identifier",
		with(`["payments:refund","payments:read"]`, `"payments:refund"`):         d + "[0].actions",
		with(`["payments:refund","payments:read"]`, `[]`):                        d + "[0].actions",
		with(`["payments:refund","payments:read"]`, `[1]`):                       d + "[0].actions[0]",
		with(`["payments:refund","payments:read"]`, `["payments:*"]`):            d + "[0].actions[0]",
		with(`["payments:refund","payments:read"]`, `["refund"]`):                d + "[0].actions[0]",
		with(`["payments:refund","payments:read"]`, `["a:b","a:b"]`):             d + "[0].actions[1]",
		with(`"max":4200`, `"max":-1`):                                           d + "[0].constraints.amount.max",
		with(`"max":4200`, `"max":42.5`):                                         d + "[0].constraints.amount.max",
		with(`"max":4200`, `"max":9007199254740993`):                             d + "[0].constraints.amount.max",
		with(`"max":4200`, `"maximum":4200`):                                     d + "[0].constraints.amount.maximum",
		with(`"currency":"usd"`, `"currency":"dollar"`):                          d + "[0].constraints.amount.currency",
		with(`{"amount"`, `[{"amount"`):                                          d,
		with(`"constraints":{`, `"constraints":null,"x":{`):                      d + "[0].x",
		`[{"type":"agentid_template"}]`:                                          d + "[0].template",
		`[{"type":"agentid_template","template":"A b"}]`:                         d + "[0].template",
		`[{"type":"agentid_template","template":"x","arguments":[]}]`:            d + "[0].arguments",
		`[{"type":"agentid_template","template":"x","arguments":{"A":1}}]`:       d + `[0].arguments."A"`,
		`[{"type":"agentid_template","template":"x","arguments":{"a":1.5}}]`:     d + "[0].arguments.a",
		`[{"type":"agentid_template","template":"x","arguments":{"a":null}}]`:    d + "[0].arguments.a",
		`[{"type":"agentid_template","template":"x","arguments":{"a":{"b":1}}}]`: d + "[0].arguments.a",
		`[{"type":"agentid_template","template":"x","constraints":{}}]`:          d + "[0].constraints",
		`[` + strings.Repeat(" ", 40_000) + goodDetail + `]`:                     d,
		strings.Repeat("[", 10_000):                                              d,
		`[{"type":"agentid_capability","identifier":"payments_customer:acme/c","actions":["a:b"],"constraints":{"x":{"in":[[[1]]]}}}]`: d,
	} {
		t.Run(text[:min(len(text), 60)], func(t *testing.T) {
			_, err := ParseRequest([]byte(text))
			wantError(t, err, agentid.KindInvalid, ReasonDetails, field)
		})
	}
}

func TestPermits(t *testing.T) {
	c := mustCapability(t, goodDetail)
	other, err := agentid.ResourceRef("payments_customer", "acme", "cus_9")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := agentid.ResourceRef("payments_customer", "other", "cus_123")
	if err != nil {
		t.Fatal(err)
	}
	if !c.Permits("payments:refund", c.Resource) {
		t.Error("refused")
	}
	if c.Permits("payments:update", c.Resource) || c.Permits("", c.Resource) || c.Permits("payments:refund", other) ||
		c.Permits("payments:refund", foreign) || c.Permits("payments:refund", agentid.Ref{}) || (Capability{}).Permits("", agentid.Ref{}) {
		t.Error("allowed")
	}
}

func TestCapabilityWithin(t *testing.T) {
	parent := mustCapability(t, goodDetail)
	change := func(old, fresh string) Capability {
		return mustCapability(t, strings.Replace(goodDetail, old, fresh, 1))
	}
	if err := parent.Within(parent); err != nil {
		t.Error(err)
	}
	if err := change(`"max":4200`, `"max":10`).Within(parent); err != nil {
		t.Error(err)
	}
	if err := change(`,"payments:read"`, ``).Within(parent); err != nil {
		t.Error(err)
	}
	for _, c := range []struct{ old, fresh, field string }{
		{`cus_123`, `cus_124`, "identifier"},
		{`:acme/`, `:other/`, "identifier"},
		{`"payments:read"`, `"payments:read","payments:update"`, "actions"},
		{`"max":4200`, `"max":4201`, "constraints.amount.max"},
		{`"usd"`, `"eur"`, "constraints.amount.max"},
		{`,"uses":{"max":1}`, ``, "constraints.uses"},
		{`"uses":{"max":1}`, `"uses":{"max":2}`, "constraints.uses.max"},
	} {
		wantError(t, change(c.old, c.fresh).Within(parent), agentid.KindForbidden, ReasonExceeds, c.field)
	}
	wantError(t, (Capability{Resource: parent.Resource}).Within(parent), agentid.KindForbidden, ReasonExceeds, "actions")
	wantError(t, (Capability{}).Within(Capability{}), agentid.KindForbidden, ReasonExceeds, "identifier")
}

func TestWithinLists(t *testing.T) {
	a := mustCapability(t, goodDetail)
	b := mustCapability(t, strings.Replace(goodDetail, "cus_123", "cus_9", 1))
	wider := mustCapability(t, strings.Replace(goodDetail, `"max":4200`, `"max":9000`, 1))
	if err := Within([]Capability{b, a}, []Capability{a, b}, nil); err != nil {
		t.Error(err)
	}
	wantError(t, Within([]Capability{a, wider}, []Capability{b, a}, nil), agentid.KindForbidden, ReasonExceeds, "authorization_details[1].constraints.amount.max")
	wantError(t, Within([]Capability{a}, nil, nil), agentid.KindForbidden, ReasonExceeds, "authorization_details[0].identifier")

	account := a
	account.Resource, _ = agentid.ResourceRef("payments_account", "acme", "stripe")
	ancestry := func(r agentid.Ref) ([]agentid.Ref, error) {
		return []agentid.Ref{r, account.Resource}, nil
	}
	if err := Within([]Capability{a}, []Capability{account}, ancestry); err != nil {
		t.Error(err)
	}
	wantError(t, Within([]Capability{a}, []Capability{account}, nil), agentid.KindForbidden, ReasonExceeds, "authorization_details[0].identifier")
	broken := func(agentid.Ref) ([]agentid.Ref, error) { return nil, agentid.Unavailable("x", nil) }
	if err := Within([]Capability{a}, []Capability{account}, broken); err == nil {
		t.Error("an error of the ancestry allowed")
	}
}

func TestCapabilityDigest(t *testing.T) {
	a := mustCapability(t, goodDetail)
	b := mustCapability(t, strings.Replace(goodDetail, `["payments:refund","payments:read"]`, `["payments:read","payments:refund"]`, 1))
	c := mustCapability(t, strings.Replace(goodDetail, "4200", "4201", 1))
	if a.Digest() != b.Digest() || a.Digest() == c.Digest() || len(a.Digest()) != 43 {
		t.Error(a.Digest(), b.Digest(), c.Digest())
	}
	if got := Scope([]Capability{a, b}); got != "payments:read payments:refund" {
		t.Error(got)
	}
}

// genCapability draws from few resources and operations.
var genCapability = rapid.Custom(func(t *rapid.T) Capability {
	ref, err := agentid.ResourceRef("thing", "acme", rapid.SampledFrom([]string{"one", "two"}).Draw(t, "resource"))
	if err != nil {
		t.Fatal(err)
	}
	ops := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x:a", "x:b", "x:c"}), 1, 3, rapid.ID).Draw(t, "operations")
	slices.Sort(ops)
	return Capability{Resource: ref, Operations: ops, Constraints: genConstraints.Draw(t, "constraints")}
})

// TestCapabilitySubsetProperty: what a child permits, its parent permits.
func TestCapabilitySubsetProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		children := rapid.SliceOfN(genCapability, 1, 3).Draw(t, "children")
		parents := append(rapid.SliceOfN(genCapability, 0, 3).Draw(t, "parents"), children[1:]...)
		if Within(children, parents, nil) != nil {
			return
		}
		in, facts := genInputs(t)
		for _, child := range children {
			for _, op := range child.Operations {
				if !allows(child.Constraints, in, facts) {
					continue
				}
				if !slices.ContainsFunc(parents, func(p Capability) bool {
					return p.Permits(op, child.Resource) && allows(p.Constraints, in, facts)
				}) {
					t.Fatalf("%s on %s with %v is allowed by the child only", op, child.Resource, in)
				}
			}
		}
	})
}

func TestCapabilityRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := genCapability.Draw(t, "capability")
		r, err := ParseRequest([]byte("[" + mustJSON(c) + "]"))
		if err != nil || len(r.Capabilities) != 1 || r.Capabilities[0].Digest() != c.Digest() {
			t.Fatalf("%s: %v", mustJSON(c), err)
		}
	})
}
