package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
)

// line is a world with an agent, its child and its grandchild, each of its own type.
type line struct {
	*world
	root, middle, leaf agentid.Ref
}

func newLine(t *testing.T, o options) line {
	w := newWorld(t, o)
	l := line{world: w, root: w.Agents[0]}
	for _, name := range []string{"middle", "leaf"} {
		typ := policytest.Must(agentid.AgentTypeRef("acme", name+"-agent"))
		w.AddType(t, typ)
		w.Touch(t, l.grantOf(typ))
		w.Spawn(t, "ag-"+name, typ)
	}
	l.leaf, l.middle = w.Agents[0], w.Agents[1]
	return l
}

// grantOf is the edge that lets agents of a type refund.
func (l line) grantOf(typ agentid.Ref) relate.Edge {
	g := l.AgentGrant()
	g.Subject = relate.Set(typ, schema.AgentTypeInstance)
	return g
}

// first is a token of the root's own.
func (l line) first(grants ...capability.Capability) (string, capability.Claims) {
	var claims capability.Claims
	token := l.token(func(c *capability.Claims) {
		own := []agentid.Ref{l.root}
		c.ClientID, c.Actor, c.Context.LineageDigest = l.root.String(), capability.NewActor(own), capability.LineageDigest(own)
		claims = *c
	}, grants...)
	return token, claims
}

// below is a token of agent, made from parent's as the broker makes it.
func (l line) below(agent agentid.Ref, parent capability.Claims, grants ...capability.Capability) (string, capability.Claims) {
	l.tb.Helper()
	counters, err := capability.Delegate(grants, parent, nil)
	require.NoError(l.tb, err)
	var claims capability.Claims
	token := l.token(func(c *capability.Claims) {
		lineage := append([]agentid.Ref{agent}, parent.Lineage()...)
		c.ClientID, c.Actor, c.Context.LineageDigest = agent.String(), capability.NewActor(lineage), capability.LineageDigest(lineage)
		c.Context.Attenuated = lineage[1:]
		c.Context.Chain = append([]string{parent.ID}, parent.Context.Chain...)
		c.Context.Counters = counters
		claims = *c
	}, grants...)
	return token, claims
}

// unchecked signs claims as they are, which no mint does.
func (l line) unchecked(edit func(*capability.Claims), grants ...capability.Capability) string {
	l.tb.Helper()
	var claims capability.Claims
	l.token(func(c *capability.Claims) { claims = *c }, grants...)
	edit(&claims)
	payload, err := json.Marshal(claims)
	require.NoError(l.tb, err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: l.key, KeyID: "k1"}},
		(&jose.SignerOptions{}).WithType(capability.TokenType))
	require.NoError(l.tb, err)
	signed, err := signer.Sign(payload)
	require.NoError(l.tb, err)
	token, err := signed.CompactSerialize()
	require.NoError(l.tb, err)
	return token
}

func (l line) tokenRef(c capability.Claims) agentid.Ref {
	return policytest.Must(agentid.TokenRef("acme", c.ID))
}

// Each request asks anew for every token of the chain, every agent of the line, and the
// rights of every ancestor that bounds the leaf.
func TestTheWholeChainIsAskedAtEachRequest(t *testing.T) {
	l := newLine(t, options{})
	g := l.grant(`{"amount":{"max":4200,"currency":"usd"}}`)
	_, root := l.first(g)
	middleToken, middle := l.below(l.middle, root, g)
	leafToken, _ := l.below(l.leaf, middle, g)
	n := 0
	refund := func(token string) answer {
		n++
		return l.send(token, l.refund("charge=ch_1&amount=1", fmt.Sprintf("k%d", n)))
	}
	require.Equal(t, 200, refund(leafToken).status)
	require.Equal(t, []string{l.leaf.String(), l.middle.String(), l.root.String()}, l.last().Lineage)

	for _, c := range []struct {
		name   string
		edge   relate.Edge
		bar    bool // refuses by being there
		status int
		reason string
	}{
		{"the middle agent is frozen", l.Enabled(l.middle), false, 403, "agent_not_live"},
		{"the root is frozen", l.Enabled(l.root), false, 403, "agent_not_live"},
		{"the root's type loses its grant", l.grantOf(l.Type), false, 403, "policy_denied"},
		{"the parent's type loses its grant", l.grantOf(policytest.Must(agentid.AgentTypeRef("acme", "middle-agent"))), false, 403, "policy_denied"},
		{"the customer is barred to the root's type", l.Bar(l.Customer, relate.Set(l.Type, schema.AgentTypeInstance)), true, 403, "barred"},
	} {
		t.Run(c.name, func(t *testing.T) {
			refuse, restore := l.Delete, l.Touch
			if c.bar {
				refuse, restore = l.Touch, l.Delete
			}
			refuse(t, c.edge)
			a := refund(leafToken)
			require.Equal(t, c.status, a.status, a.body)
			require.Equal(t, c.reason, a.reason(), a.body)
			restore(t, c.edge)
			require.Equal(t, 200, refund(leafToken).status)
		})
	}
	// What is below does not touch what is above.
	l.Delete(t, l.Enabled(l.leaf))
	require.Equal(t, "agent_not_live", refund(leafToken).reason())
	require.Equal(t, 200, refund(middleToken).status)
	l.Touch(t, l.Enabled(l.leaf))
	require.Equal(t, 200, refund(leafToken).status)
	// A token that was revoked is never good again, nor is one that was made from it.
	for _, above := range []capability.Claims{middle, root} {
		otherToken, other := l.below(l.middle, root, g)
		below, _ := l.below(l.leaf, other, g)
		if above.ID == root.ID {
			other = root
		}
		require.Equal(t, 200, refund(below).status)
		l.Touch(t, l.Revoke(l.tokenRef(other)))
		a := refund(below)
		require.Equal(t, 401, a.status, a.body)
		require.Equal(t, "token_revoked", a.reason(), a.body)
		require.Equal(t, "token_revoked", refund(otherToken).reason())
		l.Delete(t, l.Revoke(l.tokenRef(other)))
		require.Equal(t, "token_revoked", refund(below).reason())
	}
	require.Equal(t, "token_revoked", refund(leafToken).reason(), "the root's token is above it")
}

// An ancestor above an independent link lives or dies for the leaf, and bounds it not.
func TestAnAncestorThatDoesNotBound(t *testing.T) {
	l := newLine(t, options{})
	g := l.grant(`{"amount":{"max":4200,"currency":"usd"}}`)
	alone := l.token(func(c *capability.Claims) { c.Context.Attenuated = []agentid.Ref{l.middle} }, g)
	l.Delete(t, l.grantOf(l.Type))
	require.Equal(t, 200, l.send(alone, l.refund("charge=ch_1&amount=1", "k1")).status)
	l.Delete(t, l.Enabled(l.root))
	require.Equal(t, "agent_not_live", l.send(alone, l.refund("charge=ch_1&amount=1", "k2")).reason())
}

// A parent with one use has two children: one effect comes of it, whoever is first, and
// one more attempt where the upstream certainly did nothing.
func TestChildrenShareTheParentsUse(t *testing.T) {
	const once = `{"amount":{"max":4200,"currency":"usd"},"uses":{"max":1}}`
	t.Run("one after the other", func(t *testing.T) {
		l := newLine(t, options{})
		g := l.grant(once)
		parentToken, parent := l.first(g)
		first, _ := l.below(l.middle, parent, g)
		sibling, second := l.below(l.middle, parent, l.grant(`{"amount":{"max":42,"currency":"usd"},"uses":{"max":1}}`))
		grandchild, _ := l.below(l.leaf, second, l.grant(`{"amount":{"max":7,"currency":"usd"},"uses":{"max":1}}`))

		require.Equal(t, 200, l.send(first, l.refund("charge=ch_1&amount=42", "k0")).status)
		for i, token := range []string{first, sibling, grandchild, parentToken} {
			a := l.send(token, l.refund("charge=ch_1&amount=5", fmt.Sprintf("again-%d", i)))
			require.Equal(t, "uses_exhausted", a.reason(), a.body)
			require.Equal(t, 403, a.status)
		}
		require.Len(t, l.sent.of(http.MethodPost), 1)
		l.balanced()
	})
	t.Run("after a release", func(t *testing.T) {
		l := newLine(t, options{})
		g := l.grant(`{"amount":{"max":9000,"currency":"usd","at_most_fact":"charge.refundable"},"uses":{"max":1}}`)
		_, parent := l.first(g)
		first, _ := l.below(l.middle, parent, g)
		_, second := l.below(l.middle, parent, g)
		leaf, _ := l.below(l.leaf, second, g)
		l.Delete(t, l.AgentGrant())
		wide := l.AgentGrant()
		wide.Caveat = policytest.LimitCaveat(9000)
		l.Touch(t, wide)
		for _, typ := range []string{"middle-agent", "leaf-agent"} {
			g := l.grantOf(policytest.Must(agentid.AgentTypeRef("acme", typ)))
			g.Caveat = wide.Caveat
			l.Touch(t, g)
		}
		for i, token := range []string{first, leaf, first} { // 50.00 is left of the charge
			a := l.send(token, l.refund("charge=ch_half&amount=6000", fmt.Sprintf("k%d", i)))
			require.Equal(t, "constraint_amount_at_most_fact", a.reason(), a.body)
		}
		require.Equal(t, 200, l.send(leaf, l.refund("charge=ch_half&amount=1000", "good")).status)
		require.Equal(t, "uses_exhausted", l.send(first, l.refund("charge=ch_half&amount=1000", "late")).reason())
		require.Len(t, l.sent.of(http.MethodPost), 1)
		l.balanced()
	})
	t.Run("racing", func(t *testing.T) {
		l := newLine(t, options{})
		g := l.grant(once)
		_, parent := l.first(g)
		a, _ := l.below(l.middle, parent, g)
		_, b := l.below(l.middle, parent, g)
		leaf, _ := l.below(l.leaf, b, g)
		l.send(a, l.refund("charge=ch_1&amount=9999", "warm"))
		outcomes := burst(l.world, 40, func(i int) answer {
			return l.send([]string{a, leaf}[i%2], l.refund("charge=ch_1&amount=100", fmt.Sprintf("k%d", i)))
		})
		require.Equal(t, map[string]int{"200": 1, "uses_exhausted": 39}, outcomes)
		require.Len(t, l.sent.of(http.MethodPost), 1)
		l.balanced()
	})
	t.Run("of three, two each", func(t *testing.T) {
		l := newLine(t, options{})
		_, parent := l.first(l.grant(`{"uses":{"max":3}}`))
		two := l.grant(`{"uses":{"max":2}}`)
		a, _ := l.below(l.middle, parent, two)
		b, _ := l.below(l.middle, parent, two)
		outcomes := burst(l.world, 20, func(i int) answer {
			return l.send([]string{a, b}[i%2], l.refund("charge=ch_1&amount=100", fmt.Sprintf("k%d", i)))
		})
		require.Equal(t, map[string]int{"200": 3, "uses_exhausted": 17}, outcomes)
		l.balanced()
	})
}

// What no mint of ours makes is refused by the gateway too, before policy is asked.
func TestClaimsOfAChainAreHeldTogether(t *testing.T) {
	l := newLine(t, options{})
	g := l.grant(`{"uses":{"max":1}}`)
	digest := g.Digest()
	for name, edit := range map[string]func(*capability.Claims){
		"chain longer than the line": func(c *capability.Claims) { c.Context.Chain = []string{"a", "b", "c"} },
		"chain with the token":       func(c *capability.Claims) { c.Context.Chain = []string{c.ID} },
		"chain that repeats":         func(c *capability.Claims) { c.Context.Chain = []string{"a", "a"} },
		"count of a foreign token": func(c *capability.Claims) {
			c.Context.Chain, c.Context.Counters = []string{"a"}, map[string][]capability.Counter{digest: {{Token: "b", Capability: digest, Max: 1}}}
		},
		"count below the use": func(c *capability.Claims) {
			c.Context.Chain, c.Context.Counters = []string{"a"}, map[string][]capability.Counter{digest: {{Token: "a", Capability: digest, Max: 0}}}
		},
		"count of nothing": func(c *capability.Claims) {
			c.Context.Chain, c.Context.Counters = []string{"a"}, map[string][]capability.Counter{digest[1:] + "A": {{Token: "a", Capability: digest, Max: 1}}}
		},
		"line of 34": func(c *capability.Claims) {
			agents := []agentid.Ref{l.leaf}
			for i := range capability.MaxLineage {
				agents = append(agents, policytest.Must(agentid.AgentRef("acme", fmt.Sprintf("a%d", i))))
			}
			c.Actor, c.Context.LineageDigest = capability.NewActor(agents), capability.LineageDigest(agents)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := l.send(l.unchecked(edit, g), l.refund("charge=ch_1&amount=1", name))
			require.Equal(t, http.StatusUnauthorized, a.status, a.body)
			require.Equal(t, capability.ReasonMalformed, a.reason(), a.body)
		})
	}
}
