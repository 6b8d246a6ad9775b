package capability

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
)

func FuzzParseConstraints(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"amount":{"max":4200,"currency":"usd","at_most_fact":"charge.refundable"},"uses":{"max":1}}`,
		`{"reason":{"in":["a","b"]},"customer":{"is":"cus_1"},"path":{"prefix":"kv/app"}}`,
		`{"time":{"after":"2026-01-01T00:00:00Z","before":"2027-01-01T00:00:00+01:00"},"ip":{"within":["10.0.0.0/8","::/0"]}}`,
		`{"x":{"max":-1}}`, `{"x":{"in":[1,"1"]}}`, `{"x":{"prefix":"a/../b"}}`,
	} {
		f.Add([]byte(seed), []byte(seed))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		a, err := ParseConstraints(json.RawMessage(first))
		if err != nil {
			return
		}
		again, err := ParseConstraints(json.RawMessage(mustJSON(a)))
		if err != nil || again.Digest() != a.Digest() {
			t.Fatalf("%s: %s, %v", first, mustJSON(again), err)
		}
		if err := a.Within(a); err != nil {
			t.Fatal(err)
		}
		b, err := ParseConstraints(json.RawMessage(second))
		if err != nil {
			return
		}
		ab, abErr := a.Meet(b)
		ba, baErr := b.Meet(a)
		if (abErr == nil) != (baErr == nil) || ab.Digest() != ba.Digest() {
			t.Fatalf("%s ∧ %s: %v, %v", mustJSON(a), mustJSON(b), abErr, baErr)
		}
		if abErr == nil && (ab.Within(a) != nil || ab.Within(b) != nil) {
			t.Fatalf("%s ∧ %s = %s is not within both", mustJSON(a), mustJSON(b), mustJSON(ab))
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(`[` + goodDetail + `]`))
	f.Add([]byte(`[{"type":"agentid_template","template":"refund-customer","arguments":{"customer":"cus_123","max_amount":4200}}]`))
	f.Add([]byte(`[{"type":"agentid_capability"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRequest(data)
		if err != nil {
			return
		}
		for _, c := range r.Capabilities {
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			again, err := ParseRequest([]byte("[" + mustJSON(c) + "]"))
			if err != nil || again.Capabilities[0].Digest() != c.Digest() {
				t.Fatalf("%s: %v", mustJSON(c), err)
			}
		}
		for _, call := range r.Templates {
			for _, value := range call.Arguments {
				switch value.(type) {
				case string, int64:
				default:
					t.Fatalf("argument of type %T", value)
				}
			}
		}
	})
}

// FuzzExpand: whatever the arguments, an expansion is refused or is a capability of
// the tenant, for one resource, within the template's own bounds.
func FuzzExpand(f *testing.F) {
	tpl := refundTemplate(f)
	f.Add("acme", "cus_123", int64(4200), "duplicate")
	f.Add("acme", "*", int64(-1), `"],"max":9`)
	f.Fuzz(func(t *testing.T, tenant, customer string, amount int64, reason string) {
		c, err := tpl.Expand(tenant, map[string]any{"customer": customer, "max_amount": amount, "reason": reason})
		if err != nil {
			return
		}
		if c.Resource.Tenant() != tenant || c.Resource.Name() != customer || c.Resource.Type() != "payments_customer" {
			t.Fatalf("resource %s", c.Resource)
		}
		limit, ok := c.Constraints.field("amount")
		if !ok || limit.max == nil || limit.max.amount != amount || amount < 1 || amount > 50000 {
			t.Fatalf("%s", mustJSON(c))
		}
		if n, limited := c.Constraints.Uses(); !limited || n != 1 {
			t.Fatalf("%s", mustJSON(c))
		}
	})
}

// FuzzLineageClaims: whatever a payload says, it is refused, or is claims that hold together and
// read back as they are written.
func FuzzLineageClaims(f *testing.F) {
	c := delegated(f)
	f.Add([]byte(mustJSON(c)))
	for _, edit := range []func(*Claims){
		func(c *Claims) { c.Context.Chain = nil },
		func(c *Claims) { c.Context.Counters = nil },
		func(c *Claims) { c.Context.Attenuated = c.Lineage() },
		func(c *Claims) { c.Actor = c.Actor.Actor },
		func(c *Claims) { c.Context.Chain = []string{c.ID} },
	} {
		c := delegated(f)
		edit(&c)
		f.Add([]byte(mustJSON(c)))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		v, err := strictjson.Parse(payload, strictjson.Limits{Depth: tokenPolicy.Depth, Bytes: MaxTokenBytes})
		if err != nil || v.Kind() != strictjson.Object {
			return
		}
		c, err := claimsFrom(v)
		if err != nil {
			if agentid.KindOf(err) != agentid.KindInvalid {
				t.Fatalf("%v is not KindInvalid", err)
			}
			return
		}
		if len(c.Context.Chain) >= len(c.Lineage()) {
			t.Fatalf("a chain of %d below %d agents", len(c.Context.Chain), len(c.Lineage()))
		}
		for _, held := range c.Capabilities {
			counts := c.Counts(held)
			if most, limited := held.Constraints.Uses(); limited != (len(counts) > 0) || limited && counts[0].Max != most {
				t.Fatalf("%v counted as %v", held, counts)
			}
			for _, count := range counts[min(1, len(counts)):] {
				if !slices.Contains(c.Context.Chain, count.Token) || count.Max < counts[0].Max {
					t.Fatalf("%v in a chain %v", count, c.Context.Chain)
				}
			}
		}
		again, err := strictjson.Parse([]byte(mustJSON(c)), strictjson.Limits{Depth: tokenPolicy.Depth, Bytes: 4 * MaxTokenBytes})
		if err != nil {
			t.Fatal(err)
		}
		if back, err := claimsFrom(again); err != nil || mustJSON(back) != mustJSON(c) {
			t.Fatalf("%s\n%s\n%v", mustJSON(c), mustJSON(back), err)
		}
	})
}
