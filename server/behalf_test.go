package server_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/keyproof"
	"github.com/agentid-dev/agentid/federation/oidc"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/delegation"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/ledger"
)

// launch starts an agent of a person by their session.
func (w *world) launch(s session, name string, more map[string]any) (actor, *http.Response, map[string]any) {
	w.tb.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(w.tb, err)
	a := actor{ref: must(agentid.AgentRef("acme", name)), key: jose.SigningKey{Algorithm: jose.EdDSA, Key: private}}
	body := map[string]any{
		"type": "refund-agent", "name": name, "key": jose.JSONWebKey{Key: public}, "expires": w.now().Add(time.Hour).UTC(),
		"key_proof": must(keyproof.Sign(a.key, keyproof.Claims{Issuer: w.base + "/acme", Subject: a.ref}, w.now())),
	}
	for k, v := range more {
		if body[k] = v; v == nil {
			delete(body, k)
		}
	}
	resp, doc := w.ask(s.access, http.MethodPost, "/agents", body)
	return a, resp, doc
}

func (w *world) launched(s session, name string, more map[string]any) actor {
	w.tb.Helper()
	a, resp, doc := w.launch(s, name, more)
	require.Equal(w.tb, http.StatusCreated, resp.StatusCode, "%v", doc)
	return a
}

// bring asks for a token by something of a person.
func (w *world) bring(a actor, token, kind string, form ...string) (*http.Response, map[string]any) {
	w.tb.Helper()
	return w.do(a, w.tokenCall(append([]string{"grant_type", discovery.GrantTokenExchange, "subject_token", token, "subject_token_type", kind}, form...)...))
}

func TestPersonHasAnAgentActForThem(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	s := p.login()
	alice := w.principal(s.access)
	a := w.launched(s, "mine", nil)
	for name, sent := range map[string][2]string{
		"their ID token":         {p.idToken(nil), oidc.TypeIDToken},
		"their access token":     {p.sign("at+jwt", map[string]any{"client_id": "an-app", "jti": "j-1"}), oidc.TypeAccessToken},
		"their sign-in here":     {s.access, oidc.TypeAccessToken},
		"it names the actor too": {p.idToken(map[string]any{"may_act": map[string]any{"sub": a.ref.String()}}), oidc.TypeIDToken},
	} {
		t.Run(name, func(t *testing.T) {
			resp, doc := w.bring(a, sent[0], sent[1])
			require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
			require.Equal(t, oidc.TypeAccessToken, doc["issued_token_type"])
			require.NotContains(t, doc, "refresh_token")
			c := w.claims(doc["access_token"].(string))
			require.Equal(t, alice.String(), c.Subject)
			require.Equal(t, a.ref, c.Lineage()[0], "act is the agent")
			require.False(t, c.Context.OwnAuthority)
			require.Equal(t, "refund-agent", c.Context.AgentType.Name())
			require.NotEmpty(t, w.audited(resp).Notes["person_by"])
		})
	}
	soon := w.now().Add(time.Minute)
	resp, doc := w.bring(a, p.idToken(map[string]any{"exp": soon.Unix()}), oidc.TypeIDToken)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.LessOrEqual(t, doc["expires_in"].(float64), 60.0, "no longer than what was brought")
}

// ATTACKS: token exchange with an actor that is not in may_act, a subject token of a wrong
// type, a principal whose agent it is not, and each thing that is wrong with a token.
func TestPersonsTokenIsRefused(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	s := p.login()
	a := w.launched(s, "mine", nil)
	good := p.idToken(nil)
	for name, c := range map[string]struct {
		by    actor
		sent  string
		kind  string
		error string
		form  []string
	}{
		"an agent of somebody else":       {by: w.agent, sent: good, kind: oidc.TypeIDToken, error: "invalid_grant"},
		"another actor in may_act":        {by: a, sent: p.idToken(map[string]any{"may_act": map[string]any{"sub": "agent:acme/other"}}), kind: oidc.TypeIDToken, error: "invalid_grant"},
		"may_act that names nobody":       {by: a, sent: p.idToken(map[string]any{"may_act": map[string]any{}}), kind: oidc.TypeIDToken, error: "invalid_request"},
		"an ID token as access token":     {by: a, sent: good, kind: oidc.TypeAccessToken, error: "invalid_request"},
		"an access token as ID token":     {by: a, sent: p.sign("at+jwt", map[string]any{"client_id": "an-app"}), kind: oidc.TypeIDToken, error: "invalid_request"},
		"an access token of a client":     {by: a, sent: p.sign("at+jwt", map[string]any{"client_id": "u-1"}), kind: oidc.TypeAccessToken, error: "invalid_request"},
		"for somebody else":               {by: a, sent: p.idToken(map[string]any{"aud": "somebody"}), kind: oidc.TypeIDToken, error: "invalid_request"},
		"for us and somebody else":        {by: a, sent: p.idToken(map[string]any{"aud": []string{"agentid", "somebody"}}), kind: oidc.TypeIDToken, error: "invalid_request"},
		"issued to somebody else":         {by: a, sent: p.idToken(map[string]any{"azp": "somebody"}), kind: oidc.TypeIDToken, error: "invalid_request"},
		"expired":                         {by: a, sent: p.idToken(map[string]any{"exp": w.now().Add(-time.Second).Unix()}), kind: oidc.TypeIDToken, error: "invalid_request"},
		"of an issuer that is not set":    {by: a, sent: p.idToken(map[string]any{"iss": "https://evil.example"}), kind: oidc.TypeIDToken, error: "invalid_request"},
		"of an issuer with a slash":       {by: a, sent: p.idToken(map[string]any{"iss": p.server.URL + "/"}), kind: oidc.TypeIDToken, error: "invalid_request"},
		"of a person who never signed in": {by: a, sent: p.idToken(map[string]any{"sub": "u-2"}), kind: oidc.TypeIDToken, error: "invalid_request"},
		"with another signature":          {by: a, sent: good[:len(good)-8] + "AAAAAAAA", kind: oidc.TypeIDToken, error: "invalid_request"},
		"a refresh token":                 {by: a, sent: s.refresh, kind: "urn:ietf:params:oauth:token-type:refresh_token", error: "invalid_request"},
		"a made-up sign-in":               {by: a, sent: ledger.LoginTokenPrefix + "made-up", kind: oidc.TypeAccessToken, error: "invalid_request"},
		"with an actor token":             {by: a, sent: good, kind: oidc.TypeIDToken, error: "invalid_request", form: []string{"actor_token", "x", "actor_token_type", oidc.TypeJWT}},
		"asking for a refresh token":      {by: a, sent: good, kind: oidc.TypeIDToken, error: "invalid_request", form: []string{"requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"}},
	} {
		t.Run(name, func(t *testing.T) {
			resp, doc := w.bring(c.by, c.sent, c.kind, c.form...)
			require.Equal(t, http.StatusBadRequest, resp.StatusCode, "%v", doc)
			require.Equal(t, c.error, doc["error"], "%v", doc)
			require.NotContains(t, doc, "access_token")
		})
	}
}

// altered turns the first letter of a token's signature into another.
func altered(token string) string {
	at := strings.LastIndex(token, ".") + 1
	other := "A"
	if token[at:at+1] == other {
		other = "B"
	}
	return token[:at] + other + token[at+1:]
}

// The dry run says what a person's token resolves to, or the first step that fails and why.
func TestPersonsTokenExplained(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	alice := w.principal(p.login().access)
	people := w.broker.Principals()
	for name, c := range map[string]struct {
		token string
		fails string
	}{
		"an ID token":              {p.idToken(nil), ""},
		"an access token":          {p.sign("at+jwt", map[string]any{"client_id": "an-app"}), ""},
		"for somebody else":        {p.idToken(map[string]any{"aud": "somebody"}), "audience"},
		"expired":                  {p.idToken(map[string]any{"exp": w.now().Add(-time.Second).Unix()}), "time"},
		"another signature":        {altered(p.idToken(nil)), "signature"},
		"a person unknown":         {p.idToken(map[string]any{"sub": "u-2"}), "principal"},
		"without a subject":        {p.idToken(map[string]any{"sub": nil}), "claims"},
		"an access token's client": {p.sign("at+jwt", map[string]any{"client_id": "u-1"}), "claims"},
	} {
		t.Run(name, func(t *testing.T) {
			out, ok, err := people.Explain(t.Context(), "acme", c.token)
			require.NoError(t, err)
			require.True(t, ok)
			last := out.Checks[len(out.Checks)-1]
			if c.fails == "" {
				require.True(t, out.OK, "%v", out.Checks)
				require.Equal(t, alice, out.Principal)
				return
			}
			require.False(t, out.OK)
			require.EqualValues(t, c.fails, last.Step, "%v", out.Checks)
			require.NotEmpty(t, last.Reason)
		})
	}
	_, ok, err := people.Explain(t.Context(), "acme", p.idToken(map[string]any{"iss": "https://evil.example"}))
	require.NoError(t, err)
	require.False(t, ok)
	_, ok, err = people.Explain(t.Context(), "rival", p.idToken(nil))
	require.NoError(t, err)
	require.False(t, ok, "another tenant has another provider")
}

// The person must be allowed to launch agents of the type, and must hold what they delegate.
func TestPersonDelegatesOnlyWhatTheyMay(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	s := p.login()
	alice := w.principal(s.access)
	a := w.launched(s, "mine", nil)
	account := must(agentid.ResourceRef(schema.TypePaymentsAccount, "acme", "stripe"))
	typ := must(agentid.AgentTypeRef("acme", "refund-agent"))

	holds := relate.Edge{Resource: account, Relation: schema.PaymentsRefunder, Subject: relate.To(alice)}
	w.remove(holds)
	resp, doc := w.bring(a, p.idToken(nil), oidc.TypeIDToken)
	require.Equal(t, http.StatusForbidden, resp.StatusCode, "%v", doc)
	w.touch(holds)
	resp, doc = w.bring(a, p.idToken(nil), oidc.TypeIDToken)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)

	w.remove(relate.Edge{Resource: typ, Relation: schema.AgentTypeLauncher, Subject: relate.To(alice)})
	resp, doc = w.bring(a, p.idToken(nil), oidc.TypeIDToken)
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	require.Equal(t, "launch_refused", doc["reason"])
	_, resp, doc = w.launch(s, "another", nil)
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	require.Equal(t, "launch_refused", doc["reason"])
}

func TestLaunchIsRefused(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	s := p.login()
	for name, more := range map[string]map[string]any{
		"no proof of the key": {"key_proof": nil}, "another's proof": {"key_proof": "e30.e30.AA"}, "no name": {"name": nil},
		"no type": {"type": nil}, "a type that is not there": {"type": "nothing"}, "another's delegation": {"delegation": "d-none"},
		"an unknown field": {"principal": "alice"},
	} {
		t.Run(name, func(t *testing.T) {
			_, resp, doc := w.launch(s, "mine", more)
			require.GreaterOrEqual(t, resp.StatusCode, 400, "%v", doc)
			require.Less(t, resp.StatusCode, 500, "%v", doc)
		})
	}
	_, resp, _ := w.launch(session{}, "mine", nil)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
}

func (p *provider) idJAG(agent actor, more map[string]any) string {
	claims := map[string]any{"aud": p.w.base + "/acme", "client_id": agent.ref.String(), "jti": rand.Text(), "groups": nil, "name": nil}
	for k, v := range more {
		claims[k] = v
	}
	return p.sign(oidc.TypeIDJAG, claims)
}

func TestIdentityAssertion(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	s := p.login()
	alice, a := w.principal(s.access), w.launched(s, "mine", nil)
	grant := func(by actor, assertion string, form ...string) (*http.Response, map[string]any) {
		return w.do(by, w.tokenCall(append([]string{"grant_type", discovery.GrantJWTBearer, "assertion", assertion}, form...)...))
	}
	once := p.idJAG(a, nil)
	resp, doc := grant(a, once)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	require.Equal(t, alice.String(), w.claims(doc["access_token"].(string)).Subject)
	require.NotContains(t, doc, "refresh_token")
	bounded := p.idJAG(a, map[string]any{"resource": resource, "scope": "payments:refund", "authorization_details": json.RawMessage(strings.ReplaceAll(details, "4200", "100"))})
	resp, doc = grant(a, bounded, "resource", "")
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	require.Contains(t, string(must(json.Marshal(doc["authorization_details"]))), `"max":100`, "the assertion is one more ceiling")

	for name, c := range map[string]struct {
		assertion string
		error     string
	}{
		"used before":               {once, "invalid_grant"},
		"for another client":        {p.idJAG(w.agent, nil), "invalid_grant"},
		"for another issuer":        {p.idJAG(a, map[string]any{"aud": w.base}), "invalid_grant"},
		"for the token endpoint":    {p.idJAG(a, map[string]any{"aud": w.base + "/acme/oauth2/token"}), "invalid_grant"},
		"for two audiences":         {p.idJAG(a, map[string]any{"aud": []string{w.base + "/acme", w.base + "/acme"}}), "invalid_grant"},
		"without a jti":             {p.idJAG(a, map[string]any{"jti": nil}), "invalid_grant"},
		"without a client":          {p.idJAG(a, map[string]any{"client_id": nil}), "invalid_grant"},
		"of nobody that we know":    {p.idJAG(a, map[string]any{"sub": "u-2"}), "invalid_grant"},
		"expired":                   {p.idJAG(a, map[string]any{"exp": w.now().Add(-time.Second).Unix()}), "invalid_grant"},
		"an ID token":               {p.idToken(map[string]any{"aud": w.base + "/acme"}), "invalid_grant"},
		"another resource":          {p.idJAG(a, map[string]any{"resource": resourceBearer}), "invalid_target"},
		"a scope without it":        {p.idJAG(a, map[string]any{"scope": "payments:read_charge"}), "invalid_scope"},
		"a scope that is no text":   {p.idJAG(a, map[string]any{"scope": 1}), "invalid_grant"},
		"bounds that are not known": {p.idJAG(a, map[string]any{"authorization_details": []any{map[string]any{"type": "x"}}}), "invalid_"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, doc := grant(a, c.assertion)
			require.Equal(t, http.StatusBadRequest, resp.StatusCode, "%v", doc)
			require.Contains(t, doc["error"], c.error, "%v", doc)
		})
	}
}

// delegate grants a standing delegation on what details say, for an hour.
func (w *world) delegate(s session, text string, more map[string]any) (string, *http.Response, map[string]any) {
	w.tb.Helper()
	body := map[string]any{"type": "refund-agent", "authorization_details": json.RawMessage(text), "resource": resource, "until": w.now().Add(time.Hour).UTC()}
	for k, v := range more {
		if body[k] = v; v == nil {
			delete(body, k)
		}
	}
	resp, doc := w.ask(s.access, http.MethodPost, "/delegations", body)
	id, _ := doc["id"].(string)
	return id, resp, doc
}

func TestStandingDelegation(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	s := p.login()
	alice, a := w.principal(s.access), w.launched(s, "mine", nil)
	id, resp, doc := w.delegate(s, strings.Replace(details, `"constraints":{`, `"constraints":{"uses":{"max":3},`, 1), nil)
	require.Equal(t, http.StatusCreated, resp.StatusCode, "%v", doc)
	_, listed := w.ask(s.access, http.MethodGet, "/delegations", nil)
	require.Len(t, listed["items"], 1)

	// Nobody is at the keyboard: the agent names the delegation.
	resp, doc = w.bring(a, id, delegation.TypeDelegation, "authorization_details", "")
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	c := w.claims(doc["access_token"].(string))
	require.Equal(t, alice.String(), c.Subject)
	require.Equal(t, []string{id}, c.Context.Chain)
	require.Equal(t, id, c.Context.Delegation)
	counts := c.Counts(c.Capabilities[0])
	require.Len(t, counts, 2, "a use is one of the delegation's as well")
	require.Equal(t, id, counts[1].Token)
	require.EqualValues(t, 3, counts[1].Max)
	require.Equal(t, id, w.audited(resp).Notes["delegation"])
	narrow := strings.Replace(strings.ReplaceAll(details, "4200", "100"), `"constraints":{`, `"constraints":{"uses":{"max":1},`, 1)
	resp, doc = w.bring(a, id, delegation.TypeDelegation, "authorization_details", narrow)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)

	for name, form := range map[string][]string{
		"more money":          {"authorization_details", strings.ReplaceAll(narrow, "100", "4300")},
		"another customer":    {"authorization_details", strings.ReplaceAll(narrow, "cus_123", "cus_124")},
		"another operation":   {"authorization_details", `[{"type":"agentid_capability","identifier":"payments_customer:acme/cus_123","actions":["payments:read_charge"]}]`},
		"without its counts":  {"authorization_details", details},
		"at another resource": {"authorization_details", narrow, "resource", resourceBearer},
	} {
		t.Run(name, func(t *testing.T) {
			resp, doc := w.bring(a, id, delegation.TypeDelegation, form...)
			require.GreaterOrEqual(t, resp.StatusCode, 400, "%v", doc)
			require.Less(t, resp.StatusCode, 500, "%v", doc)
		})
	}
	resp, doc = w.bring(w.agent, id, delegation.TypeDelegation)
	require.Equal(t, "invalid_grant", doc["error"], "an agent of somebody else")
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	w.shift.Add(int64(time.Hour + time.Minute))
	_, doc = w.bring(a, id, delegation.TypeDelegation)
	require.Equal(t, "invalid_request", doc["error"], "it has expired")
}

// Taking a delegation back stops tokens and agents under it, and nothing else.
func TestDelegationTakenBack(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	s := p.login()
	a := w.launched(s, "mine", nil)
	id, _, _ := w.delegate(s, details, nil)
	other, _, _ := w.delegate(s, details, nil)
	under := w.launched(s, "under", map[string]any{"delegation": id})
	_, doc := w.bring(a, id, delegation.TypeDelegation)
	token := doc["access_token"].(string)
	_, doc = w.bring(a, other, delegation.TypeDelegation)
	stays := doc["access_token"].(string)
	own, _ := w.mint(under)
	child := w.childOf(a, "below")
	childToken, _ := w.exchange(child, token)

	for _, good := range []string{token, stays, own, childToken} {
		_, told := w.asService(good)
		require.Equal(t, true, told["active"])
	}
	resp, doc := w.ask(s.access, http.MethodDelete, "/delegations/"+id, nil)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	require.Equal(t, "revoked", doc["state"])
	for _, gone := range []string{token, own, childToken} {
		_, told := w.asService(gone)
		require.Equal(t, inactive, told)
	}
	_, told := w.asService(stays)
	require.Equal(t, true, told["active"], "another delegation's token stays")
	_, doc = w.bring(a, id, delegation.TypeDelegation)
	require.Equal(t, "invalid_request", doc["error"])
	_, resp, doc = w.launch(s, "late", map[string]any{"delegation": id})
	require.Equal(t, http.StatusForbidden, resp.StatusCode, "%v", doc)
	require.Equal(t, "delegation_ended", doc["reason"])
	row, err := w.ledger.Agent(context.Background(), under.ref)
	require.NoError(t, err)
	require.Equal(t, ledger.AgentRetired, row.State)
	resp, _ = w.ask(s.access, http.MethodDelete, "/delegations/"+id, nil)
	require.Equal(t, http.StatusOK, resp.StatusCode, "it may be repeated")
}

// childOf spawns a child of an agent that was launched.
func (w *world) childOf(parent actor, name string) actor {
	w.tb.Helper()
	row, err := w.ledger.Agent(context.Background(), parent.ref)
	require.NoError(w.tb, err)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(w.tb, err)
	child := ledger.Agent{
		Ref: must(agentid.AgentRef("acme", name)), Type: row.Type, Principal: row.Principal, Parent: parent.ref, Kind: ledger.Attenuated,
		PublicKey: must(json.Marshal(jose.JSONWebKey{Key: public})), Expires: w.now().Add(time.Hour),
	}
	_, _, err = w.ledger.PutAgent(context.Background(), child)
	require.NoError(w.tb, err)
	w.touch(
		relate.Edge{Resource: child.Ref, Relation: schema.AgentTenant, Subject: relate.To(must(agentid.TenantRef("acme")))},
		relate.Edge{Resource: child.Ref, Relation: schema.AgentType, Subject: relate.To(child.Type)},
		relate.Edge{Resource: child.Ref, Relation: schema.AgentPrincipal, Subject: relate.To(child.Principal)},
		relate.Edge{Resource: child.Type, Relation: schema.AgentTypeInstance, Subject: relate.To(child.Ref)},
		relate.Edge{Resource: child.Ref, Relation: schema.AgentLineage, Subject: relate.To(child.Ref)},
		relate.Edge{Resource: child.Ref, Relation: schema.AgentLineage, Subject: relate.To(parent.ref)},
		enabled(child.Ref),
	)
	return actor{ref: child.Ref, key: jose.SigningKey{Algorithm: jose.EdDSA, Key: private}}
}

func TestDelegationIsRefused(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	s := p.login()
	for name, c := range map[string]struct {
		details string
		more    map[string]any
		status  int
	}{
		"no end":                   {details, map[string]any{"until": nil}, 400},
		"an end that has passed":   {details, map[string]any{"until": w.now().Add(-time.Second).UTC()}, 400},
		"for years":                {details, map[string]any{"until": w.now().AddDate(3, 0, 0).UTC()}, 400},
		"no type":                  {details, map[string]any{"type": nil}, 400},
		"a type that is not there": {details, map[string]any{"type": "nothing"}, 403},
		"another tenant's":         {strings.ReplaceAll(details, "acme/cus", "rival/cus"), nil, 400},
		"an unknown operation":     {strings.ReplaceAll(details, "payments:refund", "payments:steal"), nil, 400},
		"nothing":                  {`[]`, nil, 400},
		"an unknown field":         {details, map[string]any{"principal": "principal:acme/alice"}, 400},
	} {
		t.Run(name, func(t *testing.T) {
			_, resp, doc := w.delegate(s, c.details, c.more)
			require.Equal(t, c.status, resp.StatusCode, "%v", doc)
		})
	}
	id, _, _ := w.delegate(s, details, nil)
	p.set(func() { p.subject = "u-2" })
	bob := p.login()
	resp, _ := w.ask(bob.access, http.MethodDelete, "/delegations/"+id, nil)
	require.Equal(t, http.StatusNotFound, resp.StatusCode, "somebody else's does not exist")
	_, listed := w.ask(bob.access, http.MethodGet, "/delegations", nil)
	require.Empty(t, listed["items"])
	resp, _ = w.ask(bob.access, http.MethodPost, "/logout", nil)
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
	resp, _ = w.ask(bob.access, http.MethodGet, "/delegations", nil)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode, "signed out")
}

// Removing a person from a group takes effect at the next sign-in, and by a sync; a
// provider that is down changes nothing, one that knows the session no more vouches for
// nothing.
func TestGroupsAreReconciled(t *testing.T) {
	w := newWorld(t)
	p := newProvider(w)
	s := p.login()
	alice := w.principal(s.access)
	people := w.broker.Principals()
	typ := must(agentid.AgentTypeRef("acme", "refund-agent"))
	may := func() bool { return people.MayLaunch(t.Context(), typ, alice) == nil }
	require.True(t, may())

	p.set(func() { p.claims = map[string]any{"groups": []string{"staff"}} })
	require.True(t, may(), "nothing is known yet")
	p.login()
	require.False(t, may())
	p.set(func() { p.claims = map[string]any{} })
	p.login()
	require.True(t, may())

	p.set(func() { p.claims = map[string]any{"groups": nil} })
	change, err := people.Sync(t.Context(), alice, nil, "admin")
	require.NoError(t, err)
	require.Equal(t, "provider", change.Source)
	require.Len(t, change.Removed, 3, "a claim that is gone gives nothing")
	require.False(t, may())
	change, err = people.Sync(t.Context(), alice, []string{"support"}, "admin")
	require.NoError(t, err)
	require.Equal(t, "given", change.Source)
	require.Equal(t, []string{"agent_type:acme/refund-agent#launcher", "payments_account:acme/stripe#refunder"}, change.Added)
	p.set(func() { p.down = true })
	_, err = people.Sync(t.Context(), alice, nil, "admin")
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err))
	require.True(t, may())
	p.set(func() { p.down, p.refuse = false, true })
	change, err = people.Sync(t.Context(), alice, nil, "admin")
	require.NoError(t, err)
	require.Equal(t, "refused", change.Source)
	require.False(t, may())
	_, err = people.Sync(t.Context(), principalRef("acme", "alice"), nil, "admin")
	require.Equal(t, "principal_local", agentid.ReasonOf(err))

	// What somebody else gave is nobody's group's to take away.
	own := relate.Edge{Resource: must(agentid.TenantRef("acme")), Relation: schema.TenantMember, Subject: relate.To(alice)}
	w.touch(own)
	_, err = people.Sync(t.Context(), alice, []string{"staff"}, "admin")
	require.NoError(t, err)
	change, err = people.Sync(t.Context(), alice, []string{}, "admin")
	require.NoError(t, err)
	require.Empty(t, change.Removed)
}
