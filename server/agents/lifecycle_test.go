package agents_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/agents"
	"github.com/agentid-dev/agentid/server/ledger"
)

func TestAChildIsSpawnedWithAllItsEdges(t *testing.T) {
	w := newWorld(t)
	root := w.mustStart("root", "root", "")
	key := newPair()
	status, doc := w.ask(root, http.MethodPost, "/agents/v1/spawn", w.child(root.ref, "kid", "worker", key))
	require.Equal(t, http.StatusCreated, status, doc)
	require.Equal(t, []any{"agent:acme/kid", "agent:acme/root"}, doc["lineage"])
	require.Equal(t, "principal:acme/alice", doc["principal"])
	require.Equal(t, "attenuated", doc["child_kind"])
	require.EqualValues(t, 1, doc["depth"])
	require.Equal(t, 8, w.edges(agentRef("kid")))
	require.NoError(t, w.decide(agentRef("kid")))
	rows := w.audited("agent.spawn", "")
	require.Len(t, rows, 2)
	require.Equal(t, []auditlog.Phase{auditlog.Begin, auditlog.Finish}, []auditlog.Phase{rows[0].Phase, rows[1].Phase})
	require.Equal(t, rows[0].Request, rows[1].Request)
	require.NotEmpty(t, rows[1].Zookie)

	again, err := w.service.Spawn(t.Context(), agents.Actor{Administrator: "op"}, agents.Spec{
		Tenant: "acme", Name: "kid", Type: typeRef("worker"), Parent: root.ref, Key: key.public,
	})
	require.NoError(t, err, "the same again finds it")
	require.Equal(t, agentRef("kid"), again.Ref)

	kid := actor{agentRef("kid"), key}
	status, doc = w.ask(kid, http.MethodPost, "/acme/agents/v1/spawn", map[string]any{})
	require.Equal(t, http.StatusUnauthorized, status, doc) // the assertion is for the root issuer
	w.mustStart("grandkid", "worker", "kid")
	status, doc = w.ask(root, http.MethodGet, "/agents/v1/tree", nil)
	require.Equal(t, http.StatusOK, status)
	require.Len(t, doc["agents"], 3)
}

func TestAnIndependentChildHasItsOwnAuthorityAndItsParentsLife(t *testing.T) {
	w := newWorld(t)
	w.mustStart("root", "root", "")
	w.mustStart("kid", "clerk", "root")
	s := spec("free", "clerk", "root")
	s.Kind = ledger.Independent
	_, err := w.start(s)
	require.NoError(t, err)
	w.mustStart("below", "worker", "free") // attenuated below an independent one
	w.remove(typeGrant("root"))
	w.refused(w.decide(agentRef("root")), "policy_denied")
	w.refused(w.decide(agentRef("kid")), "policy_denied")
	require.NoError(t, w.decide(agentRef("free")))
	require.NoError(t, w.decide(agentRef("below")))
	w.remove(typeGrant("clerk"))
	w.refused(w.decide(agentRef("free")), "policy_denied")
	w.refused(w.decide(agentRef("below")), "policy_denied")
	w.touch(typeGrant("clerk"))
	require.NoError(t, w.decide(agentRef("below")))
	// What bounds it ends at the first independent link, whatever lies above that.
	w.touch(typeGrant("root"))
	w.mustStart("top", "root", "")
	w.mustStart("mid", "root", "top")
	s = spec("alone", "clerk", "mid")
	s.Kind = ledger.Independent
	_, err = w.start(s)
	require.NoError(t, err)
	leaf := w.mustStart("leaf", "worker", "alone")
	require.Equal(t, []agentid.Ref{agentRef("alone")}, w.claims(w.mint(leaf)).Context.Attenuated)
	mid := w.mustStart("beside", "worker", "mid")
	require.Equal(t, []agentid.Ref{agentRef("mid"), agentRef("top")}, w.claims(w.mint(mid)).Context.Attenuated)

	must(w.service.Freeze(t.Context(), operator, agentRef("root"), "operator"))
	w.refused(w.decide(agentRef("free")), "agent_not_live")
	w.refused(w.decide(agentRef("below")), "agent_not_live")
}

func TestFreezesAddUpAndAreToldApart(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	a := w.mustStart("a", "root", "").ref
	w.mustStart("kid", "worker", "a")

	c := must(w.service.Freeze(ctx, operator, a, "operator"))
	require.Equal(t, agents.Change{State: "frozen", FrozenFor: []string{"operator"}, Changed: true, Zookie: c.Zookie, Revocation: c.Revocation}, c)
	require.NotEmpty(t, c.Zookie)
	w.refused(w.decide(agentRef("kid")), "agent_not_live")
	c = must(w.service.Freeze(ctx, operator, a, "operator"))
	require.False(t, c.Changed)
	require.Equal(t, agents.InfoAlreadyFrozen, c.Information)
	c = must(w.service.Freeze(ctx, operator, a, "signal:session-revoked"))
	require.True(t, c.Changed)
	require.Empty(t, c.Information)

	c = must(w.service.Unfreeze(ctx, operator, a, "nothing"))
	require.False(t, c.Changed)
	require.Equal(t, agents.InfoOtherReason, c.Information)
	require.Equal(t, []string{"operator", "signal:session-revoked"}, c.StillFrozenBy)
	c = must(w.service.Unfreeze(ctx, operator, a, "operator"))
	require.True(t, c.Changed)
	require.Equal(t, []string{"signal:session-revoked"}, c.StillFrozenBy)
	w.refused(w.decide(a), "agent_not_live")
	c = must(w.service.Unfreeze(ctx, operator, a, "signal:session-revoked"))
	require.Equal(t, agents.Change{State: "active", Changed: true}, c)
	require.NoError(t, w.decide(agentRef("kid")))
	c = must(w.service.Unfreeze(ctx, operator, a, "operator"))
	require.Equal(t, agents.Change{State: "active"}, c, "idempotent")

	_, err := w.service.Freeze(ctx, operator, a, "")
	w.refused(err, "invalid_request")
	_, err = w.service.Freeze(ctx, operator, agentRef("nobody"), "operator")
	w.refused(err, "agent_unknown")
	_, err = w.service.Unfreeze(ctx, operator, agentRef("nobody"), "operator")
	w.refused(err, "agent_unknown")

	must(w.service.Retire(ctx, operator, a))
	must(w.service.Freeze(ctx, operator, a, "operator"))
	c = must(w.service.Unfreeze(ctx, operator, a, "operator"))
	require.Equal(t, "retired", c.State)
	w.refused(w.decide(a), "agent_not_live")
}

func TestAnUnfreezeGivesTheFirstExpiryBack(t *testing.T) {
	w := newWorld(t)
	s := spec("a", "root", "")
	s.Expires = w.now().Add(10 * time.Minute)
	_, err := w.start(s)
	require.NoError(t, err)
	must(w.service.Freeze(t.Context(), operator, agentRef("a"), "operator"))
	w.shift.Add(int64(5 * time.Minute))
	must(w.service.Unfreeze(t.Context(), operator, agentRef("a"), "operator"))
	require.NoError(t, w.decide(agentRef("a")))
	w.shift.Add(int64(6 * time.Minute))
	w.refused(w.decide(agentRef("a")), "agent_not_live")
	must(w.service.Freeze(t.Context(), operator, agentRef("a"), "operator"))
	c := must(w.service.Unfreeze(t.Context(), operator, agentRef("a"), "operator"))
	require.Equal(t, "expired", c.State)
	w.refused(w.decide(agentRef("a")), "agent_not_live")
}

func TestALostOwnersAgentsStayFrozenUntilSomeoneTakesThem(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for _, name := range []string{"a", "b", "c"} {
		w.mustStart(name, "root", "")
	}
	ended := w.mustStart("ended", "root", "")
	must(w.service.Retire(ctx, operator, ended.ref))
	// What server/admin does when a principal is disabled.
	alice := owner("alice")
	must(w.ledger.AddFreeze(ctx, alice, "left", "op"))
	_, err := w.start(spec("late", "root", ""))
	w.refused(err, "principal_frozen")
	for _, name := range []string{"a", "b", "c"} {
		state, reasons := must3(w.service.State(ctx, agentRef(name)))
		require.Equal(t, "frozen", state)
		require.Equal(t, []string{ledger.ReasonOwnerLost}, reasons)
	}
	state, _ := must3(w.service.State(ctx, ended.ref))
	require.Equal(t, "retired", state)

	// One is thawed while the owner is away, one is frozen for another reason too. When
	// the owner comes back, only the first does.
	must(w.service.Unfreeze(ctx, operator, agentRef("a"), ledger.ReasonOwnerLost))
	must(w.service.Freeze(ctx, operator, agentRef("b"), "operator"))
	require.NoError(t, w.service.OwnerBack(ctx, alice))
	must(w.ledger.RemoveFreeze(ctx, alice, "left"))
	require.NoError(t, w.decide(agentRef("a")))
	w.refused(w.decide(agentRef("b")), "agent_not_live")
	w.refused(w.decide(agentRef("c")), "agent_not_live")

	// The others return when somebody takes them: thawed, or under another principal.
	c := must(w.service.Unfreeze(ctx, operator, agentRef("b"), "operator"))
	require.Equal(t, []string{ledger.ReasonOwnerLost}, c.StillFrozenBy)
	w.refused(w.decide(agentRef("b")), "agent_not_live")
	must(w.service.Unfreeze(ctx, operator, agentRef("b"), ledger.ReasonOwnerLost))
	require.NoError(t, w.decide(agentRef("b")))
	key := newPair()
	must(w.service.Respawn(ctx, operator, agentRef("c"), agents.Spec{Name: "c2", Principal: owner("bob"), Key: key.public}))
	require.NoError(t, w.decide(agentRef("c2")))
}

func must3[A, B any](a A, b B, err error) (A, B) {
	if err != nil {
		panic(err)
	}
	return a, b
}

func TestRetiringEndsTheSubtreeAndGivesItsSlotsBack(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	limitTenant(ledger.Limits{MaxLive: 4})(w, actor{})
	top := w.mustStart("top", "root", "")
	mid := w.mustStart("mid", "root", "top")
	leaf := w.mustStart("leaf", "worker", "mid")
	w.mustStart("other", "worker", "top")
	_, err := w.start(spec("more", "worker", "top"))
	w.refused(err, "live_agents_exceeded")

	// An agent retires itself and what is below it, and nothing else.
	for _, target := range []string{"agent:acme/top", "agent:acme/other", "agent:acme/nobody", "agent:rival/x"} {
		status, doc := w.ask(mid, http.MethodPost, "/agents/v1/retire", map[string]any{"agent": target})
		require.Equal(t, http.StatusNotFound, status, target)
		require.Equal(t, "agent_unknown", doc["reason"])
	}
	status, doc := w.ask(mid, http.MethodPost, "/agents/v1/retire", map[string]any{"agent": "agent:acme/leaf"})
	require.Equal(t, http.StatusOK, status, doc)
	require.Equal(t, "retired", doc["state"])
	w.refused(w.decide(leaf.ref), "agent_not_live")
	require.NoError(t, w.decide(mid.ref))

	w.mustStart("leaf2", "worker", "mid")
	c := must(w.service.Retire(ctx, operator, top.ref))
	require.True(t, c.Changed)
	for _, name := range []string{"top", "mid", "leaf", "leaf2", "other"} {
		w.refused(w.decide(agentRef(name)), "agent_not_live")
		state, _ := must3(w.service.State(ctx, agentRef(name)))
		require.Equal(t, "retired", state, name)
	}
	require.False(t, must(w.service.Retire(ctx, operator, top.ref)).Changed)
	for i := range 4 {
		w.mustStart(fmt.Sprintf("new-%d", i), "root", "")
	}
	_, err = w.start(spec("new-4", "root", ""))
	w.refused(err, "live_agents_exceeded")
	must(w.service.Retire(ctx, operator, agentRef("new-0")))
	_, err = w.start(spec("top", "root", ""))
	w.refused(err, "agent_exists") // a name is never taken again
}

func TestSlotsComeBackWhenAnAgentExpires(t *testing.T) {
	w := newWorld(t)
	limitTenant(ledger.Limits{MaxLive: 2, MaxChildren: 1})(w, actor{})
	w.mustStart("root", "root", "")
	s := spec("kid", "worker", "root")
	s.Expires = w.now().Add(time.Minute)
	_, err := w.start(s)
	require.NoError(t, err)
	_, err = w.start(spec("kid2", "worker", "root"))
	w.refused(err, "fan_out_exceeded")
	w.shift.Add(int64(2 * time.Minute))
	w.mustStart("kid2", "worker", "root")
}

func TestAKeyIsRotatedByProofOfBoth(t *testing.T) {
	w := newWorld(t)
	a := w.mustStart("a", "root", "")
	b := w.mustStart("b", "root", "")
	next := newPair()
	body := w.child(a.ref, "", "", next)
	good := map[string]any{"key": body["key"], "key_proof": body["key_proof"]}

	for name, tc := range map[string]struct {
		by     actor
		body   map[string]any
		status int
		reason string
	}{
		"no proof of the new key":   {a, map[string]any{"key": body["key"]}, 400, "key_proof_invalid"},
		"the proof of another":      {a, map[string]any{"key": body["key"], "key_proof": w.child(a.ref, "", "", newPair())["key_proof"]}, 400, "key_proof_invalid"},
		"a proof for another agent": {b, good, 400, "key_proof_invalid"},
		"no proof of the old key":   {actor{a.ref, next}, good, 401, "client_not_authenticated"},
		"its own key":               {a, w.rotation(a, a.key), 409, "key_in_use"},
		"the key of another":        {a, w.rotation(a, b.key), 409, "key_in_use"},
	} {
		status, doc := w.ask(tc.by, http.MethodPost, "/agents/v1/rotate", tc.body)
		require.Equal(t, tc.status, status, "%s %v", name, doc)
		require.Equal(t, tc.reason, doc["reason"], name)
	}

	token := w.mint(a)
	require.NoError(t, w.use(token))
	status, doc := w.ask(a, http.MethodPost, "/agents/v1/rotate", good)
	require.Equal(t, http.StatusOK, status, doc)
	w.refused(w.use(token), "token_revoked")
	status, _ = w.ask(a, http.MethodGet, "/agents/v1/self", nil)
	require.Equal(t, http.StatusUnauthorized, status, "the old key is nobody's")
	status, _ = w.ask(actor{a.ref, next}, http.MethodGet, "/agents/v1/self", nil)
	require.Equal(t, http.StatusOK, status)
	require.NoError(t, w.use(w.mint(actor{a.ref, next})))
	status, doc = w.ask(b, http.MethodPost, "/agents/v1/rotate", w.rotation(b, a.key))
	require.Equal(t, http.StatusConflict, status, "a key that was rotated away is never taken again: %v", doc)
	_, err := w.service.Spawn(t.Context(), operator, agents.Spec{Tenant: "acme", Name: "c", Type: typeRef("root"), Principal: owner("alice"), Key: a.key.public})
	w.refused(err, "key_in_use")
}

func (w *world) rotation(a actor, next pair) map[string]any {
	body := w.child(a.ref, "", "", next)
	return map[string]any{"key": body["key"], "key_proof": body["key_proof"]}
}

func TestRespawnUnderAnotherPrincipal(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	s := spec("old", "root", "")
	s.Ceiling = json.RawMessage(`[{"type":"agentid_capability","identifier":"payments_account:acme/stripe","actions":["payments:refund"],"constraints":{"amount":{"max":1000,"currency":"usd"}}}]`)
	old, err := w.start(s)
	require.NoError(t, err)
	w.mustStart("kid", "worker", "old")
	key := newPair()

	_, err = w.service.Respawn(ctx, operator, old.ref, agents.Spec{Name: "new", Principal: owner("nobody"), Key: key.public})
	w.refused(err, "principal_unknown")
	_, err = w.service.Respawn(ctx, operator, old.ref, agents.Spec{Name: "old", Principal: owner("bob"), Key: key.public})
	w.refused(err, "invalid_request")
	_, err = w.service.Respawn(ctx, operator, old.ref, agents.Spec{Name: "new", Principal: owner("bob"), Key: old.key.public})
	w.refused(err, "key_in_use")
	require.NoError(t, w.decide(old.ref))

	fresh := must(w.service.Respawn(ctx, operator, old.ref, agents.Spec{Name: "new", Principal: owner("bob"), Key: key.public}))
	require.Equal(t, owner("bob"), fresh.Principal)
	require.Equal(t, typeRef("root"), fresh.Type)
	require.JSONEq(t, string(s.Ceiling), string(fresh.Ceiling))
	require.Equal(t, []agentid.Ref{agentRef("new")}, fresh.Lineage)
	require.NoError(t, w.decide(fresh.Ref))
	w.refused(w.decide(old.ref), "agent_not_live")
	w.refused(w.decide(agentRef("kid")), "agent_not_live")
	again := must(w.service.Respawn(ctx, operator, old.ref, agents.Spec{Name: "new", Principal: owner("bob"), Key: key.public}))
	require.Equal(t, fresh.Ref, again.Ref, "idempotent")
	_, err = w.service.Respawn(ctx, operator, old.ref, agents.Spec{Name: "new2", Principal: owner("bob"), Key: newPair().public})
	w.refused(err, "agent_retired")
}

func TestNarrowingACeilingReachesTheTokensOfThoseItBounds(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ceiling := func(maximum int) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`[{"type":"agentid_capability","identifier":"payments_account:acme/stripe","actions":["payments:refund"],"constraints":{"amount":{"max":%d,"currency":"usd"}}}]`, maximum))
	}
	w.mustStart("root", "root", "")
	kid := w.mustStart("kid", "worker", "root")
	s := spec("free", "clerk", "root")
	s.Kind = ledger.Independent
	free, err := w.start(s)
	require.NoError(t, err)
	token, beside := w.mint(kid), w.mint(free)
	require.Equal(t, int64(4200), w.maximum(token))

	must(w.service.Narrow(ctx, operator, agentRef("root"), ceiling(1000)))
	w.refused(w.use(token), "token_revoked")
	require.NoError(t, w.use(beside), "an independent child is not bounded by it")
	token = w.mint(kid)
	require.Equal(t, int64(1000), w.maximum(token))
	require.Equal(t, int64(4200), w.maximum(w.mint(free)))

	_, err = w.service.Narrow(ctx, operator, agentRef("root"), ceiling(2000))
	w.refused(err, "ceiling_exceeded")
	require.NoError(t, w.use(token), "nothing changed")
	_, err = w.service.Narrow(ctx, operator, agentRef("root"), nil)
	w.refused(err, "invalid_request")

	// The same by the type of an ancestor that has no ceiling of its own.
	w.setType("acme", "worker", func(t *ledger.AgentType) { t.Ceiling = ceiling(300) })
	_, err = w.service.SettleTokens(ctx)
	require.NoError(t, err)
	w.refused(w.use(token), "token_revoked")
	require.Equal(t, int64(300), w.maximum(w.mint(kid)))
}

func TestRemovingAGrantReachesTheChildrensNextDecision(t *testing.T) {
	w := newWorld(t)
	w.mustStart("root", "root", "")
	kid := w.mustStart("kid", "worker", "root")
	w.mustStart("grandkid", "worker", "kid")
	token := w.mint(kid)
	require.NoError(t, w.use(token))
	w.remove(typeGrant("root"))
	w.refused(w.use(token), "policy_denied")
	w.refused(w.decide(agentRef("grandkid")), "policy_denied")
	w.touch(typeGrant("root"))
	require.NoError(t, w.use(token))
	w.remove(principalGrant("alice"))
	w.refused(w.use(token), "principal_denied")
}

func TestATreeShowsWhoActsForWhom(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.mustStart("a", "root", "")
	w.mustStart("b", "worker", "a")
	leaf := w.mustStart("c", "worker", "b")
	w.mustStart("d", "root", "")
	_ = w.mint(leaf)
	must(w.service.Freeze(ctx, operator, agentRef("b"), "operator"))
	tree := must(w.service.Tree(ctx, owner("alice"), false))
	var seen []string
	for _, n := range tree.Agents {
		seen = append(seen, fmt.Sprintf("%s %d %s live=%t tokens=%d", n.Ref.Name(), n.Depth, n.State, n.Live, n.LiveTokens))
	}
	require.Equal(t, []string{
		"a 0 active live=true tokens=0", "b 1 frozen live=false tokens=0", "c 2 active live=false tokens=1", "d 0 active live=true tokens=0",
	}, seen)
	below := must(w.service.Tree(ctx, agentRef("c"), false))
	require.Len(t, below.Agents, 1)
	require.False(t, below.Agents[0].Live, "its parent is frozen")
	must(w.service.Retire(ctx, operator, agentRef("a")))
	require.Len(t, must(w.service.Tree(ctx, owner("alice"), false)).Agents, 1)
	require.Len(t, must(w.service.Tree(ctx, owner("alice"), true)).Agents, 4)
	_, err := w.service.Tree(ctx, owner("nobody"), false)
	w.refused(err, "principal_unknown")
	_, err = w.service.Tree(ctx, agentRef("nobody"), false)
	w.refused(err, "agent_unknown")
}

func TestAnAttenuatedChildHasNoAuthorityThatItsParentLacks(t *testing.T) {
	w := newWorld(t)
	w.setType("acme", "clerk", func(t *ledger.AgentType) { t.OwnAuthority = true })
	w.mustStart("root", "root", "")
	kid := w.mustStart("kid", "clerk", "root")
	s := spec("free", "clerk", "root")
	s.Kind = ledger.Independent
	free, err := w.start(s)
	require.NoError(t, err)
	token, own := w.mint(kid), w.mint(free)
	require.False(t, w.claims(token).Context.OwnAuthority, "its parent needs the principal's permission")
	require.True(t, w.claims(own).Context.OwnAuthority)
	w.remove(principalGrant("alice"))
	w.refused(w.use(token), "principal_denied")
	require.NoError(t, w.use(own))

	// The type loses it again: the tokens that rest on it are withdrawn.
	w.setType("acme", "clerk", func(*ledger.AgentType) {})
	_, err = w.service.SettleTokens(t.Context())
	require.NoError(t, err)
	w.refused(w.use(own), "token_revoked")
}
