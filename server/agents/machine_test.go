package agents_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/agents"
	"github.com/agentid-dev/agentid/server/ledger"
)

// machine drives a real broker and the oracle side by side.
type machine struct {
	w      *world
	run    string // in front of every name: runs share one broker
	o      oracle
	keys   map[string]pair
	tokens []*oToken
	texts  map[*oToken]string
	newest string // the agent that was started last
	n      int
}

// TestStateMachine spawns, delegates, narrows, freezes, unfreezes, rotates, retires, lets
// expire, respawns, changes policy and checks, in any order, and holds every answer
// against the oracle's, with decisions remembered and not.
func TestStateMachine(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if f := flag.Lookup("rapid.seed"); f.Value.String() != "0" {
		seed = must(strconv.ParseUint(f.Value.String(), 10, 64))
	} else {
		require.NoError(t, flag.Set("rapid.seed", strconv.FormatUint(seed, 10)))
	}
	if !flagSet("rapid.checks") {
		require.NoError(t, flag.Set("rapid.checks", strconv.Itoa(machineRuns)))
	}
	t.Logf("seed %d: go test -run TestStateMachine ./server/agents -rapid.seed=%d", seed, seed)
	w := newWorld(t)
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		newMachine(w, fmt.Sprintf("r%d", runs)).drive(rt)
	})
	stats := w.remembers.Stats()
	require.Positive(t, stats.Hits, "the memory was in use")
	t.Logf("%d decisions from memory, %d of the graph", stats.Hits, stats.Misses)
}

func flagSet(name string) bool {
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

func newMachine(w *world, run string) *machine {
	m := &machine{
		w: w, run: run, keys: map[string]pair{}, texts: map[*oToken]string{},
		o: oracle{agents: map[string]*oAgent{}, typeGrants: map[string]bool{}, ownerGrant: map[string]bool{}, ownerGone: map[string]bool{}},
	}
	var refs []agentid.Ref
	for _, typ := range []string{"root", "worker", "clerk"} {
		refs = append(refs, m.typ(typ))
	}
	for _, typ := range []string{"root", "worker", "clerk"} {
		w.setType("acme", m.run+typ, func(t *ledger.AgentType) { t.Children, t.IndependentChildren = refs, refs[2:] })
		m.o.typeGrants[typ] = true
		w.touch(typeGrant(m.run + typ))
	}
	for _, name := range []string{"alice", "bob"} {
		w.principal("acme", m.run+name)
		m.o.ownerGrant[name] = true
		w.touch(principalGrant(m.run + name))
	}
	return m
}

func (m *machine) typ(name string) agentid.Ref   { return typeRef(m.run + name) }
func (m *machine) ref(name string) agentid.Ref   { return agentRef(m.run + name) }
func (m *machine) owner(name string) agentid.Ref { return owner(m.run + name) }

func (m *machine) drive(t *rapid.T) {
	t.Repeat(map[string]func(*rapid.T){
		"register": m.register, "spawn": m.spawn, "spawn again": m.spawn, "mint": m.mint, "delegate": m.delegate, "narrow": m.narrow,
		"freeze": m.freeze, "unfreeze": m.unfreeze, "retire": m.retire, "expire": m.expire, "respawn": m.respawn,
		"rotate": m.rotate, "grant": m.policy, "owner": m.ownerSwitch, "": m.check,
	})
}

// any draws an agent that was started; the step is skipped where there is none.
func (m *machine) any(t *rapid.T) string {
	names := slices.Sorted(maps.Keys(m.o.agents))
	if len(names) == 0 {
		t.Skip("no agent yet")
	}
	return rapid.SampledFrom(names).Draw(t, "agent")
}

// agree holds success against what the oracle says.
func (m *machine) agree(t *rapid.T, what string, want bool, err error) {
	if want != (err == nil) {
		t.Fatalf("%s: the oracle says %t, the broker %v", what, want, err)
	}
}

func ceilingOf(maximum int64) json.RawMessage {
	if maximum == 0 {
		return nil
	}
	return json.RawMessage(fmt.Sprintf(`[{"type":"agentid_capability","identifier":"payments_account:acme/stripe","actions":["payments:refund"],"constraints":{"amount":{"max":%d,"currency":"usd"}}}]`, maximum))
}

var (
	lives    = rapid.SampledFrom([]time.Duration{4 * time.Minute, 20 * time.Minute, time.Hour})
	maxima   = rapid.SampledFrom([]int64{0, 0, 500, 1000, 2000})
	kinds    = rapid.SampledFrom([]string{"root", "worker", "clerk"})
	reasons  = rapid.SampledFrom([]string{"operator", "signal:a", ledger.ReasonOwnerLost})
	freeName = "a%d"
)

func (m *machine) register(t *rapid.T) { m.startOne(t, "") }

// spawn starts a child: half the time of the newest agent, so that lineages grow deep.
func (m *machine) spawn(t *rapid.T) {
	parent := m.any(t)
	if rapid.Bool().Draw(t, "deeper") {
		parent = m.newest
	}
	m.startOne(t, parent)
}

func (m *machine) startOne(t *rapid.T, parent string) {
	name := fmt.Sprintf(freeName, m.n)
	m.n++
	now := m.w.now()
	a := &oAgent{
		typ: kinds.Draw(t, "type"), parent: parent, frozen: map[string]bool{}, ceiling: maxima.Draw(t, "ceiling"),
		expires: now.Add(lives.Draw(t, "life")).Truncate(time.Second), owner: "alice",
	}
	s := agents.Spec{Tenant: "acme", Name: m.run + name, Type: m.typ(a.typ), Ceiling: ceilingOf(a.ceiling), Expires: a.expires}
	var want bool
	if parent == "" {
		a.owner = rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "owner")
		s.Principal = m.owner(a.owner)
		want = !m.o.ownerGone[a.owner]
	} else {
		a.owner = m.o.agents[parent].owner
		a.independent = rapid.Bool().Draw(t, "independent")
		s.Parent, s.Kind = m.ref(parent), ledger.Attenuated
		if a.independent {
			s.Kind = ledger.Independent
		}
		want = m.o.mayStart(parent, a.typ, a.independent, a.expires, now)
	}
	made, err := m.w.start(s)
	m.agree(t, "start "+name+" below "+parent, want, err)
	if err == nil {
		m.o.agents[name], m.keys[name], m.newest = a, made.key, name
	}
}

func (m *machine) actor(name string) actor { return actor{m.ref(name), m.keys[name]} }

// mint asks for a token with the agent's own key alone.
func (m *machine) mint(t *rapid.T) {
	name := m.any(t)
	bounding := m.o.bounding(name)
	want := !m.o.agents[name].retired && m.o.decide(name, bounding, m.w.now()) == ""
	text, doc := m.w.tryMint(m.actor(name), url.Values{"grant_type": {"client_credentials"}, "authorization_details": {details}, "resource": {audience}})
	m.keep(t, "mint "+name, want, text, doc, &oToken{agent: name, bounding: bounding, maximum: m.o.maximum(name, bounding, 4200)})
}

// delegate exchanges a token of the parent's, or of anybody's.
func (m *machine) delegate(t *rapid.T) {
	if len(m.tokens) == 0 {
		t.Skip("no token yet")
	}
	parent := m.tokens[rapid.IntRange(max(0, len(m.tokens)-4), len(m.tokens)-1).Draw(t, "token")]
	var names []string
	for name, a := range m.o.agents {
		if a.parent == parent.agent {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	name := m.any(t)
	if len(names) > 0 && rapid.IntRange(0, 3).Draw(t, "stranger") > 0 {
		name = rapid.SampledFrom(names).Draw(t, "child")
	}
	now := m.w.now()
	bounding := m.o.bounding(name)
	if m.o.agents[name].parent == parent.agent {
		bounding[parent.agent] = true
		maps.Copy(bounding, parent.bounding)
	}
	form := url.Values{
		"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token": {m.texts[parent]}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
	}
	asked := parent.maximum
	if rapid.Bool().Draw(t, "narrow") {
		asked = rapid.SampledFrom([]int64{100, 700, 3000, 9000}).Draw(t, "asked")
		form.Set("authorization_details", fmt.Sprintf(`[{"type":"agentid_capability","identifier":"payments_customer:acme/cus_1","actions":["payments:refund"],"constraints":{"amount":{"max":%d,"currency":"usd"}}}]`, asked))
	}
	usable := m.o.use(&oToken{agent: parent.agent, expires: parent.expires, withdrawn: parent.withdrawn, from: parent.from}, now)
	want := m.o.agents[name].parent == parent.agent && !m.o.agents[name].retired && asked <= parent.maximum &&
		(usable == "" || usable == "policy_denied" || usable == "principal_denied") && m.o.decide(name, bounding, now) == ""
	text, doc := m.w.tryMint(m.actor(name), form)
	m.keep(t, fmt.Sprintf("delegate %s to %s", parent.agent, name), want, text, doc, &oToken{
		agent: name, bounding: bounding, maximum: m.o.maximum(name, bounding, asked), from: parent,
	})
}

func (m *machine) keep(t *rapid.T, what string, want bool, text string, doc map[string]any, token *oToken) {
	var err error
	if text == "" {
		err = fmt.Errorf("%v", doc)
	}
	m.agree(t, what, want, err)
	if err != nil {
		return
	}
	c := m.w.claims(text)
	token.expires = c.Expiry
	if have := m.w.maximum(text); have != token.maximum {
		t.Fatalf("%s: the token allows %d, the oracle %d", what, have, token.maximum)
	}
	end := m.o.agents[token.agent].expires
	if token.from != nil && token.from.expires.Before(end) {
		end = token.from.expires
	}
	if c.Expiry.After(end) || len(c.Lineage()) != len(m.o.line(token.agent)) {
		t.Fatalf("%s: it lives until %s, and may until %s", what, c.Expiry, end)
	}
	m.tokens, m.texts[token] = append(m.tokens, token), text
}

func (m *machine) narrow(t *rapid.T) {
	name := m.any(t)
	a := m.o.agents[name]
	next := rapid.SampledFrom([]int64{300, 900, 1500}).Draw(t, "next")
	_, err := m.w.service.Narrow(context.Background(), operator, m.ref(name), ceilingOf(next))
	m.agree(t, "narrow "+name, !a.retired && (a.ceiling == 0 || next <= a.ceiling), err)
	if err == nil {
		a.ceiling = next
		m.o.withdraw(m.tokens, name, true)
	}
}

func (m *machine) rotate(t *rapid.T) {
	name := m.any(t)
	next := newPair()
	body := m.w.rotation(m.actor(name), next)
	status, doc := m.w.ask(m.actor(name), "POST", "/agents/v1/rotate", body)
	var err error
	if status != 200 {
		err = fmt.Errorf("%v", doc)
	}
	m.agree(t, "rotate "+name, !m.o.agents[name].retired, err)
	if err == nil {
		m.keys[name] = next
		m.o.withdraw(m.tokens, name, false)
	}
}

func (m *machine) freeze(t *rapid.T) {
	name, reason := m.any(t), reasons.Draw(t, "reason")
	c, err := m.w.service.Freeze(context.Background(), operator, m.ref(name), reason)
	m.agree(t, "freeze "+name, true, err)
	if a := m.o.agents[name]; c.Changed == a.frozen[reason] {
		t.Fatalf("freeze %s for %s: changed is %t", name, reason, c.Changed)
	}
	m.o.agents[name].frozen[reason] = true
}

func (m *machine) unfreeze(t *rapid.T) {
	name, reason := m.any(t), reasons.Draw(t, "reason")
	c, err := m.w.service.Unfreeze(context.Background(), operator, m.ref(name), reason)
	m.agree(t, "unfreeze "+name, true, err)
	a := m.o.agents[name]
	if c.Changed != a.frozen[reason] {
		t.Fatalf("unfreeze %s for %s: changed is %t", name, reason, c.Changed)
	}
	delete(a.frozen, reason)
	if left := slices.Sorted(maps.Keys(a.frozen)); !slices.Equal(left, c.StillFrozenBy) {
		t.Fatalf("unfreeze %s: %v are left, the oracle says %v", name, c.StillFrozenBy, left)
	}
}

func (m *machine) retire(t *rapid.T) {
	if rapid.IntRange(0, 2).Draw(t, "seldom") > 0 {
		t.Skip("retire seldom")
	}
	name := m.any(t)
	_, err := m.w.service.Retire(context.Background(), operator, m.ref(name))
	m.agree(t, "retire "+name, true, err)
	for other := range m.o.agents {
		if slices.Contains(m.o.line(other), name) {
			m.o.agents[other].retired = true
		}
	}
}

func (m *machine) expire(t *rapid.T) {
	m.w.shift.Add(int64(rapid.SampledFrom([]time.Duration{90 * time.Second, 6 * time.Minute, 25 * time.Minute}).Draw(t, "wait")))
	_, err := m.w.service.Reap(context.Background())
	m.agree(t, "reap", true, err)
}

func (m *machine) respawn(t *rapid.T) {
	name := m.any(t)
	a := m.o.agents[name]
	to := "alice"
	if a.owner == "alice" {
		to = "bob"
	}
	next, key := fmt.Sprintf(freeName, m.n), newPair()
	m.n++
	expires := m.w.now().Add(time.Hour).Truncate(time.Second)
	_, err := m.w.service.Respawn(context.Background(), operator, m.ref(name), agents.Spec{
		Name: m.run + next, Principal: m.owner(to), Key: key.public, Expires: expires,
	})
	m.agree(t, "respawn "+name, !a.retired && !m.o.ownerGone[to], err)
	if err != nil {
		return
	}
	m.o.agents[next] = &oAgent{typ: a.typ, owner: to, frozen: map[string]bool{}, expires: expires, ceiling: a.ceiling}
	m.keys[next] = key
	for other := range m.o.agents {
		if slices.Contains(m.o.line(other), name) {
			m.o.agents[other].retired = true
		}
	}
}

// policy gives or takes a grant, of a type or of a principal.
func (m *machine) policy(t *rapid.T) {
	grants, name := m.o.typeGrants, kinds.Draw(t, "type")
	edge := typeGrant(m.run + name)
	if rapid.IntRange(0, 3).Draw(t, "principal") == 0 {
		name = rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "owner")
		grants, edge = m.o.ownerGrant, principalGrant(m.run+name)
	}
	if grants[name] = !grants[name]; grants[name] {
		m.w.touch(edge)
	} else {
		m.w.remove(edge)
	}
}

// ownerSwitch disables a principal, or enables it again, as the administration does.
func (m *machine) ownerSwitch(t *rapid.T) {
	name := rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "owner")
	edge := relate.Edge{Resource: m.owner(name), Relation: schema.PrincipalEnabled, Subject: relate.All(schema.TypeAgent)}
	ctx := context.Background()
	if m.o.ownerGone[name] {
		m.agree(t, "owner back", true, m.w.service.OwnerBack(ctx, m.owner(name)))
		_, err := m.w.ledger.RemoveFreeze(ctx, m.owner(name), "left")
		m.agree(t, "owner back", true, err)
		m.w.touch(edge)
		delete(m.o.ownerGone, name)
		return
	}
	_, err := m.w.ledger.AddFreeze(ctx, m.owner(name), "left", "op")
	m.agree(t, "owner gone", true, err)
	m.w.remove(edge)
	m.o.ownerGone[name] = true
	for _, a := range m.o.agents {
		if a.owner == name && !a.retired {
			a.frozen[ledger.ReasonOwnerLost] = true
		}
	}
}

// check asks the broker's graph about an agent and the newest tokens, after every step.
func (m *machine) check(t *rapid.T) {
	now := m.w.now()
	if len(m.o.agents) > 0 {
		name := m.any(t)
		if apart(now, m.o.agents[name].expires) {
			m.same(t, "decide "+name, m.o.decide(name, m.o.bounding(name), now), m.w.decide(m.ref(name)))
		}
	}
	for _, token := range m.tokens[max(0, len(m.tokens)-3):] {
		near := false
		for _, member := range m.o.line(token.agent) {
			near = near || !apart(now, m.o.agents[member].expires)
		}
		if !near && apart(now, token.expires) {
			m.same(t, "use a token of "+token.agent, m.o.use(token, now), m.useText(m.texts[token]))
		}
	}
}

// useText is use for a token that may have expired.
func (m *machine) useText(text string) error {
	v := must(capability.NewVerifier(capability.VerifierConfig{Keys: m.w.broker.Fleet(), Base: base, Now: m.w.now}))
	if _, err := v.VerifyIssued(context.Background(), text); err != nil {
		return err
	}
	return m.w.use(text)
}

// apart: the two clocks of one step cannot lie on both sides of it.
func apart(now, at time.Time) bool { return now.Sub(at).Abs() > 3*time.Second }

func (m *machine) same(t *rapid.T, what, want string, err error) {
	have := ""
	if err != nil {
		have = agentid.ReasonOf(err)
	}
	if have != want {
		t.Fatalf("%s: the oracle says %q, the broker %q (%v)", what, want, have, errors.Unwrap(err))
	}
}
