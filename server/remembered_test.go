package server_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/relations"
	"github.com/agentid-dev/agentid/server/revocation"
)

// The phases of a trial: what is true now is a hammer's phase by phases.
const (
	given     = iota // nothing was taken away
	taken            // the call has returned
	returning        // it is being given back
	phases
)

// hammer asks about one token, and mints more, again and again.
type hammer struct {
	w     *world
	phase atomic.Int64
	token atomic.Pointer[string]
	mints atomic.Bool // what is taken away ends minting, too

	good, gone atomic.Int64 // answers of this phase
	wrong      atomic.Pointer[string]
}

// ask is one request to the broker, by function call.
func (h *hammer) ask(path string, form url.Values, header http.Header) (int, map[string]any) {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header = header
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	h.w.router.ServeHTTP(rec, r)
	var doc map[string]any
	_ = json.Unmarshal(rec.Body.Bytes(), &doc)
	return rec.Code, doc
}

func (h *hammer) introspect() bool {
	_, doc := h.ask("/acme/oauth2/introspect", url.Values{"token": {*h.token.Load()}}, basic("connector:acme/stripe", h.w.secret))
	return doc["active"] == true
}

// mint asks for a Bearer token at the connector that gives such.
func (h *hammer) mint() bool {
	a := h.w.agent
	assertion, err := clientauth.Sign(a.key, clientauth.Request{ClientID: a.ref.String(), Issuer: h.w.base + "/acme", Now: time.Now()})
	if err != nil {
		return true
	}
	code, _ := h.ask("/acme/oauth2/token", url.Values{
		"grant_type": {"client_credentials"}, "authorization_details": {details}, "resource": {resourceBearer},
		"client_assertion_type": {clientauth.AssertionType}, "client_assertion": {assertion},
	}, http.Header{})
	return code == http.StatusOK
}

func (h *hammer) run(stop <-chan struct{}, what string, ask func() bool) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		began := h.phase.Load()
		ok := ask()
		if h.phase.Load() != began {
			continue // it was under way
		}
		if ok && began%phases == taken && (what != "mint" || h.mints.Load()) {
			h.wrong.Store(&what)
		}
		if began%phases == returning {
			continue
		}
		if what == "introspection" && ok {
			h.good.Add(1)
		} else if what == "introspection" {
			h.gone.Add(1)
		}
	}
}

func (h *hammer) next() {
	h.phase.Add(1)
	h.good.Store(0)
	h.gone.Store(0)
}

func (h *hammer) until(t *testing.T, count *atomic.Int64, what string) {
	t.Helper()
	require.Eventually(t, func() bool { return count.Load() >= 3 }, time.Minute, 50*time.Microsecond, what)
}

// TestNothingIsActiveAfterTheReturn takes away each kind of thing while introspections and
// mints hammer on what is remembered: none that began after the call returned is answered
// active:true, and none mints.
func TestNothingIsActiveAfterTheReturn(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.broker.Fleet().Reload(t.Context()))
	all := relate.All(schema.TypeAgent)
	alice, typ, tenant := must(agentid.PrincipalRef("acme", "alice")), must(agentid.AgentTypeRef("acme", "refund-agent")), must(agentid.TenantRef("acme"))
	edges := []relate.Edge{
		{}, // the token has none
		enabled(w.agent.ref),
		{Resource: alice, Relation: schema.PrincipalEnabled, Subject: all},
		{Resource: typ, Relation: schema.AgentTypeEnabled, Subject: all},
		{Resource: tenant, Relation: schema.TenantEnabled, Subject: all},
	}
	h := &hammer{w: w}
	token, _ := w.mint(w.agent)
	h.token.Store(&token)
	stop := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() { h.run(stop, "introspection", h.introspect) })
	work.Go(func() { h.run(stop, "introspection", h.introspect) })
	work.Go(func() { h.run(stop, "mint", h.mint) })
	defer work.Wait()
	defer close(stop)

	const trials = 100
	for i := range trials {
		edge := edges[i%len(edges)]
		h.until(t, &h.good, "trial "+strconv.Itoa(i)+" begins good")
		h.mints.Store(!edge.Resource.IsZero())
		if edge.Resource.IsZero() {
			c := w.claims(token)
			_, err := w.broker.Revoker().Revoke(t.Context(), must(agentid.TokenRef("acme", c.ID)), "trial", "test")
			require.NoError(t, err)
		} else {
			_, err := w.broker.Revoker().Take(t.Context(), revocation.Taking{
				Intent: ledger.Revocation{Target: edge.Resource, Reason: "trial", Actor: "test"},
				Edges: func(context.Context) (relations.Set, error) {
					return relations.Set{Unwanted: []relate.Edge{edge}}, nil
				},
			})
			require.NoError(t, err)
		}
		h.next()
		h.until(t, &h.gone, "trial "+strconv.Itoa(i)+" is taken away")
		if wrong := h.wrong.Load(); wrong != nil {
			t.Fatalf("trial %d: an %s succeeded that began after %s was taken away", i, *wrong, edge.Resource)
		}
		h.next()
		if edge.Resource.IsZero() {
			token, _ = w.mint(w.agent)
			h.token.Store(&token)
		} else {
			w.touch(edge)
		}
		h.next()
	}
}

// authenticates reports whether a mint by an agent succeeds, and what of it is told.
func (w *world) authenticates(a actor) (int, string) {
	w.tb.Helper()
	resp, doc := w.do(a, w.tokenCall())
	reason, _ := doc["reason"].(string)
	return resp.StatusCode, reason
}

// TestEachWriteIsSeenByTheNextMint: what is remembered of an agent ends with each kind of
// write that could change it.
func TestEachWriteIsSeenByTheNextMint(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	warm := func(a actor) {
		t.Helper()
		for range 2 {
			code, reason := w.authenticates(a)
			require.Equal(t, http.StatusOK, code, reason)
		}
	}
	typ := must(agentid.AgentTypeRef("acme", "refund-agent"))
	small := json.RawMessage(strings.ReplaceAll(details, "4200", "10"))
	withdrawal := ledger.Withdrawal{Reason: "test", Grace: time.Minute}

	t.Run("a rotated key", func(t *testing.T) {
		a := w.spawn("acme", "rotated", "", nil, time.Hour)
		warm(a)
		public, private, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		used := ledger.Assertion{Client: a.ref, ID: "rotation", Expires: time.Now().Add(time.Minute)}
		_, err = w.ledger.RotateKey(ctx, a.ref, must(json.Marshal(jose.JSONWebKey{Key: public})), used, withdrawal)
		require.NoError(t, err)
		code, reason := w.authenticates(a)
		require.Equal(t, http.StatusUnauthorized, code, "the old key")
		require.Equal(t, "client_not_authenticated", reason)
		warm(actor{ref: a.ref, key: jose.SigningKey{Algorithm: jose.EdDSA, Key: private}})
	})
	t.Run("a ceiling", func(t *testing.T) {
		a := w.spawn("acme", "narrowed", "", nil, time.Hour)
		warm(a)
		require.NoError(t, w.ledger.SetCeiling(ctx, a.ref, small, withdrawal))
		token, _ := w.mint(a)
		limits, err := json.Marshal(w.claims(token).Capabilities)
		require.NoError(t, err)
		require.Contains(t, string(limits), `"max":10`)
	})
	t.Run("an ancestor's ceiling", func(t *testing.T) {
		parent := w.spawn("acme", "above", "", nil, time.Hour)
		a := w.spawn("acme", "below", "above", nil, time.Hour)
		warm(a)
		require.NoError(t, w.ledger.SetCeiling(ctx, parent.ref, json.RawMessage("[]"), withdrawal))
		_, reason := w.authenticates(a)
		require.Equal(t, "ceiling_exceeded", reason)
	})
	t.Run("its type", func(t *testing.T) {
		a := w.spawn("acme", "typed", "", nil, time.Hour)
		warm(a)
		_, _, err := w.ledger.PutAgentType(ctx, ledger.AgentType{Ref: typ, Ceiling: json.RawMessage("[]")})
		require.NoError(t, err)
		_, reason := w.authenticates(a)
		require.Equal(t, "ceiling_exceeded", reason)
		_, _, err = w.ledger.PutAgentType(ctx, ledger.AgentType{Ref: typ})
		require.NoError(t, err)
		warm(a)
	})
	t.Run("its principal's kind", func(t *testing.T) {
		a := w.spawn("acme", "served", "", nil, time.Hour)
		warm(a)
		alice := must(agentid.PrincipalRef("acme", "alice"))
		_, _, err := w.ledger.PutPrincipal(ctx, ledger.Principal{Ref: alice, Kind: ledger.PrincipalService})
		require.NoError(t, err)
		token, _ := w.mint(a)
		require.Equal(t, a.ref.String(), w.claims(token).Subject)
		_, _, err = w.ledger.PutPrincipal(ctx, ledger.Principal{Ref: alice, Kind: ledger.PrincipalHuman})
		require.NoError(t, err)
	})
	t.Run("a retirement", func(t *testing.T) {
		a := w.spawn("acme", "retired", "", nil, time.Hour)
		warm(a)
		require.NoError(t, w.ledger.RetireAgent(ctx, a.ref))
		_, reason := w.authenticates(a)
		require.Equal(t, "client_not_authenticated", reason)
	})
	t.Run("its expiry, which is no write", func(t *testing.T) {
		a := w.spawn("acme", "ending", "", nil, time.Hour)
		warm(a)
		w.shift.Add(int64(2 * time.Hour))
		defer w.shift.Add(-int64(2 * time.Hour))
		_, reason := w.authenticates(a)
		require.Equal(t, "agent_expired", reason)
	})
}

// TestEachWriteOfATemplateIsSeen: changed, deleted and made again.
func TestEachWriteOfATemplateIsSeen(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	const called = `[{"type":"agentid_template","template":"refund-customer","arguments":{"customer":"cus_123","max_amount":100}}]`
	ask := func() (map[string]any, int) {
		resp, doc := w.do(w.agent, w.tokenCall("authorization_details", called))
		return doc, resp.StatusCode
	}
	have, err := w.ledger.Template(ctx, "acme", "refund-customer")
	require.NoError(t, err)
	for range 2 {
		doc, code := ask()
		require.Equal(t, http.StatusOK, code, doc)
		require.Equal(t, "payments:refund", doc["scope"])
	}
	changed := have
	changed.Spec, changed.Meta = json.RawMessage(strings.ReplaceAll(string(have.Spec), `"uses":{"max":1}`, `"uses":{"max":7}`)), ledger.Meta{}
	_, _, err = w.ledger.PutTemplate(ctx, changed)
	require.NoError(t, err)
	doc, _ := ask()
	require.Contains(t, string(must(json.Marshal(doc["authorization_details"]))), `"uses":{"max":7}`)
	require.NoError(t, w.ledger.DeleteTemplate(ctx, "acme", "refund-customer"))
	doc, _ = ask()
	require.Equal(t, "template_unknown", doc["reason"])
	changed.Meta = ledger.Meta{}
	_, _, err = w.ledger.PutTemplate(ctx, changed)
	require.NoError(t, err)
	doc, code := ask()
	require.Equal(t, http.StatusOK, code, doc)
}

// TestEachWriteOfASecretIsSeen: a secret that was taken away is refused by the next
// request, and one more than the one that is remembered works at once; no other client's
// secret and no wrong one does, however warm it is.
func TestEachWriteOfASecretIsSeen(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	stripe := must(agentid.ConnectorRef("acme", "stripe"))
	token, _ := w.mint(w.agent)
	status := func(id string, secret agentid.Secret) int {
		resp, _ := w.post("/acme/oauth2/introspect", url.Values{"token": {token}}, basic(id, secret))
		return resp.StatusCode
	}
	const id = "connector:acme/stripe"
	for range 3 {
		require.Equal(t, http.StatusOK, status(id, w.secret))
		require.Equal(t, http.StatusUnauthorized, status("connector:acme/open", w.secret), "another client's")
		text := w.secret.Reveal()
		require.Equal(t, http.StatusUnauthorized, status(id, agentid.NewSecret(text[:len(text)-1]+"_")), "a wrong one of the same id")
		require.Equal(t, http.StatusUnauthorized, status(id, agentid.NewSecret("agentid_client_0000000000000000_none")), "one that is not there")
	}
	info, second, err := w.ledger.AddClientSecret(ctx, stripe)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status(id, second))
	require.Equal(t, http.StatusOK, status(id, w.secret))
	require.NoError(t, w.ledger.DeleteClientSecret(ctx, stripe, info.ID))
	require.Equal(t, http.StatusUnauthorized, status(id, second))
	require.Equal(t, http.StatusOK, status(id, w.secret))
}

// TestEachWriteOfARuleIsSeen: of rules and issuers, changed, deleted and made again.
func TestEachWriteOfARuleIsSeen(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	p := newPlatform(w)
	job := worker(t)
	ask := func() int {
		resp, _ := w.grant(job, p.token(nil))
		return resp.StatusCode
	}
	for range 3 {
		require.Equal(t, http.StatusOK, ask())
	}
	first := p.rule
	other := first
	other.Claims, other.Meta = json.RawMessage(`{"repository_id":"75","sub":{"like":"repo:acme/*"}}`), ledger.Meta{}
	p.put(other)
	require.Equal(t, http.StatusBadRequest, ask(), "another repository's")
	first.Meta = ledger.Meta{}
	p.put(first)
	require.Equal(t, http.StatusOK, ask())
	second := first
	second.Ref = must(agentid.ResourceRef(ledger.TypeEnrolmentRule, "acme", "twin"))
	p.put(second)
	require.Equal(t, http.StatusBadRequest, ask(), "two rules admit it")
	for _, name := range []string{"twin", "ci"} {
		require.NoError(t, w.ledger.DeleteEnrolmentRule(ctx, "acme", name))
	}
	require.Equal(t, http.StatusBadRequest, ask(), "no rule")
	require.NoError(t, w.ledger.DeleteWorkloadIssuer(ctx, "acme", "ci"))
	require.Equal(t, http.StatusBadRequest, ask(), "no issuer")
	_, _, err := w.ledger.PutWorkloadIssuer(ctx, ledger.WorkloadIssuer{Ref: first.Issuer, Kind: "github", Issuer: p.URL(), AllowPrivate: true})
	require.NoError(t, err)
	p.put(first)
	require.Equal(t, http.StatusOK, ask())
}

// TestARememberedTokenIsStillHeldAgainstTime: what is remembered of its text says
// nothing of whether it is good.
func TestARememberedTokenIsStillHeldAgainstTime(t *testing.T) {
	w := newWorld(t)
	token, _ := w.mint(w.agent)
	active := func() any {
		resp, doc := w.asService(token)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		return doc["active"]
	}
	for range 3 {
		require.Equal(t, true, active())
	}
	life := time.Until(w.claims(token).Expiry)
	w.shift.Add(int64(life + time.Second))
	require.Equal(t, false, active(), "expired")
	w.shift.Store(0)
	require.Equal(t, true, active())
	tampered := token[:len(token)-4] + "AAAA"
	_, doc := w.asService(tampered)
	require.Equal(t, inactive, doc)
}
