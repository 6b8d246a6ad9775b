package capability

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agentid-dev/agentid"
)

// The generators draw from few values, so that limits meet, nest and clash often.
var (
	texts    = []string{"kv", "kv/", "kv/a", "kv/a/", "kv/a/b", "kv/ab", "x", "y"}
	numbers  = []int64{0, 1, 2, 3, MaxInteger}
	networks = []string{"0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "192.0.2.1/32", "::/0", "2001:db8::/32"}
	times    = []string{"2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"}
	fields   = []string{"a", "b", "uses"}
)

func genLimit(t *rapid.T, field string) map[string]any {
	out := map[string]any{}
	number := func() int64 { return rapid.SampledFrom(numbers).Draw(t, "number") }
	if field == fieldUses {
		out["max"] = 1 + number()%3
		return out
	}
	scalars := rapid.Custom(func(t *rapid.T) any {
		if rapid.Bool().Draw(t, "text?") {
			return rapid.SampledFrom(texts).Draw(t, "text")
		}
		return rapid.SampledFrom(numbers).Draw(t, "n")
	})
	for range rapid.IntRange(1, 2).Draw(t, "kinds") {
		switch rapid.IntRange(0, 7).Draw(t, "kind") {
		case 0:
			out["max"] = number()
		case 1:
			out["max"], out["currency"] = number(), rapid.SampledFrom([]string{"usd", "eur"}).Draw(t, "currency")
		case 2:
			out["in"] = rapid.SliceOfN(scalars, 1, 4).Draw(t, "in")
		case 3:
			out["is"] = scalars.Draw(t, "is")
		case 4:
			out["prefix"] = rapid.SampledFrom(texts).Draw(t, "prefix")
		case 5:
			out[rapid.SampledFrom([]string{"after", "before"}).Draw(t, "side")] = rapid.SampledFrom(times).Draw(t, "time")
		case 6:
			out["within"] = rapid.SliceOfN(rapid.SampledFrom(networks), 1, 3).Draw(t, "within")
		case 7:
			out["at_most_fact"] = rapid.SampledFrom([]string{"f", "g"}).Draw(t, "fact")
		}
	}
	return out
}

// genConstraints gives only what ParseConstraints accepts.
var genConstraints = rapid.Custom(func(t *rapid.T) Constraints {
	m := map[string]any{}
	for _, field := range rapid.SliceOfNDistinct(rapid.SampledFrom(fields), 0, 3, rapid.ID).Draw(t, "fields") {
		limit := genLimit(t, field)
		one, err := json.Marshal(map[string]any{field: limit})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseConstraints(one); err == nil {
			m[field] = limit
		}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseConstraints(raw)
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return c
})

var genValue = rapid.Custom(func(t *rapid.T) any {
	n := rapid.SampledFrom(append([]int64{-1, 4}, numbers...)).Draw(t, "number")
	switch rapid.IntRange(0, 4).Draw(t, "type") {
	case 0:
		return n
	case 1:
		return Money{n, rapid.SampledFrom([]string{"usd", "eur", "gbp"}).Draw(t, "currency")}
	case 2:
		at, _ := time.Parse(time.RFC3339, rapid.SampledFrom(times).Draw(t, "time"))
		return at.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "offset")) * time.Second)
	case 3:
		return netip.MustParseAddr(rapid.SampledFrom([]string{"10.0.0.1", "10.1.0.1", "10.200.0.1", "192.0.2.1", "203.0.113.1", "2001:db8::1", "2001:db9::1", "::ffff:10.1.0.1"}).Draw(t, "address"))
	}
	return rapid.SampledFrom(append([]string{"kv/a/b/c", "kv/../a", "z"}, texts...)).Draw(t, "text")
})

func genInputs(t *rapid.T) (Inputs, Facts) {
	in, facts := Inputs{}, Facts{}
	for _, field := range []string{"a", "b"} {
		if rapid.IntRange(0, 9).Draw(t, "present") > 0 {
			in[field] = genValue.Draw(t, "value")
		}
	}
	for _, fact := range []string{"f", "g"} {
		facts[fact] = rapid.SampledFrom([]any{Money{2, "usd"}, Money{3, "eur"}, int64(2), int64(0)}).Draw(t, "fact")
	}
	return in, facts
}

func allows(c Constraints, in Inputs, facts Facts) bool {
	return c.Check(in) == nil && c.CheckFacts(in, facts) == nil
}

// narrower gives a child that is often within its parent.
func narrower(t *rapid.T, parent Constraints) Constraints {
	child := genConstraints.Draw(t, "child")
	if rapid.Bool().Draw(t, "meet?") {
		if met, err := child.Meet(parent); err == nil {
			return met
		}
	}
	return child
}

// TestSubsetProperty: if Within(p, c), every input that c allows p allows.
func TestSubsetProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parent := genConstraints.Draw(t, "parent")
		child := narrower(t, parent)
		if child.Within(parent) != nil {
			return
		}
		for range 20 {
			in, facts := genInputs(t)
			if allows(child, in, facts) && !allows(parent, in, facts) {
				t.Fatalf("%s is within %s, and %v %v is allowed by the child only", mustJSON(child), mustJSON(parent), in, facts)
			}
		}
		own, limited := child.Uses()
		if most, has := parent.Uses(); has && (!limited || own > most) {
			t.Fatalf("uses %d within %d", own, most)
		}
	})
}

// TestMeetIsConjunction: the meet allows exactly what both allow, and is within both.
func TestMeetIsConjunction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genConstraints.Draw(t, "a"), genConstraints.Draw(t, "b")
		met, err := a.Meet(b)
		for range 20 {
			in, facts := genInputs(t)
			both := allows(a, in, facts) && allows(b, in, facts)
			if err != nil && both {
				t.Fatalf("%s ∧ %s is refused (%v), and %v %v satisfies both", mustJSON(a), mustJSON(b), err, in, facts)
			}
			if err == nil && both != allows(met, in, facts) {
				t.Fatalf("%s ∧ %s = %s: %v %v", mustJSON(a), mustJSON(b), mustJSON(met), in, facts)
			}
		}
		if err != nil {
			if e := agentid.AsError(err); e.Field == "" || e.Reason != ReasonEmpty {
				t.Fatal(err)
			}
			return
		}
		if met.Within(a) != nil || met.Within(b) != nil {
			t.Fatalf("%s ∧ %s = %s is not within both", mustJSON(a), mustJSON(b), mustJSON(met))
		}
	})
}

func TestMeetLaws(t *testing.T) {
	same := func(t *rapid.T, law string, x, y Constraints, xErr, yErr error) {
		if (xErr == nil) != (yErr == nil) || xErr == nil && x.Digest() != y.Digest() {
			t.Fatalf("%s: %s (%v) and %s (%v)", law, mustJSON(x), xErr, mustJSON(y), yErr)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := genConstraints.Draw(t, "a"), genConstraints.Draw(t, "b"), genConstraints.Draw(t, "c")
		ab, abErr := a.Meet(b)
		ba, baErr := b.Meet(a)
		same(t, "commutative", ab, ba, abErr, baErr)
		aa, aaErr := a.Meet(a)
		same(t, "idempotent", aa, a, aaErr, nil)
		var left, right Constraints
		leftErr := abErr
		if leftErr == nil {
			left, leftErr = ab.Meet(c)
		}
		bc, rightErr := b.Meet(c)
		if rightErr == nil {
			right, rightErr = a.Meet(bc)
		}
		same(t, "associative", left, right, leftErr, rightErr)
		if err := a.Within(a); err != nil {
			t.Fatalf("reflexive: %v", err)
		}
		if a.Within(b) == nil && b.Within(a) == nil && a.Digest() != b.Digest() {
			t.Fatalf("antisymmetric: %s and %s", mustJSON(a), mustJSON(b))
		}
		if a.Within(b) == nil && b.Within(c) == nil && a.Within(c) != nil {
			t.Fatalf("transitive: %s, %s, %s", mustJSON(a), mustJSON(b), mustJSON(c))
		}
	})
}

func TestCanonicalRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := genConstraints.Draw(t, "a")
		if b, err := a.Meet(genConstraints.Draw(t, "b")); err == nil {
			a = b
		}
		again, err := ParseConstraints(json.RawMessage(mustJSON(a)))
		if err != nil || mustJSON(again) != mustJSON(a) || again.Digest() != a.Digest() {
			t.Fatalf("%s: %s, %v", mustJSON(a), mustJSON(again), err)
		}
	})
}

// TestCheckNeverPanics: whatever the input's Go type, the answer is yes or no.
func TestCheckNeverPanics(t *testing.T) {
	odd := []any{nil, 1, uint8(1), 1.5, "x", []string{"x"}, map[string]any{}, &Money{}, struct{}{}, true, time.Second, fmt.Errorf("x"), (*time.Time)(nil)}
	rapid.Check(t, func(t *rapid.T) {
		c := genConstraints.Draw(t, "c")
		value := rapid.SampledFrom(odd).Draw(t, "value")
		_ = c.Check(Inputs{"a": value, "b": value})
		_ = c.CheckFacts(Inputs{"a": value, "b": value}, Facts{"f": value})
	})
}

func mustJSON(v json.Marshaler) string {
	out, err := v.MarshalJSON()
	if err != nil {
		return err.Error()
	}
	return string(out)
}
