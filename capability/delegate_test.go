package capability

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"pgregory.net/rapid"

	"github.com/agentid-dev/agentid"
)

// delegated are claims of a leaf's token that was made from its parent's, whose one
// capability is counted.
func delegated(t testing.TB) Claims {
	c := goodClaims(t)
	counted := mustCapability(t, `{"type":"agentid_capability","identifier":"payments_customer:acme/cus_123","actions":["payments:refund"],"constraints":{"uses":{"max":1}}}`)
	c.Capabilities, c.Scope = []Capability{counted}, "payments:refund"
	c.Context.Counters = map[string][]Counter{counted.Digest(): {{Token: "jti-0", Capability: counted.Digest(), Max: 2}}}
	return c
}

func TestCountersAreHeldTogether(t *testing.T) {
	good := delegated(t)
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	digest := good.Capabilities[0].Digest()
	one := func(c Counter) map[string][]Counter { return map[string][]Counter{digest: {c}} }
	long := make([]Counter, 2)
	long[0], long[1] = Counter{"jti-0", digest, 2}, Counter{"jti-0", digest, 2}
	for name, edit := range map[string]func(*Claims){
		"of a token outside the chain": func(c *Claims) { c.Context.Counters = one(Counter{"jti-9", digest, 2}) },
		"of the token itself":          func(c *Claims) { c.Context.Counters = one(Counter{c.ID, digest, 2}) },
		"below the use":                func(c *Claims) { c.Context.Counters = one(Counter{"jti-0", digest, 0}) },
		"negative":                     func(c *Claims) { c.Context.Counters = one(Counter{"jti-0", digest, -1}) },
		"too large":                    func(c *Claims) { c.Context.Counters = one(Counter{"jti-0", digest, MaxInteger + 1}) },
		"no digest":                    func(c *Claims) { c.Context.Counters = one(Counter{"jti-0", "x", 2}) },
		"twice":                        func(c *Claims) { c.Context.Counters = map[string][]Counter{digest: long} },
		"empty":                        func(c *Claims) { c.Context.Counters = map[string][]Counter{digest: {}} },
		"of another capability":        func(c *Claims) { c.Context.Counters = map[string][]Counter{LineageDigest(nil): {{"jti-0", digest, 2}}} },
		"of an uncounted capability":   func(c *Claims) { c.Capabilities[0].Constraints = Constraints{} },
		"without a chain":              func(c *Claims) { c.Context.Chain = nil },
		"chain beyond the ancestors":   func(c *Claims) { c.Context.Chain = []string{"jti-0", "jti-00"} },
		"chain with the token":         func(c *Claims) { c.Context.Counters, c.Context.Chain = nil, []string{c.ID} },
	} {
		t.Run(name, func(t *testing.T) {
			c := delegated(t)
			edit(&c)
			if err := c.Validate(); agentid.KindOf(err) != agentid.KindInvalid {
				t.Fatalf("%v", err)
			}
			if _, err := Sign(c, newTokenKit(t).ed); err == nil {
				t.Fatal("was signed")
			}
		})
	}
}

func TestCountersAreReadStrictly(t *testing.T) {
	kit := newTokenKit(t)
	good := mustJSON(delegated(t))
	verify := func(payload string) error {
		_, err := kit.verifier(t).Verify(t.Context(), kit.raw(tokenHeader, payload))
		return err
	}
	if err := verify(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"unknown member": {`"max":2`, `"max":2,"min":1`},
		"fraction":       {`"max":2`, `"max":2.5`},
		"text":           {`"max":2`, `"max":"2"`},
		"absent":         {`,"max":2`, ``},
		"not a list":     {`[{"token":"jti-0"`, `{"a":[{"token":"jti-0"`},
		"null":           {`"token":"jti-0"`, `"token":null`},
	} {
		t.Run(name, func(t *testing.T) {
			payload := strings.Replace(good, change[0], change[1], 1)
			if name == "not a list" {
				payload = strings.Replace(payload, `"max":2}]`, `"max":2}]}`, 1)
			}
			if payload == good {
				t.Fatal("nothing was changed")
			}
			if err := verify(payload); agentid.ReasonOf(err) != ReasonMalformed {
				t.Fatal(err)
			}
		})
	}
}

// TestDelegateProperty: down a line of random delegations, every step is within the one
// above or refused, and each counted capability is counted on one capability of every
// token above it, down from the first that was counted.
func TestDelegateProperty(t *testing.T) {
	resource := ref(t, "payments_customer:acme/cus_123")
	operations := []string{"payments:read", "payments:refund"}
	rapid.Check(t, func(t *rapid.T) {
		draw := func() Capability {
			ops := rapid.SliceOfNDistinct(rapid.SampledFrom(operations), 1, 2, rapid.ID).Draw(t, "operations")
			return Capability{Resource: resource, Operations: ops, Constraints: genConstraints.Draw(t, "constraints")}
		}
		parent := Claims{ID: "t0", Capabilities: []Capability{draw(), draw()}}
		for _, id := range []string{"t1", "t2", "t3"} {
			asked := draw()
			if from := rapid.SampledFrom(parent.Capabilities).Draw(t, "from"); rapid.Bool().Draw(t, "narrow?") {
				asked.Operations = from.Operations[:1]
				if met, err := asked.Constraints.Meet(from.Constraints); err == nil {
					asked.Constraints = met
				}
			}
			fits := slices.ContainsFunc(parent.Capabilities, func(p Capability) bool { return asked.Within(p) == nil })
			counters, err := Delegate([]Capability{asked}, parent, nil)
			if (err == nil) != fits {
				t.Fatalf("within: %v, delegated: %v", fits, err)
			}
			if err != nil {
				if e := agentid.AsError(err); e.Reason != ReasonExceeds || !strings.HasPrefix(e.Field, "authorization_details[0].") || e.Message == "" {
					t.Fatal(err)
				}
				return
			}
			child := Claims{ID: id, Capabilities: []Capability{asked}}
			child.Context.Counters = counters
			child.Context.Chain = append([]string{parent.ID}, parent.Context.Chain...)
			counts := child.Counts(asked)
			for i, count := range counts {
				if i > 0 && (count.Token != child.Context.Chain[i-1] || count.Max < counts[0].Max) {
					t.Fatalf("%v in a chain %v", counts, child.Context.Chain)
				}
			}
			if len(counts) == 0 && !slices.ContainsFunc(parent.Capabilities, func(p Capability) bool { return len(parent.Counts(p)) == 0 }) {
				t.Fatal("a count is left behind")
			}
			parent = child
		}
	})
}

func TestDelegateIsBounded(t *testing.T) {
	parent := delegated(t)
	digest := parent.Capabilities[0].Digest()
	var many []Counter
	for i := range MaxCounters {
		many = append(many, Counter{Token: strings.Repeat("x", i+1), Capability: digest, Max: 2})
	}
	parent.Context.Counters[digest] = many
	_, err := Delegate(parent.Capabilities, parent, nil)
	if agentid.ReasonOf(err) != "token_too_large" {
		t.Fatal(err)
	}
}

func TestVerifyLineage(t *testing.T) {
	kit := newTokenKit(t)
	set := KeySet{}
	for _, key := range []jose.SigningKey{kit.ed, kit.ec} {
		private, ok := key.Key.(jose.JSONWebKey)
		if !ok {
			t.Fatalf("%T", key.Key)
		}
		set.Keys = append(set.Keys, private.Public())
	}
	good := delegated(t)
	sign := func(edit func(*Claims)) string {
		c := delegated(t)
		edit(&c)
		return kit.raw(tokenHeader, mustJSON(c))
	}
	keep := func(*Claims) {}
	got, err := VerifyLineage(t.Context(), sign(keep), set)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Agents, good.Lineage()) || !slices.Equal(got.Tokens, []string{"jti-1", "jti-0"}) || got.Tenant != "acme" ||
		got.Principal.String() != "principal:acme/alice" || len(got.Counts) != 1 || len(got.Counts[0].Counts) != 2 || !got.Expiry.Equal(good.Expiry) {
		t.Fatalf("%+v", got)
	}
	if text, err := json.Marshal(got); err != nil || !strings.Contains(string(text), `"lineage":["agent:acme/leaf","agent:acme/root"]`) {
		t.Fatalf("%s %v", text, err)
	}
	if _, err := VerifyLineage(t.Context(), sign(func(c *Claims) { c.Issuer = "https://elsewhere.example" }), set); err != nil {
		t.Errorf("any root issuer: %v", err)
	}
	if _, err := VerifyLineage(t.Context(), sign(func(c *Claims) { c.IssuedAt, c.Expiry = time.Unix(1, 0), time.Unix(2, 0); c.NotBefore = time.Time{} }), set); err != nil {
		t.Errorf("expired, and told so by Expiry: %v", err)
	}
	for name, c := range map[string]struct {
		token  string
		reason string
	}{
		"another tenant's issuer": {sign(func(c *Claims) { c.Issuer = base + "/rival" }), ReasonIssuer},
		"no issuer":               {sign(func(c *Claims) { c.Issuer = "" }), ReasonIssuer},
		"digest of another line":  {sign(func(c *Claims) { c.Context.LineageDigest = LineageDigest(c.Lineage()[:1]) }), ReasonMalformed},
		"spliced act": {sign(func(c *Claims) {
			c.Actor = NewActor([]agentid.Ref{c.Agent(), ref(t, "agent:acme/other")})
		}), ReasonMalformed},
		"cycle": {sign(func(c *Claims) {
			line := append(c.Lineage(), c.Agent())
			c.Actor, c.Context.LineageDigest = NewActor(line), LineageDigest(line)
		}), ReasonMalformed},
		"foreign ancestor": {sign(func(c *Claims) {
			line := []agentid.Ref{c.Agent(), ref(t, "agent:rival/root")}
			c.Actor, c.Context.LineageDigest = NewActor(line), LineageDigest(line)
		}), ReasonMalformed},
		"altered": {sign(keep)[:100] + "x" + sign(keep)[101:], ""},
		"noise":   {"a.b.c", ReasonMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := VerifyLineage(t.Context(), c.token, set)
			if agentid.KindOf(err) != agentid.KindUnauthenticated || c.reason != "" && agentid.ReasonOf(err) != c.reason {
				t.Fatal(err)
			}
		})
	}
	if _, err := VerifyLineage(t.Context(), sign(keep), KeySet{}); agentid.ReasonOf(err) != ReasonKey {
		t.Errorf("without the key: %v", err)
	}
	twice := KeySet{Keys: append(slices.Clone(set.Keys), set.Keys...)}
	if _, err := twice.Key(context.Background(), "", set.Keys[0].KeyID); agentid.KindOf(err) != agentid.KindNotFound {
		t.Errorf("a kid that two keys have: %v", err)
	}
}
