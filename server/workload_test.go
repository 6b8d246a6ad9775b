package server_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/federationtest"
	"github.com/agentid-dev/agentid/federation/keyset"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/enrol"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/tokens"
)

// platform is a workload issuer of acme, with a rule for it.
type platform struct {
	*federationtest.Issuer
	w    *world
	rule ledger.EnrolmentRule
}

// newPlatform makes an issuer of GitHub's kind and the rule "ci", which admits the main
// branch of one repository as refund-agents for alice, at most ten at a time.
func newPlatform(w *world) *platform {
	p := &platform{Issuer: federationtest.NewIssuer(w.tb), w: w}
	p.Roll(jose.ES256)
	ref := must(agentid.ResourceRef(ledger.TypeWorkloadIssuer, "acme", "ci"))
	_, _, err := w.ledger.PutWorkloadIssuer(context.Background(), ledger.WorkloadIssuer{
		Ref: ref, Kind: "github", Issuer: p.URL(), AllowPrivate: true,
	})
	require.NoError(w.tb, err)
	p.put(ledger.EnrolmentRule{
		Ref: must(agentid.ResourceRef(ledger.TypeEnrolmentRule, "acme", "ci")), Issuer: ref, Audience: w.base + "/acme",
		Claims: json.RawMessage(`{"repository_id":"74","sub":{"like":"repo:acme/*:ref:refs/heads/main"}}`),
		Type:   must(agentid.AgentTypeRef("acme", "refund-agent")), Principal: must(agentid.PrincipalRef("acme", "alice")),
		Lifetime: 30 * time.Minute, MaxLive: 10,
	})
	return p
}

func (p *platform) put(r ledger.EnrolmentRule) {
	p.w.tb.Helper()
	var err error
	p.rule, _, err = p.w.ledger.PutEnrolmentRule(context.Background(), r)
	require.NoError(p.w.tb, err)
}

// token is what the platform says of a job; more replaces claims, a nil value takes one out.
func (p *platform) token(more map[string]any) string {
	now := p.w.now()
	c := map[string]any{
		"iss": p.URL(), "aud": p.w.base + "/acme", "sub": "repo:acme/refunds:ref:refs/heads/main", "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"repository": "acme/refunds", "repository_id": "74", "repository_owner_id": "65", "job_workflow_ref": "acme/refunds/.github/workflows/x.yml@refs/heads/main",
	}
	maps.Copy(c, more)
	for name, value := range c {
		if value == nil {
			delete(c, name)
		}
	}
	return p.Sign(c)
}

// worker is a workload with a key of its own.
func worker(tb testing.TB) actor {
	tb.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(tb, err)
	return actor{key: jose.SigningKey{Algorithm: jose.EdDSA, Key: private}}
}

// grant asks by the assertion grant.
func (w *world) grant(a actor, token string, form ...string) (*http.Response, map[string]any) {
	return w.present(a, append([]string{"grant_type", discovery.GrantJWTBearer, "assertion", token}, form...)...)
}

// present asks with a proof by a's key and without an assertion of its own.
func (w *world) present(a actor, form ...string) (*http.Response, map[string]any) {
	w.tb.Helper()
	c := w.tokenCall(form...)
	for attempt := 0; ; attempt++ {
		header := http.Header{}
		if a.key.Key != nil {
			header.Set("DPoP", must(dpop.Sign(a.key, dpop.Request{Method: http.MethodPost, URL: w.base + c.path, Nonce: w.nonce, Now: w.now()})))
		}
		resp, doc := w.post(c.path, c.form, header)
		if doc["error"] != "use_dpop_nonce" || attempt > 0 {
			return resp, doc
		}
	}
}

// cause is the reason in the audit log of a refused request.
func (w *world) cause(resp *http.Response) auditlog.Record {
	w.tb.Helper()
	rec := w.audited(resp)
	require.Equal(w.tb, auditlog.Deny, rec.Decision)
	return rec
}

func TestAgentNeverSeenBeforeIsAdmittedByRule(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	job := worker(t)
	resp, doc := w.grant(job, p.token(nil))
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	require.Equal(t, "DPoP", doc["token_type"])
	require.NotContains(t, doc, "refresh_token")
	c := w.claims(doc["access_token"].(string))
	require.Equal(t, "principal:acme/alice", c.Subject)
	require.Equal(t, must(agentid.AgentTypeRef("acme", "refund-agent")), c.Context.AgentType)
	require.NotEmpty(t, c.Confirmation.JKT)
	agent, err := w.ledger.Agent(t.Context(), c.Agent())
	require.NoError(t, err)
	require.Equal(t, c.Confirmation.JKT, agent.Thumbprint)
	require.WithinDuration(t, w.now().Add(30*time.Minute), agent.Expires, time.Minute)

	records, err := w.ledger.Audit().Query(t.Context(), auditlog.Query{Tenant: "acme", Agent: c.Agent().String()})
	require.NoError(t, err)
	enrolled := map[string]string(nil)
	for _, r := range records.Records {
		if r.Operation == "agent.enrol" && r.Phase == auditlog.Finish {
			enrolled = r.Notes
		}
	}
	require.Equal(t, map[string]string{"rule": "ci", "workload_issuer": p.URL(), "workload_subject": "repo:acme/refunds:ref:refs/heads/main"}, enrolled)

	t.Run("the same instance is found again", func(t *testing.T) {
		resp, doc := w.grant(job, p.token(nil))
		require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
		require.Equal(t, c.Agent(), w.claims(doc["access_token"].(string)).Agent())
	})
	t.Run("another key is another instance", func(t *testing.T) {
		resp, doc := w.grant(worker(t), p.token(nil))
		require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
		require.NotEqual(t, c.Agent(), w.claims(doc["access_token"].(string)).Agent())
	})
	t.Run("it is an agent as any other: by its own key", func(t *testing.T) {
		token, _ := w.mint(actor{ref: c.Agent(), key: job.key})
		require.Equal(t, c.Agent(), w.claims(token).Agent())
	})
	t.Run("frozen, it gets nothing", func(t *testing.T) {
		w.remove(enabled(c.Agent()))
		resp, doc := w.grant(job, p.token(nil))
		require.Equal(t, http.StatusForbidden, resp.StatusCode, "%v", doc)
	})
}

func TestWorkloadTokensAreTakenInEveryWay(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	clientAssertion := func(token string) []string {
		return []string{"client_assertion_type", clientauth.AssertionType, "client_assertion", token}
	}
	for name, form := range map[string][]string{
		"assertion grant":                     {"grant_type", discovery.GrantJWTBearer, "assertion", p.token(nil)},
		"assertion grant, for the endpoint":   {"grant_type", discovery.GrantJWTBearer, "assertion", p.token(map[string]any{"aud": w.base + "/acme/oauth2/token"})},
		"assertion grant, without jti":        {"grant_type", discovery.GrantJWTBearer, "assertion", p.token(map[string]any{"jti": nil})},
		"client assertion":                    clientAssertion(p.token(nil)),
		"client assertion with its client_id": append(clientAssertion(p.token(nil)), "client_id", "repo:acme/refunds:ref:refs/heads/main"),
		"token exchange":                      {"grant_type", discovery.GrantTokenExchange, "subject_token_type", tokens.TypeJWT, "subject_token", p.token(nil)},
		"token exchange of an ID token": {
			"grant_type", discovery.GrantTokenExchange, "subject_token_type", tokens.TypeIDToken, "subject_token", p.token(nil),
			"requested_token_type", "urn:ietf:params:oauth:token-type:access_token",
		},
	} {
		resp, doc := w.present(worker(t), form...)
		require.Equal(t, http.StatusOK, resp.StatusCode, "%s: %v", name, doc)
	}
}

func TestRuleNamesWhatIsAskedFor(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	resp, doc := w.grant(worker(t), p.token(nil), "authorization_details", "")
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	require.Equal(t, "invalid_authorization_details", doc["error"])
	r := p.rule
	r.Details = json.RawMessage(details)
	p.put(r)
	resp, doc = w.grant(worker(t), p.token(nil), "authorization_details", "")
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	require.Equal(t, "payments:refund", doc["scope"])
}

// TestWorkloadRefusals: each check that fails is named in the log, and the caller gets the
// standard's error and nothing more.
func TestWorkloadRefusals(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	stranger := federationtest.NewIssuer(t)
	now := w.now()
	for name, c := range map[string]struct {
		token  string
		reason string
		field  string
	}{
		"issuer that nobody configured": {stranger.Sign(map[string]any{"iss": stranger.URL(), "sub": "x"}), federation.ReasonIssuer, ""},
		"key of another":                {federationtest.Sign(t, stranger.Key(), nil, map[string]any{"iss": p.URL(), "sub": "x"}), keyset.ReasonKey, ""},
		"no token":                      {"x", federation.ReasonIssuer, ""},
		"audience of another":           {p.token(map[string]any{"aud": "https://other.example"}), federation.ReasonAudience, "aud"},
		"shared default audience":       {p.token(map[string]any{"aud": "https://github.com/acme"}), federation.ReasonAudience, "aud"},
		"audience of us and another":    {p.token(map[string]any{"aud": []string{w.base + "/acme", "https://other.example"}}), federation.ReasonAudience, "aud"},
		"audience of another tenant":    {p.token(map[string]any{"aud": w.base + "/rival"}), federation.ReasonAudience, "aud"},
		"audience of the root":          {p.token(map[string]any{"aud": w.base}), federation.ReasonAudience, "aud"},
		"expired":                       {p.token(map[string]any{"exp": now.Add(-time.Minute).Unix()}), federation.ReasonExpired, "exp"},
		"of another branch":             {p.token(map[string]any{"sub": "repo:acme/refunds:ref:refs/heads/evil"}), enrol.ReasonNoRule, ""},
		"of another repository":         {p.token(map[string]any{"repository_id": "75"}), enrol.ReasonNoRule, ""},
		"of an organisation like ours":  {p.token(map[string]any{"sub": "repo:acme-evil/refunds:ref:refs/heads/main"}), enrol.ReasonNoRule, ""},
		"a claim is missing":            {p.token(map[string]any{"repository_id": nil}), federation.ReasonClaim, "repository_id"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, doc := w.grant(worker(t), c.token)
			require.Equal(t, http.StatusBadRequest, resp.StatusCode, "%v", doc)
			require.Equal(t, "invalid_grant", doc["error"])
			require.Equal(t, "invalid_grant", doc["reason"])
			require.Equal(t, "assertion: the assertion is not accepted", doc["error_description"])
			rec := w.cause(resp)
			require.Equal(t, c.reason, rec.Reason)
			require.Equal(t, c.field, rec.Field)

			resp, doc = w.present(worker(t), "client_assertion_type", clientauth.AssertionType, "client_assertion", c.token)
			require.Equal(t, http.StatusUnauthorized, resp.StatusCode, "%v", doc)
			require.Equal(t, "invalid_client", doc["error"])

			resp, doc = w.present(worker(t), "grant_type", discovery.GrantTokenExchange, "subject_token_type", tokens.TypeJWT, "subject_token", c.token)
			require.Equal(t, http.StatusBadRequest, resp.StatusCode, "%v", doc)
			require.Equal(t, "invalid_request", doc["error"])
		})
	}
	agents, err := w.ledger.Agents(t.Context(), ledger.AgentFilter{Tenant: "acme"})
	require.NoError(t, err)
	require.Len(t, agents, 1, "nobody was enrolled")
}

// TestClientAssertionForTheTokenEndpointIsRefused: a client assertion is for our issuer
// identifier alone (rfc7523bis); the assertion of a grant may be for the token endpoint.
func TestClientAssertionForTheTokenEndpointIsRefused(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	token := p.token(map[string]any{"aud": w.base + "/acme/oauth2/token"})
	resp, doc := w.present(worker(t), "client_assertion_type", clientauth.AssertionType, "client_assertion", token)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode, "%v", doc)
	require.Equal(t, federation.ReasonAudience, w.cause(resp).Reason)
	resp, doc = w.grant(worker(t), token)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
}

// TestWorkloadTokenReplay: a token with an id belongs to the first key that it comes with;
// as a client assertion it is used once.
func TestWorkloadTokenReplay(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	first, thief := worker(t), worker(t)
	token := p.token(nil)
	resp, doc := w.grant(first, token)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	resp, doc = w.grant(first, token)
	require.Equal(t, http.StatusOK, resp.StatusCode, "a platform repeats itself: %v", doc)
	resp, doc = w.grant(thief, token)
	require.Equal(t, http.StatusBadRequest, resp.StatusCode, "%v", doc)
	require.Equal(t, "assertion_replayed", w.cause(resp).Reason)

	assertion := []string{"client_assertion_type", clientauth.AssertionType, "client_assertion", p.token(nil)}
	resp, doc = w.present(first, assertion...)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	for _, a := range []actor{first, thief} {
		resp, doc = w.present(a, assertion...)
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode, "%v", doc)
		require.Equal(t, "assertion_replayed", w.cause(resp).Reason)
	}
}

func TestWorkloadProvesAKey(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	resp, doc := w.grant(actor{}, p.token(nil))
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	require.Equal(t, "invalid_dpop_proof", doc["error"])
	resp, doc = w.grant(worker(t), p.token(map[string]any{"cnf": map[string]any{"jkt": "another"}}))
	require.Equal(t, "invalid_grant", doc["error"], "%v", resp.StatusCode)
	require.Equal(t, "confirmation_mismatch", w.cause(resp).Reason)
}

func TestWorkloadsComeInAtTheTenant(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	for _, path := range []string{"/oauth2/token", "/rival/oauth2/token"} {
		c := w.tokenCall("grant_type", discovery.GrantJWTBearer, "assertion", p.token(nil))
		header := http.Header{"DPoP": {must(dpop.Sign(worker(t).key, dpop.Request{Method: http.MethodPost, URL: w.base + path, Now: w.now()}))}}
		resp, doc := w.post(path, c.form, header)
		require.Equal(t, "invalid_grant", doc["error"], "%s %v", path, resp.StatusCode)
	}
}

func TestCredentialsThatAreAmbiguous(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	c := w.tokenCall("client_assertion_type", tokens.AssertionSPIFFE, "client_assertion", p.token(nil))
	resp, doc := w.post(c.path, c.form, http.Header{"Authorization": {"Basic YTpi"}})
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	require.Equal(t, "invalid_request", doc["error"])
	for name, form := range map[string]url.Values{
		"no assertion":        {"grant_type": {discovery.GrantJWTBearer}},
		"an actor":            {"grant_type": {discovery.GrantTokenExchange}, "subject_token_type": {tokens.TypeJWT}, "subject_token": {p.token(nil)}, "actor_token": {"x"}},
		"another kind wanted": {"grant_type": {discovery.GrantTokenExchange}, "subject_token_type": {tokens.TypeJWT}, "subject_token": {p.token(nil)}, "requested_token_type": {tokens.TypeJWT}},
	} {
		resp, doc := w.post("/acme/oauth2/token", form, nil)
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, name)
		require.Equal(t, "invalid_request", doc["error"], name)
	}
	// Beside a client's own assertion the grant's is of a person (ID-JAG), which a workload is not.
	resp, doc = w.present(worker(t), "grant_type", discovery.GrantJWTBearer, "assertion", p.token(nil), "client_assertion_type", clientauth.AssertionType, "client_assertion", p.token(nil))
	require.Equal(t, http.StatusBadRequest, resp.StatusCode, "%v", doc)
	require.Equal(t, "invalid_grant", doc["error"], "%v", doc)
	resp, doc = w.present(worker(t), "client_assertion_type", clientauth.AssertionType, "client_assertion", p.token(nil), "client_id", "somebody-else")
	require.Equal(t, "invalid_client", doc["error"])
	require.Equal(t, "client_id_mismatch", w.cause(resp).Reason)
}

// TestConcurrentEnrolmentsStayWithinTheRule: fifty instances at once, ten may live.
func TestConcurrentEnrolmentsStayWithinTheRule(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	w.mint(w.agent) // for the nonce
	type outcome struct {
		status int
		doc    map[string]any
	}
	outcomes := make([]outcome, 50)
	var wg sync.WaitGroup
	for i := range outcomes {
		job, token, nonce := worker(t), p.token(nil), w.nonce
		wg.Go(func() {
			form := w.tokenCall("grant_type", discovery.GrantJWTBearer, "assertion", token).form
			req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, w.base+"/acme/oauth2/token", bodyOf(form))
			if err != nil {
				return
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("DPoP", must(dpop.Sign(job.key, dpop.Request{Method: http.MethodPost, URL: w.base + "/acme/oauth2/token", Nonce: nonce, Now: w.now()})))
			resp, err := w.web.Client().Do(req)
			if err != nil {
				return
			}
			defer func() { _ = resp.Body.Close() }()
			o := outcome{status: resp.StatusCode}
			_ = json.NewDecoder(resp.Body).Decode(&o.doc)
			outcomes[i] = o
		})
	}
	wg.Wait()
	count := map[int]int{}
	for _, o := range outcomes {
		count[o.status]++
		if o.status != http.StatusOK {
			require.Equal(t, "access_denied", o.doc["error"], "%v", o.doc)
			require.Equal(t, "workload_refused", o.doc["reason"])
		}
	}
	require.Equal(t, map[int]int{http.StatusOK: 10, http.StatusForbidden: 40}, count)

	t.Run("a retired agent makes room", func(t *testing.T) {
		agents, err := w.ledger.Agents(t.Context(), ledger.AgentFilter{Tenant: "acme"})
		require.NoError(t, err)
		for _, a := range agents {
			if a.Ref.Name()[:2] == "w-" {
				require.NoError(t, w.ledger.RetireAgent(t.Context(), a.Ref))
				break
			}
		}
		resp, doc := w.grant(worker(t), p.token(nil))
		require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
		resp, _ = w.grant(worker(t), p.token(nil))
		require.Equal(t, http.StatusForbidden, resp.StatusCode)
		require.Equal(t, "rule_exhausted", w.cause(resp).Reason)
	})
	t.Run("and so does one that expired", func(t *testing.T) {
		w.shift.Add(int64(31 * time.Minute))
		resp, doc := w.grant(worker(t), p.token(nil))
		require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	})
}

func TestTwoRulesAdmitNobody(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	r := p.rule
	r.Ref, r.Version = must(agentid.ResourceRef(ledger.TypeEnrolmentRule, "acme", "ci-2")), 0
	p.put(r)
	resp, doc := w.grant(worker(t), p.token(nil))
	require.Equal(t, "invalid_grant", doc["error"], "%v", doc)
	require.Equal(t, enrol.ReasonAmbiguous, w.cause(resp).Reason)
}

func TestRuleWithoutAPrincipalWaitsForADelegation(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	r := p.rule
	r.Principal = agentid.Ref{}
	p.put(r)
	resp, doc := w.grant(worker(t), p.token(nil))
	require.Equal(t, http.StatusForbidden, resp.StatusCode, "%v", doc)
	require.Equal(t, "principal_missing", w.cause(resp).Reason)
}

func TestInstanceEndsWithItsRulesLifetime(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	job := worker(t)
	resp, doc := w.grant(job, p.token(nil))
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	w.shift.Add(int64(31 * time.Minute))
	resp, doc = w.grant(job, p.token(nil))
	require.Equal(t, http.StatusForbidden, resp.StatusCode, "%v", doc)
	require.Equal(t, "agent_ended", w.cause(resp).Reason)
	resp, doc = w.grant(worker(t), p.token(nil))
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
}

// TestIdentityProviderDown: the keys that are there serve until they are too old; then the
// answer is 503 with the time to try again, and recovery needs no restart.
func TestIdentityProviderDown(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	ask := func() (*http.Response, map[string]any) { return w.grant(worker(t), p.token(nil)) }
	resp, doc := ask()
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	p.Down()
	w.shift.Add(int64(keyset.DefaultRefresh + time.Minute))
	resp, doc = ask()
	require.Equal(t, http.StatusOK, resp.StatusCode, "cached keys: %v", doc)
	w.shift.Add(int64(keyset.DefaultMaxStale))
	resp, doc = ask()
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, "%v", doc)
	require.Equal(t, "temporarily_unavailable", doc["error"])
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	p.Break(nil)
	w.shift.Add(int64(keyset.DefaultInterval + time.Second))
	resp, doc = ask()
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
}

func TestLedgerDownIsNoRefusalOfAWorkload(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	require.NoError(t, w.ledger.Close())
	resp, doc := w.grant(worker(t), p.token(nil))
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, fmt.Sprint(doc))
}

func bodyOf(form url.Values) *strings.Reader { return strings.NewReader(form.Encode()) }
