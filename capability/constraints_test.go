package capability

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/agentid-dev/agentid"
)

func mustParse(t testing.TB, text string) Constraints {
	t.Helper()
	c, err := ParseConstraints(json.RawMessage(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return c
}

func canonical(t testing.TB, c Constraints) string {
	t.Helper()
	out, err := c.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// wantError checks kind, reason and field; an empty reason or field is not looked at.
func wantError(t testing.TB, err error, kind agentid.Kind, reason, field string) {
	t.Helper()
	if err == nil {
		t.Error("accepted")
		return
	}
	e := agentid.AsError(err)
	if e.Kind != kind || reason != "" && e.Reason != reason || field != "" && e.Field != field {
		t.Errorf("kind %d, reason %q, field %q (%s); want kind %d, reason %q, field %q", e.Kind, e.Reason, e.Field, e.Message, kind, reason, field)
	}
}

func TestParseConstraintsCanonical(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: `{}`,
		`{"amount":{"currency":"usd","max":4200}}`:                 `{"amount":{"currency":"usd","max":4200}}`,
		`{"n":{"max":9007199254740992}}`:                           `{"n":{"max":9007199254740992}}`,
		`{"n":{"max":0}}`:                                          `{"n":{"max":0}}`,
		`{"reason":{"in":["b","a","b",3]}}`:                        `{"reason":{"in":[3,"a","b"]}}`,
		`{"reason":{"in":["a","b"],"is":"a"}}`:                     `{"reason":{"is":"a"}}`,
		`{"n":{"in":[1,5,9],"max":6}}`:                             `{"n":{"in":[1,5]}}`,
		`{"path":{"in":["kv/a/x","kv/b"],"prefix":"kv/a"}}`:        `{"path":{"in":["kv/a/x"]}}`,
		`{"time":{"after":"2026-01-01T01:00:00+01:00"}}`:           `{"time":{"after":"2026-01-01T00:00:00Z"}}`,
		`{"ip":{"within":["10.128.0.0/9","10.0.0.0/9"]}}`:          `{"ip":{"within":["10.0.0.0/8"]}}`,
		`{"ip":{"within":["10.0.0.0/8","10.1.0.0/16","::1/128"]}}`: `{"ip":{"within":["10.0.0.0/8","::1/128"]}}`,
		`{"amount":{"at_most_fact":["charge.refundable"]}}`:        `{"amount":{"at_most_fact":"charge.refundable"}}`,
		`{"uses":{"max":1}}`:                                       `{"uses":{"max":1}}`,
	} {
		if got := canonical(t, mustParse(t, text)); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// refusedConstraints are malformed, each with the field that the refusal names.
var refusedConstraints = map[string]string{
	``:      "constraints",
	`null`:  "constraints",
	`[]`:    "constraints",
	`{} {}`: "constraints",
	`{"amount":{"max":1},"amount":{"max":2}}`: "constraints",
	`{"amount":{"max":1},"Amount":{"max":2}}`: "constraints",
	`{"amount":{"max":1,"max":2}}`:            "constraints",
	`{"Amount":{"max":1}}`:                    `constraints."Amount"`,
	`{"a b":{"max":1}}`:                       `constraints."a b"`,
	`{"amount":5}`:                            "constraints.amount",
	`{"amount":{}}`:                           "constraints.amount",
	`{"amount":null}`:                         "constraints.amount",
	`{"amount":{"sum_max":1}}`:                "constraints.amount.sum_max",
	`{"amount":{"min":1}}`:                    "constraints.amount.min",
	`{"amount":{"Max":1}}`:                    `constraints.amount."Max"`,
	`{"amount":{"max":-1}}`:                   "constraints.amount.max",
	`{"amount":{"max":1.5}}`:                  "constraints.amount.max",
	`{"amount":{"max":1.0}}`:                  "constraints.amount.max",
	`{"amount":{"max":1e3}}`:                  "constraints.amount.max",
	`{"amount":{"max":9007199254740993}}`:     "constraints.amount.max",
	`{"amount":{"max":"42"}}`:                 "constraints.amount.max",
	`{"amount":{"max":true}}`:                 "constraints.amount.max",
	`{"amount":{"currency":"usd"}}`:           "constraints.amount.currency",
	`{"amount":{"max":1,"currency":"USD"}}`:   "constraints.amount.currency",
	`{"amount":{"max":1,"currency":"us"}}`:    "constraints.amount.currency",
	`{"amount":{"max":1,"currency":7}}`:       "constraints.amount.currency",
	`{"reason":{"in":[]}}`:                    "constraints.reason.in",
	`{"reason":{"in":"a"}}`:                   "constraints.reason.in",
	`{"reason":{"in":[["a"]]}}`:               "constraints.reason.in",
	`{"reason":{"in":[""]}}`:                  "constraints.reason.in",
	`{"reason":{"in":[1.5]}}`:                 "constraints.reason.in",
	`{"reason":{"in":[` + strings.TrimSuffix(strings.Repeat("1,", 65), ",") + `]}}`: "constraints.reason.in",
	`{"customer":{"is":null}}`:                                               "constraints.customer.is",
	`{"customer":{"is":"a\nb"}}`:                                             "constraints.customer.is",
	`{"customer":{"is":"` + strings.Repeat("a", 1025) + `"}}`:                "constraints.customer.is",
	`{"path":{"prefix":""}}`:                                                 "constraints.path.prefix",
	`{"path":{"prefix":"kv/../x"}}`:                                          "constraints.path.prefix",
	`{"path":{"prefix":"kv//x"}}`:                                            "constraints.path.prefix",
	`{"path":{"prefix":"./kv"}}`:                                             "constraints.path.prefix",
	`{"path":{"prefix":"kv%2f"}}`:                                            "constraints.path.prefix",
	`{"path":{"prefix":5}}`:                                                  "constraints.path.prefix",
	`{"time":{"after":"yesterday"}}`:                                         "constraints.time.after",
	`{"time":{"before":1767225600}}`:                                         "constraints.time.before",
	`{"ip":{"within":["10.0.0.1/8"]}}`:                                       "constraints.ip.within",
	`{"ip":{"within":["10.0.0.1"]}}`:                                         "constraints.ip.within",
	`{"ip":{"within":["::ffff:10.0.0.0/104"]}}`:                              "constraints.ip.within",
	`{"ip":{"within":[]}}`:                                                   "constraints.ip.within",
	`{"amount":{"at_most_fact":"x y"}}`:                                      "constraints.amount.at_most_fact",
	`{"amount":{"at_most_fact":[]}}`:                                         "constraints.amount.at_most_fact",
	`{"amount":{"at_most_fact":7}}`:                                          "constraints.amount.at_most_fact",
	`{"uses":{"max":0}}`:                                                     "constraints.uses.max",
	`{"uses":{"is":1}}`:                                                      "constraints.uses.is",
	`{"uses":{"max":1,"currency":"usd"}}`:                                    "constraints.uses.currency",
	`{"x":{"max":1,"prefix":"a"}}`:                                           "constraints.x",
	`{"x":{"max":1,"currency":"usd","is":1}}`:                                "constraints.x",
	`{"x":{"is":"a","in":["b"]}}`:                                            "constraints.x",
	`{"x":{"is":5,"max":4}}`:                                                 "constraints.x",
	`{"x":{"is":"a","at_most_fact":"f"}}`:                                    "constraints.x",
	`{"x":{"after":"2026-01-02T00:00:00Z","before":"2026-01-01T00:00:00Z"}}`: "constraints.x",
	manyFields(33):                                                           "constraints",
}

// manyFields constrains n inputs.
func manyFields(n int) string {
	fields := make([]string, n)
	for i := range n {
		fields[i] = fmt.Sprintf(`"f%d":{"max":1}`, i)
	}
	return "{" + strings.Join(fields, ",") + "}"
}

func TestParseConstraintsRefusals(t *testing.T) {
	for text, field := range refusedConstraints {
		t.Run(text[:min(len(text), 50)], func(t *testing.T) {
			_, err := ParseConstraints(json.RawMessage(text))
			wantError(t, err, agentid.KindInvalid, ReasonDetails, field)
		})
	}
}

func TestMeet(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{`{"amount":{"max":5,"currency":"usd"}}`, `{"amount":{"max":3,"currency":"usd"}}`, `{"amount":{"currency":"usd","max":3}}`},
		{`{"reason":{"in":["a","b"]}}`, `{"reason":{"in":["b","c"]}}`, `{"reason":{"in":["b"]}}`},
		{`{"reason":{"in":["a","b"]}}`, `{"reason":{"is":"b"}}`, `{"reason":{"is":"b"}}`},
		{`{"path":{"prefix":"kv"}}`, `{"path":{"prefix":"kv/app/"}}`, `{"path":{"prefix":"kv/app/"}}`},
		{`{"path":{"prefix":"kv/app"}}`, `{"path":{"in":["kv/app/x","kv/apple"]}}`, `{"path":{"in":["kv/app/x"]}}`},
		{`{"time":{"after":"2026-01-01T00:00:00Z"}}`, `{"time":{"before":"2026-02-01T00:00:00Z"}}`, `{"time":{"after":"2026-01-01T00:00:00Z","before":"2026-02-01T00:00:00Z"}}`},
		{`{"ip":{"within":["10.0.0.0/8"]}}`, `{"ip":{"within":["10.1.0.0/16","11.0.0.0/8"]}}`, `{"ip":{"within":["10.1.0.0/16"]}}`},
		{`{"uses":{"max":3}}`, `{"uses":{"max":1}}`, `{"uses":{"max":1}}`},
		{`{"amount":{"at_most_fact":"a.x"}}`, `{"amount":{"at_most_fact":"b.y","max":2}}`, `{"amount":{"at_most_fact":["a.x","b.y"],"max":2}}`},
		{`{"amount":{"max":1}}`, `{"reason":{"is":"x"}}`, `{"amount":{"max":1},"reason":{"is":"x"}}`},
		{`{}`, `{"uses":{"max":1}}`, `{"uses":{"max":1}}`},
	} {
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			got, err := mustParse(t, pair[0]).Meet(mustParse(t, pair[1]))
			if err != nil || canonical(t, got) != c.want {
				t.Errorf("%s ∧ %s = %s, %v; want %s", pair[0], pair[1], canonical(t, got), err, c.want)
			}
		}
	}
}

func TestEmptyMeetRefused(t *testing.T) {
	for _, c := range [][2]string{
		{`{"x":{"max":5,"currency":"usd"}}`, `{"x":{"max":3,"currency":"eur"}}`},
		{`{"x":{"max":5,"currency":"usd"}}`, `{"x":{"max":3}}`},
		{`{"x":{"in":["a"]}}`, `{"x":{"in":["b"]}}`},
		{`{"x":{"is":"a"}}`, `{"x":{"is":"b"}}`},
		{`{"x":{"is":"1"}}`, `{"x":{"is":1}}`},
		{`{"x":{"is":"a"}}`, `{"x":{"max":3}}`},
		{`{"x":{"is":7}}`, `{"x":{"max":3}}`},
		{`{"x":{"prefix":"kv/app"}}`, `{"x":{"prefix":"kv/apple"}}`},
		{`{"x":{"prefix":"kv/app"}}`, `{"x":{"is":"kv/apple"}}`},
		{`{"x":{"prefix":"kv/app"}}`, `{"x":{"max":1}}`},
		{`{"x":{"after":"2026-01-01T00:00:00Z"}}`, `{"x":{"before":"2026-01-01T00:00:00Z"}}`},
		{`{"x":{"within":["10.0.0.0/8"]}}`, `{"x":{"within":["11.0.0.0/8"]}}`},
		{`{"x":{"within":["10.0.0.0/8"]}}`, `{"x":{"after":"2026-01-01T00:00:00Z"}}`},
	} {
		for _, pair := range [][2]string{c, {c[1], c[0]}} {
			_, err := mustParse(t, pair[0]).Meet(mustParse(t, pair[1]))
			wantError(t, err, agentid.KindForbidden, ReasonEmpty, "constraints.x")
		}
	}
}

func TestWithin(t *testing.T) {
	for _, c := range []struct{ child, parent, field string }{
		{`{"amount":{"max":3,"currency":"usd"}}`, `{"amount":{"max":5,"currency":"usd"}}`, ""},
		{`{"amount":{"max":5,"currency":"usd"},"uses":{"max":1}}`, `{"amount":{"max":5,"currency":"usd"}}`, ""},
		{`{"x":{"is":"a"}}`, `{"x":{"in":["a","b"]}}`, ""},
		{`{"x":{"in":[1,2]}}`, `{"x":{"max":2}}`, ""},
		{`{"x":{"prefix":"kv/app/x"}}`, `{"x":{"prefix":"kv/app"}}`, ""},
		{`{"ip":{"within":["10.0.0.0/8"]}}`, `{"ip":{"within":["10.0.0.0/9","10.128.0.0/9"]}}`, ""},
		{`{"x":{"at_most_fact":["a","b"]}}`, `{"x":{"at_most_fact":"a"}}`, ""},
		{`{"amount":{"max":6,"currency":"usd"}}`, `{"amount":{"max":5,"currency":"usd"}}`, "constraints.amount.max"},
		{`{"amount":{"max":3,"currency":"eur"}}`, `{"amount":{"max":5,"currency":"usd"}}`, "constraints.amount.max"},
		{`{}`, `{"amount":{"max":5}}`, "constraints.amount"},
		{`{"x":{"in":["a","c"]}}`, `{"x":{"in":["a","b"]}}`, "constraints.x.in"},
		{`{"x":{"prefix":"kv/apple"}}`, `{"x":{"prefix":"kv/app"}}`, "constraints.x.prefix"},
		{`{"x":{"prefix":"kv"}}`, `{"x":{"prefix":"kv/app"}}`, "constraints.x.prefix"},
		{`{"uses":{"max":2}}`, `{"uses":{"max":1}}`, "constraints.uses.max"},
		{`{"amount":{"max":1}}`, `{"amount":{"max":1},"uses":{"max":1}}`, "constraints.uses"},
		{`{"t":{"after":"2026-01-01T00:00:00Z"}}`, `{"t":{"after":"2026-01-01T00:00:00Z","before":"2027-01-01T00:00:00Z"}}`, "constraints.t.before"},
		{`{"ip":{"within":["10.0.0.0/8"]}}`, `{"ip":{"within":["10.0.0.0/9"]}}`, "constraints.ip.within"},
		{`{"x":{"max":1}}`, `{"x":{"max":1,"at_most_fact":"a"}}`, "constraints.x.at_most_fact"},
	} {
		err := mustParse(t, c.child).Within(mustParse(t, c.parent))
		if c.field == "" {
			if err != nil {
				t.Errorf("%s ≤ %s: %v", c.child, c.parent, err)
			}
			continue
		}
		wantError(t, err, agentid.KindForbidden, ReasonExceeds, c.field)
	}
}

// TestWithinNamesBothValues: the refusal tells the caller what it has and what it may.
func TestWithinNamesBothValues(t *testing.T) {
	err := mustParse(t, `{"amount":{"max":6,"currency":"usd"}}`).Within(mustParse(t, `{"amount":{"max":5,"currency":"usd"}}`))
	if e := agentid.AsError(err); !strings.Contains(e.Message, `"max":6`) || !strings.Contains(e.Message, `"max":5`) {
		t.Fatal(e.Message)
	}
}

var checkTime = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func usd(n int64) Money { return Money{n, "usd"} }

// checks are inputs called x; an empty reason means that it is allowed.
var checks = []struct {
	constraints string
	value       any
	reason      string
}{
	{`{"x":{"max":4200,"currency":"usd"}}`, usd(4200), ""},
	{`{"x":{"max":4200,"currency":"usd"}}`, usd(0), ""},
	{`{"x":{"max":4200,"currency":"usd"}}`, usd(4201), "constraint_x_max"},
	{`{"x":{"max":4200,"currency":"usd"}}`, usd(-1), "constraint_x_invalid"},
	{`{"x":{"max":9007199254740992,"currency":"usd"}}`, usd(MaxInteger + 1), "constraint_x_invalid"},
	{`{"x":{"max":4200,"currency":"usd"}}`, Money{1, "eur"}, "constraint_x_currency"},
	{`{"x":{"max":4200,"currency":"usd"}}`, Money{1, "USD"}, "constraint_x_invalid"},
	{`{"x":{"max":4200,"currency":"usd"}}`, Money{1, ""}, "constraint_x_invalid"},
	{`{"x":{"max":4200,"currency":"usd"}}`, int64(1), "constraint_x_type"},
	{`{"x":{"max":4200,"currency":"usd"}}`, 1, "constraint_x_type"},
	{`{"x":{"max":4200,"currency":"usd"}}`, "1", "constraint_x_type"},
	{`{"x":{"max":4200,"currency":"usd"}}`, nil, "constraint_x_type"},
	{`{"x":{"max":4200,"currency":"usd"}}`, 1.5, "constraint_x_type"},
	{`{"x":{"max":3}}`, int64(3), ""},
	{`{"x":{"max":3}}`, int64(4), "constraint_x_max"},
	{`{"x":{"max":3}}`, int64(-4), "constraint_x_invalid"},
	{`{"x":{"max":3}}`, usd(1), "constraint_x_type"},
	{`{"x":{"in":["a","b"]}}`, "b", ""},
	{`{"x":{"in":["a","b"]}}`, "c", "constraint_x_in"},
	{`{"x":{"in":["a","b"]}}`, int64(1), "constraint_x_in"},
	{`{"x":{"in":["a","b"]}}`, usd(1), "constraint_x_type"},
	{`{"x":{"is":"a"}}`, "a", ""},
	{`{"x":{"is":"a"}}`, "A", "constraint_x_is"},
	{`{"x":{"is":"1"}}`, int64(1), "constraint_x_type"},
	{`{"x":{"is":1}}`, int64(1), ""},
	{`{"x":{"is":1}}`, "1", "constraint_x_type"},
	{`{"x":{"prefix":"kv/app"}}`, "kv/app", ""},
	{`{"x":{"prefix":"kv/app"}}`, "kv/app/x", ""},
	{`{"x":{"prefix":"kv/app"}}`, "kv/apple", "constraint_x_prefix"},
	{`{"x":{"prefix":"kv/app/"}}`, "kv/app", "constraint_x_prefix"},
	{`{"x":{"prefix":"kv/app"}}`, "kv/app/../root", "constraint_x_prefix"},
	{`{"x":{"prefix":"kv/app"}}`, "kv/app/./x", "constraint_x_prefix"},
	{`{"x":{"prefix":"kv/app"}}`, "kv/app//x", "constraint_x_prefix"},
	{`{"x":{"prefix":"kv/app"}}`, "kv/app/%2e%2e/x", "constraint_x_prefix"},
	{`{"x":{"prefix":"kv/app"}}`, `kv/app/..\x`, "constraint_x_prefix"},
	{`{"x":{"prefix":"kv/app"}}`, "kv/app/\x00", "constraint_x_prefix"},
	{`{"x":{"prefix":"kv/app"}}`, int64(1), "constraint_x_type"},
	{`{"x":{"after":"2026-01-01T12:00:00Z"}}`, checkTime, ""},
	{`{"x":{"after":"2026-01-01T12:00:01Z"}}`, checkTime, "constraint_x_after"},
	{`{"x":{"before":"2026-01-01T12:00:00Z"}}`, checkTime, "constraint_x_before"},
	{`{"x":{"before":"2026-01-01T12:00:01Z"}}`, checkTime, ""},
	{`{"x":{"before":"2026-01-01T12:00:01Z"}}`, time.Time{}, "constraint_x_type"},
	{`{"x":{"before":"2026-01-01T12:00:01Z"}}`, "2026-01-01T12:00:00Z", "constraint_x_type"},
	{`{"x":{"within":["10.0.0.0/8"]}}`, netip.MustParseAddr("10.1.2.3"), ""},
	{`{"x":{"within":["10.0.0.0/8"]}}`, netip.MustParseAddr("::ffff:10.1.2.3"), ""},
	{`{"x":{"within":["10.0.0.0/8"]}}`, netip.MustParseAddr("11.1.2.3"), "constraint_x_within"},
	{`{"x":{"within":["10.0.0.0/8"]}}`, netip.Addr{}, "constraint_x_type"},
	{`{"x":{"within":["10.0.0.0/8"]}}`, "10.1.2.3", "constraint_x_type"},
	{`{"x":{"at_most_fact":"f"}}`, usd(1), ""},
	{`{"x":{"at_most_fact":"f"}}`, usd(-1), "constraint_x_invalid"},
	{`{"x":{"at_most_fact":"f"}}`, "1", "constraint_x_type"},
	{`{"x":{"at_most_fact":"f","is":3}}`, int64(3), ""},
	{`{"x":{"at_most_fact":"f","is":3}}`, int64(2), "constraint_x_is"},
	{`{"x":{"at_most_fact":"f","is":3}}`, usd(3), "constraint_x_type"},
}

func TestCheck(t *testing.T) {
	for _, c := range checks {
		err := mustParse(t, c.constraints).Check(Inputs{"x": c.value})
		if c.reason == "" {
			if err != nil {
				t.Errorf("%s with %v: %v", c.constraints, c.value, err)
			}
			continue
		}
		wantError(t, err, agentid.KindForbidden, c.reason, "x")
	}
	wantError(t, mustParse(t, `{"amount":{"max":1}}`).Check(Inputs{"other": int64(1)}), agentid.KindForbidden, "constraint_amount_missing", "amount")
	if err := mustParse(t, `{"uses":{"max":1}}`).Check(nil); err != nil {
		t.Errorf("uses is not an input: %v", err)
	}
	if err := (Constraints{}).Check(Inputs{"anything": 1}); err != nil {
		t.Error(err)
	}
}

func TestCheckFacts(t *testing.T) {
	c := mustParse(t, `{"amount":{"max":9000,"currency":"usd","at_most_fact":["charge.refundable","budget.left"]}}`)
	if got := c.Facts(); len(got) != 2 || got[0] != "budget.left" {
		t.Fatal(got)
	}
	in := Inputs{"amount": Money{4200, "usd"}}
	both := func(refundable any) Facts {
		return Facts{"charge.refundable": refundable, "budget.left": Money{5000, "usd"}}
	}
	if err := c.CheckFacts(in, both(Money{4200, "usd"})); err != nil {
		t.Fatal(err)
	}
	const reason = "constraint_amount_at_most_fact"
	for name, facts := range map[string]Facts{
		"too little left": both(Money{4199, "usd"}),
		"other currency":  both(Money{9000, "eur"}),
		"negative":        both(Money{-1, "usd"}),
		"number":          both(int64(9000)),
		"text":            both("9000"),
		"missing":         {"charge.refundable": Money{9000, "usd"}},
		"none":            nil,
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, c.CheckFacts(in, facts), agentid.KindForbidden, reason, "amount")
		})
	}
	wantError(t, c.CheckFacts(Inputs{}, both(Money{9000, "usd"})), agentid.KindForbidden, "constraint_amount_type", "amount")
	wantError(t, c.CheckFacts(Inputs{"amount": Money{-5, "usd"}}, both(Money{9000, "usd"})), agentid.KindForbidden, "constraint_amount_invalid", "amount")
}

func TestAccessors(t *testing.T) {
	c := mustParse(t, `{"uses":{"max":2},"amount":{"max":5,"currency":"usd","at_most_fact":"f"},"reason":{"in":["a"]}}`)
	if got := fmt.Sprint(c.Fields()); got != "[amount reason]" {
		t.Error(got)
	}
	if n, limited := c.Uses(); n != 2 || !limited {
		t.Error(n, limited)
	}
	if n, limited := (Constraints{}).Uses(); n != 0 || limited {
		t.Error(n, limited)
	}
	if got := fmt.Sprint(c.Terms()); got != "[{amount max} {amount at_most_fact} {reason in} {uses max}]" {
		t.Error(got)
	}
	if !(Constraints{}).IsZero() || c.IsZero() {
		t.Error("IsZero")
	}
	other := mustParse(t, `{"reason":{"in":["a","a"]},"amount":{"at_most_fact":["f"],"currency":"usd","max":5},"uses":{"max":2}}`)
	if c.Digest() != other.Digest() || len(c.Digest()) != 43 || c.Digest() == (Constraints{}).Digest() {
		t.Error(c.Digest(), other.Digest())
	}
}
