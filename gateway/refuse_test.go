package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/gateway"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/paysim"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/schema"
)

// limited is the worked example's capability: 42.00 usd, of what is left, once.
const limited = `{"amount":{"max":4200,"currency":"usd","at_most_fact":"charge.refundable"},"uses":{"max":1}}`

func TestRefusals(t *testing.T) {
	open := `{"amount":{"max":1000000,"currency":"usd"}}`
	ok := "charge=ch_1&amount=100"
	shared := newWorld(t, options{}) // for the rows that change nothing
	for name, c := range map[string]struct {
		limits         string
		before         func(*world)
		edit           func(*capability.Claims)
		send           sending
		status         int
		reason, field  string
		typ            string
		reachesLookups bool
	}{
		"over its limit":                {limits: limited, send: sending{body: "charge=ch_1&amount=4201"}, status: 403, reason: "constraint_amount_max", field: "amount", reachesLookups: true},
		"wrong currency":                {limits: limited, send: sending{body: "charge=ch_eur&amount=100"}, status: 403, reason: "constraint_amount_currency", field: "amount", reachesLookups: true},
		"over the tenant's limit":       {limits: open, send: sending{body: "charge=ch_1&amount=5001"}, status: 403, reason: "policy_denied", reachesLookups: true},
		"more than the charge has":      {limits: open, before: func(w *world) { w.drain("ch_half", 4000) }, send: sending{body: "charge=ch_half&amount=1001"}, status: 403, reason: "constraint_amount_at_most_fact", field: "amount", reachesLookups: true},
		"another customer":              {limits: limited, send: sending{body: "charge=ch_other&amount=100"}, status: 403, reason: "resource_not_permitted", reachesLookups: true},
		"charge that does not exist":    {limits: limited, send: sending{body: "charge=ch_none&amount=100"}, status: 403, reason: "resource_not_permitted", reachesLookups: true},
		"subscription modified":         {limits: limited, send: sending{path: "/v1/subscriptions/sub_1", body: "metadata[a]=b"}, status: 403, reason: "operation_unmatched"},
		"operation not in token":        {limits: limited, send: sending{method: "GET", path: "/v1/customers/cus_1", body: "-"}, status: 403, reason: "operation_not_permitted"},
		"token revoked":                 {limits: limited, before: func(w *world) { w.revokeAll = true }, send: sending{body: ok}, status: 401, reason: "token_revoked"},
		"agent frozen":                  {limits: limited, before: func(w *world) { w.Delete(t, w.Enabled(w.Agents[0])) }, send: sending{body: ok}, status: 403, reason: "agent_not_live"},
		"tenant disabled":               {limits: limited, before: func(w *world) { w.Delete(t, edge(w.Tenant, schema.TenantEnabled, relate.All(schema.TypeAgent))) }, send: sending{body: ok}, status: 403, reason: "agent_not_live"},
		"connector inactive":            {limits: limited, before: func(w *world) { w.Delete(t, edge(w.Account, schema.PaymentsEnabled, relate.All(schema.TypeAgent))) }, send: sending{body: ok}, status: 403, reason: "account_inactive", reachesLookups: true},
		"principal lost its grant":      {limits: limited, before: func(w *world) { w.Delete(t, w.PrincipalGrant()) }, send: sending{body: ok}, status: 403, reason: "principal_denied", reachesLookups: true},
		"agent type lost its grant":     {limits: limited, before: func(w *world) { w.Delete(t, w.AgentGrant()) }, send: sending{body: ok}, status: 403, reason: "policy_denied", reachesLookups: true},
		"customer barred":               {limits: limited, before: func(w *world) { w.Touch(t, w.Bar(w.Customer, relate.All(schema.TypeAgent))) }, send: sending{body: ok}, status: 403, reason: "barred", reachesLookups: true},
		"token expired":                 {limits: limited, edit: aged(time.Hour), send: sending{body: ok}, status: 401, reason: "token_expired", field: "exp"},
		"token of the future":           {limits: limited, edit: aged(-time.Hour), send: sending{body: ok}, status: 401, reason: "token_not_yet_valid", field: "iat"},
		"token for another audience":    {limits: limited, edit: func(c *capability.Claims) { c.Audience = "https://other.example.com" }, send: sending{body: ok}, status: 401, reason: "token_audience", field: "aud"},
		"token of another issuer":       {limits: limited, edit: func(c *capability.Claims) { c.Issuer = "https://evil.example.com/acme" }, send: sending{body: ok}, status: 401, reason: "token_issuer", field: "iss"},
		"token of before a restore":     {limits: limited, edit: func(c *capability.Claims) { c.Context.Incarnation = "inc-0" }, send: sending{body: ok}, status: 401, reason: "token_incarnation"},
		"forged zookie":                 {limits: limited, edit: func(c *capability.Claims) { c.Context.Zookie = "Zm9yZ2Vk" }, send: sending{body: ok}, status: 403, reason: "zookie_invalid"},
		"unbound token as DPoP":         {limits: limited, edit: func(c *capability.Claims) { c.Confirmation = capability.Confirmation{} }, send: sending{body: ok}, status: 401, reason: "token_unbound"},
		"no idempotency key":            {limits: limited, send: sending{body: ok, key: "-"}, status: 400, reason: "idempotency_key_missing", field: "Idempotency-Key", typ: "idempotency_error"},
		"idempotency key too long":      {limits: limited, send: sending{body: ok, key: strings.Repeat("k", 256)}, status: 400, reason: "parameter_invalid", field: "Idempotency-Key"},
		"idempotency key not printable": {limits: limited, send: sending{body: ok, key: "a b"}, status: 400, reason: "parameter_invalid", field: "Idempotency-Key"},
		"amount missing":                {limits: limited, send: sending{body: "charge=ch_1"}, status: 400, reason: "parameter_missing", field: "amount"},
		"amount twice":                  {limits: limited, send: sending{body: "charge=ch_1&amount=1&amount=9"}, status: 400, reason: "parameter_repeated", field: "amount"},
		"amount negative":               {limits: limited, send: sending{body: "charge=ch_1&amount=-1"}, status: 400, reason: "parameter_invalid", field: "amount"},
		"amount fractional":             {limits: limited, send: sending{body: "charge=ch_1&amount=1.5"}, status: 400, reason: "parameter_invalid", field: "amount"},
		"amount over 2^53":              {limits: limited, send: sending{body: "charge=ch_1&amount=9007199254740993"}, status: 400, reason: "parameter_invalid", field: "amount"},
		"undeclared parameter":          {limits: limited, send: sending{body: ok + "&reverse_transfer=true"}, status: 400, reason: "parameter_unknown", field: "reverse_transfer"},
		"parameter in the query":        {limits: limited, send: sending{path: "/v1/refunds?amount=1", body: ok}, status: 400, reason: "parameter_unknown", field: "amount"},
		"body over the cap":             {limits: limited, send: sending{body: ok + "&metadata[a]=" + strings.Repeat("x", 70000)}, status: 413, reason: "body_too_large"},
		"wrong content type":            {limits: limited, send: sending{body: `{"amount":1}`, header: http.Header{"Content-Type": {"application/json"}}}, status: 415, reason: "unsupported_media_type", field: "Content-Type"},
		"gzip body":                     {limits: limited, send: sending{body: ok, header: http.Header{"Content-Encoding": {"gzip"}}}, status: 400, reason: "content_encoding", field: "Content-Encoding"},
		"graph down":                    {limits: limited, before: func(w *world) { w.checker.down.Store(true) }, send: sending{body: ok}, status: 503, reason: "graph_unavailable"},
		"ledger down":                   {limits: limited, before: func(w *world) { w.effects.down.Store(true) }, send: sending{body: ok}, status: 503, reason: "ledger_unavailable", reachesLookups: true},
		"constraint on unknown input":   {limits: `{"colour":{"is":"red"}}`, send: sending{body: ok}, status: 403, reason: "constraint_unsupported", field: "constraints.colour", reachesLookups: true},
		"outside of the network":        {limits: `{"client_ip":{"within":["10.0.0.0/8"]}}`, send: sending{body: ok}, status: 403, reason: "constraint_client_ip_within", field: "client_ip", reachesLookups: true},
		"no credential configured":      {limits: limited, before: func(w *world) { w.fleet.change(func(c *wire.Connector) { c.Credential = agentid.Secret{} }) }, send: sending{body: ok}, status: 503, reason: "connector_unconfigured"},
	} {
		t.Run(name, func(t *testing.T) {
			w := shared
			if c.before != nil {
				w = newWorld(t, options{})
			}
			w.tb = t
			token := w.token(c.edit, w.grant(c.limits))
			if c.before != nil {
				c.before(w)
			}
			if w.revokeAll {
				w.Touch(t, w.Revoke(w.idOf(token)))
			}
			lookups := len(w.sent.of("GET"))
			s := c.send
			if s.method == "" {
				s.method = "POST"
			}
			if s.path == "" {
				s.path = "/v1/refunds"
			}
			switch s.key {
			case "":
				s.key = "key"
			case "-":
				s.key = ""
			}
			if s.body == "-" {
				s.body, s.key = "", ""
			}
			down := w.effects.down.Load()
			a := w.send(token, s)
			require.Equal(t, c.reason, a.reason(), a.body)
			require.Equal(t, c.status, a.status, a.body)
			require.Equal(t, c.field, a.field("param"), a.body)
			typ := c.typ
			if typ == "" {
				typ = "invalid_request_error"
				if c.status >= 500 {
					typ = "api_error"
				}
			}
			require.Equal(t, typ, a.field("type"))
			if c.status < 500 {
				require.Equal(t, "false", a.header.Get("Stripe-Should-Retry"))
			}
			require.NotEmpty(t, a.header.Get("Request-Id"))
			require.NotContains(t, a.body, "payments_account")
			require.Empty(t, w.sent.of("POST"), "nothing reaches the upstream")
			if !c.reachesLookups {
				require.Len(t, w.sent.of("GET"), lookups, "no lookup for whom may do nothing")
			}
			if down {
				return
			}
			row := w.last()
			require.Equal(t, c.reason, row.Reason)
			require.Equal(t, auditlog.Deny, row.Decision)
			require.Equal(t, a.header.Get("Request-Id"), row.Request)
		})
	}
}

func edge(resource agentid.Ref, relation string, subject relate.Subject) relate.Edge {
	return relate.Edge{Resource: resource, Relation: relation, Subject: subject}
}

func aged(by time.Duration) func(*capability.Claims) {
	return func(c *capability.Claims) {
		c.IssuedAt, c.NotBefore, c.Expiry = c.IssuedAt.Add(-by), c.NotBefore.Add(-by), c.Expiry.Add(-by)
	}
}

// drain refunds at the upstream, past the gateway.
func (w *world) drain(charge string, amount int64) {
	r, err := http.NewRequestWithContext(w.tb.Context(), "POST", (*w.fleet.connectors.Load())[0].Upstream+"/v1/refunds",
		strings.NewReader("charge="+charge+"&amount="+itoa(amount)))
	require.NoError(w.tb, err)
	r.Header.Set("Authorization", "Bearer "+upstreamKey)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(r)
	require.NoError(w.tb, err)
	require.NoError(w.tb, resp.Body.Close())
	require.Equal(w.tb, 200, resp.StatusCode)
	w.sent.mu <- struct{}{}
	w.sent.all = nil
	<-w.sent.mu
}

func TestUsedUpToken(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant(limited))
	require.Equal(t, 200, w.send(token, w.refund("charge=ch_1&amount=4200", "k1")).status)
	a := w.send(token, w.refund("charge=ch_1&amount=100", "k2"))
	require.Equal(t, 403, a.status)
	require.Equal(t, "uses_exhausted", a.reason())
	require.Equal(t, "uses_exhausted", w.last().Reason)
	require.EqualValues(t, 4200, w.sim.Refunded("ch_1"))
}

func TestSecondCapabilityTakesOverWhenTheFirstIsUsedUp(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant(limited), w.grant(`{"amount":{"max":100,"currency":"usd"},"uses":{"max":1}}`))
	require.Equal(t, 200, w.send(token, w.refund("charge=ch_1&amount=100", "k1")).status)
	require.Equal(t, 200, w.send(token, w.refund("charge=ch_1&amount=100", "k2")).status)
	require.Equal(t, "uses_exhausted", w.send(token, w.refund("charge=ch_1&amount=100", "k3")).reason())
}

func TestStolenTokens(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant("", "payments:read_customer"))
	path := "/v1/customers/cus_1"
	require.Equal(t, 200, w.send(token, get(path)).status) // and the nonce is known
	proof := func(edit func(*dpop.Request)) string {
		r := dpop.Request{Method: "GET", URL: w.base + path, AccessToken: token, Nonce: *w.nonce.Load(), Now: time.Now()}
		if edit != nil {
			edit(&r)
		}
		p, err := w.proofs.Sign(r)
		require.NoError(t, err)
		return p
	}
	_, other, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	foreign, err := dpop.Sign(jose.SigningKey{Algorithm: jose.EdDSA, Key: other}, dpop.Request{Method: "GET", URL: w.base + path, AccessToken: token, Nonce: *w.nonce.Load(), Now: time.Now()})
	require.NoError(t, err)
	replayed := proof(nil)
	require.Equal(t, 200, w.raw(get(path), http.Header{"Authorization": {"DPoP " + token}, "Dpop": {replayed}}).status)

	for name, c := range map[string]struct {
		authorization, proof []string
		path                 string
		status               int
		reason               string
	}{
		"no credential":            {status: 401, reason: "credential_missing"},
		"as Bearer":                {authorization: []string{"Bearer " + token}, status: 401, reason: "token_bound"},
		"as bearer in lower case":  {authorization: []string{"bearer " + token}, status: 401, reason: "token_bound"},
		"without proof":            {authorization: []string{"DPoP " + token}, status: 401, reason: "dpop_proof_missing"},
		"another key's proof":      {authorization: []string{"DPoP " + token}, proof: []string{foreign}, status: 401, reason: "invalid_dpop_proof"},
		"replayed proof":           {authorization: []string{"DPoP " + token}, proof: []string{replayed}, status: 401, reason: "invalid_dpop_proof"},
		"proof for another path":   {authorization: []string{"DPoP " + token}, proof: []string{proof(func(r *dpop.Request) { r.URL = w.base + "/v1/customers/cus_2" })}, status: 401, reason: "invalid_dpop_proof"},
		"proof for another method": {authorization: []string{"DPoP " + token}, proof: []string{proof(func(r *dpop.Request) { r.Method = "POST" })}, status: 401, reason: "invalid_dpop_proof"},
		"proof for another token":  {authorization: []string{"DPoP " + token}, proof: []string{proof(func(r *dpop.Request) { r.AccessToken = token + "x" })}, status: 401, reason: "invalid_dpop_proof"},
		"proof without nonce":      {authorization: []string{"DPoP " + token}, proof: []string{proof(func(r *dpop.Request) { r.Nonce = "" })}, status: 401, reason: "use_dpop_nonce"},
		"old proof":                {authorization: []string{"DPoP " + token}, proof: []string{proof(func(r *dpop.Request) { r.Now = time.Now().Add(-time.Hour) })}, status: 401, reason: "invalid_dpop_proof"},
		"two proofs":               {authorization: []string{"DPoP " + token}, proof: []string{proof(nil), proof(nil)}, status: 400, reason: "header_repeated"},
		"two credentials":          {authorization: []string{"DPoP " + token, "DPoP " + token}, proof: []string{proof(nil)}, status: 400, reason: "header_repeated"},
		"token also in the query":  {authorization: []string{"DPoP " + token}, proof: []string{proof(nil)}, path: path + "?access_token=" + token, status: 400, reason: "credential_repeated"},
		"token in the query only":  {path: path + "?access_token=" + token, status: 401, reason: "credential_missing"},
		"basic credential":         {authorization: []string{"Basic c2s6"}, status: 401, reason: "credential_scheme"},
		"broken token":             {authorization: []string{"Bearer a.b.c"}, status: 401, reason: "token_malformed"},
		"tampered token":           {authorization: []string{"DPoP " + token[:len(token)-4] + "AAAA"}, proof: []string{proof(nil)}, status: 401, reason: "token_signature"},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(w.sent.of("GET"))
			h := http.Header{}
			if c.authorization != nil {
				h["Authorization"] = c.authorization
			}
			if c.proof != nil {
				h["Dpop"] = c.proof
			}
			target := c.path
			if target == "" {
				target = path
			}
			a := w.raw(get(target), h)
			require.Equal(t, c.reason, a.reason(), a.body)
			require.Equal(t, c.status, a.status)
			require.Len(t, w.sent.of("GET"), before)
			require.NotContains(t, a.body, token)
			challenge := strings.Join(a.header.Values("WWW-Authenticate"), "; ")
			require.Contains(t, challenge, "resource_metadata=\""+w.base+"/.well-known/oauth-protected-resource\"")
			if c.status == 401 && c.reason != "credential_missing" {
				require.Contains(t, challenge, `error="`)
			}
			if c.reason == "credential_missing" {
				require.NotContains(t, challenge, "error=")
				require.Contains(t, challenge, `scope="payments:read_customer"`)
			}
			if c.reason == "use_dpop_nonce" {
				require.NotEmpty(t, a.header.Get("DPoP-Nonce"))
				require.Contains(t, challenge, `error="use_dpop_nonce"`)
				return
			}
			require.Equal(t, c.reason, w.last().Reason)
		})
	}
}

func TestBearerIsAnOptInWithAShortLife(t *testing.T) {
	unbound := func(life time.Duration) func(*capability.Claims) {
		return func(c *capability.Claims) {
			c.Confirmation, c.Expiry = capability.Confirmation{}, c.IssuedAt.Add(life)
		}
	}
	w := newWorld(t, options{connector: func(c *wire.Connector) { c.AllowBearer, c.BearerLifetime = true, time.Minute }})
	g := w.grant("", "payments:read_customer")
	send := func(token string) answer {
		return w.raw(get("/v1/customers/cus_1"), http.Header{"Authorization": {"bearer " + token}})
	}
	require.Equal(t, 200, send(w.token(unbound(time.Minute), g)).status)
	require.Equal(t, "bearer", w.last().Notes["binding"])
	require.Equal(t, "bearer_lifetime", send(w.token(unbound(time.Minute+time.Second), g)).reason())
	require.Equal(t, "token_bound", send(w.token(nil, g)).reason())
	w.fleet.change(func(c *wire.Connector) { c.AllowBearer = false })
	require.Equal(t, "bearer_not_allowed", send(w.token(unbound(time.Minute), g)).reason())
}

func TestRateLimits(t *testing.T) {
	w := newWorld(t, options{connector: func(c *wire.Connector) {
		c.Rates = wire.Rates{TokenPerMinute: 1, TokenBurst: 3, AgentPerMinute: 1, AgentBurst: 5}
	}})
	g := w.grant("", "payments:read_customer")
	first, second := w.token(nil, g), w.token(nil, g)
	for range 3 {
		require.Equal(t, 200, w.send(first, get("/v1/customers/cus_1")).status)
	}
	a := w.send(first, get("/v1/customers/cus_1"))
	require.Equal(t, 429, a.status)
	require.Equal(t, "rate_limited", a.reason())
	require.Equal(t, "token", a.field("param"))
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.Equal(t, "rate_limited", w.last().Reason)
	require.Equal(t, 200, w.send(second, get("/v1/customers/cus_1")).status)
	a = w.send(second, get("/v1/customers/cus_1"))
	require.Equal(t, 429, a.status)
	require.Equal(t, "agent", a.field("param"))
}

func TestHostThatNoConnectorServes(t *testing.T) {
	w := newWorld(t, options{})
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.base+"/v1/customers/cus_1", nil)
	require.NoError(t, err)
	req.Host = "other.example.com"
	resp, err := w.client.Do(req)
	require.NoError(t, err)
	_ = resp.Body.Close()
	require.Equal(t, 404, resp.StatusCode)
	require.Equal(t, "connector_unknown", w.last().Reason)
}

func TestReadsAreRefusedWhenTheLogCannotBeWritten(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant("", "payments:read_customer"))
	w.effects.down.Store(true)
	a := w.send(token, get("/v1/customers/cus_1"))
	require.Equal(t, 503, a.status)
	require.Equal(t, "ledger_unavailable", a.reason())
}

func TestUpstreamFailures(t *testing.T) {
	refundable := `{"id":"ch_1","object":"charge","customer":"cus_1","currency":"usd","amount":6000,"amount_refunded":0}`
	for name, c := range map[string]struct {
		post            http.HandlerFunc
		status          int
		reason          string
		upstream        int
		consumed, holds bool
	}{
		"refused":              {post: status(402), status: 402, upstream: 402},
		"rate limited":         {post: status(429), status: 429, upstream: 429, consumed: true, holds: true},
		"conflict":             {post: status(409), status: 409, upstream: 409, consumed: true, holds: true},
		"failed":               {post: status(500), status: 500, upstream: 500, consumed: true, holds: true},
		"rejected credential":  {post: status(401), status: 502, reason: "upstream_rejected_credential", upstream: 401},
		"credential forbidden": {post: status(403), status: 502, reason: "upstream_rejected_credential", upstream: 403},
		"redirect":             {post: redirect, status: 502, reason: "upstream_redirected", upstream: 302, consumed: true, holds: true},
		"broken off":           {post: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, status: 502, reason: "upstream_failed", consumed: true, holds: true},
		"compressed":           {post: compressed, status: 502, reason: "upstream_encoding", upstream: 200, consumed: true, holds: true},
		"too slow":             {post: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, status: 504, reason: "upstream_timeout", consumed: true, holds: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, options{
				upstream: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if r.Method == "GET" {
						_, _ = rw.Write([]byte(refundable))
						return
					}
					c.post(rw, r)
				}),
				config: func(cfg *gateway.Config) {
					cfg.UpstreamTimeout, cfg.HoldWait = 500*time.Millisecond, 50*time.Millisecond
				},
			})
			token := w.token(nil, w.grant(`{"uses":{"max":1}}`))
			a := w.send(token, w.refund("charge=ch_1&amount=5000", "k"))
			require.Equal(t, c.status, a.status, a.body)
			require.Equal(t, c.reason, a.reason())
			require.NotContains(t, a.body+strings.Join(a.header.Values("Location"), ""), upstreamKey)
			require.Empty(t, a.header.Get("Location"))
			row := w.last()
			require.Equal(t, auditlog.Finish, row.Phase)
			require.Equal(t, c.upstream, row.UpstreamStatus)
			require.Equal(t, c.reason, row.Reason)
			require.Equal(t, auditlog.Allow, row.Decision)

			again := w.send(token, w.refund("charge=ch_1&amount=100", "k2"))
			require.Equal(t, c.consumed, again.reason() == "uses_exhausted", again.body)
			held := w.send(w.token(nil, w.grant("")), w.refund("charge=ch_1&amount=2000", "k3"))
			if c.holds {
				require.Equal(t, "hold_pending", held.reason(), held.body)
				require.Equal(t, 409, held.status)
			} else {
				require.NotEqual(t, "hold_pending", held.reason(), held.body)
			}
		})
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func redirect(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "https://login.example.com/?key="+upstreamKey, http.StatusFound)
}

func compressed(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Encoding", "gzip")
	_, _ = w.Write([]byte("x"))
}

func TestUpstreamDownReleasesTheHold(t *testing.T) {
	w := newWorld(t, options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	dead := "http://" + l.Addr().String()
	require.NoError(t, l.Close())
	token := w.token(nil, w.grant(`{"uses":{"max":1}}`))
	live := (*w.fleet.connectors.Load())[0].Upstream
	w.fleet.change(func(c *wire.Connector) { c.Upstream = dead })
	a := w.send(token, w.refund("charge=ch_1&amount=100", "k"))
	require.Equal(t, 502, a.status)
	require.Equal(t, "upstream_unreachable", a.reason())
	w.fleet.change(func(c *wire.Connector) { c.Upstream = live })
	require.Equal(t, 200, w.send(token, w.refund("charge=ch_1&amount=100", "k")).status)
}

func TestPrivateUpstreamIsRefusedUnlessAllowed(t *testing.T) {
	w := newWorld(t, options{connector: func(c *wire.Connector) { c.AllowPrivateUpstream = false }})
	a := w.send(w.token(nil, w.grant("", "payments:read_customer")), get("/v1/customers/cus_1"))
	require.Equal(t, 502, a.status)
	require.Equal(t, "upstream_blocked", a.reason())
	require.Empty(t, w.sent.of("GET"))
}

func TestRetryWithTheSameKeyConsumesNothingTwice(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant(limited))
	first := w.send(token, w.refund("charge=ch_1&amount=4200", "k"))
	require.Equal(t, 200, first.status)
	again := w.send(token, w.refund("charge=ch_1&amount=4200", "k"))
	require.Equal(t, 200, again.status, again.body)
	require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
	require.JSONEq(t, first.body, again.body)
	require.Len(t, w.sim.Refunds(), 1)
	require.Len(t, w.sent.of("POST"), 2)
	require.Equal(t, w.sent.of("POST")[0].header.Get("Idempotency-Key"), w.sent.of("POST")[1].header.Get("Idempotency-Key"))

	other := w.send(token, w.refund("charge=ch_1&amount=100", "k"))
	require.Equal(t, 400, other.status)
	require.Equal(t, "idempotency_key_reused", other.reason())
	require.Equal(t, "idempotency_error", other.field("type"))
	require.Len(t, w.sim.Refunds(), 1)
}

func TestAgentsDoNotShareIdempotencyKeys(t *testing.T) {
	w := newWorld(t, options{})
	require.Equal(t, 200, w.send(w.token(nil, w.grant("")), w.refund("charge=ch_1&amount=100", "k")).status)
	w.Agents = nil
	w.Spawn(t, "ag-other", w.Type)
	require.Equal(t, 200, w.send(w.token(nil, w.grant("")), w.refund("charge=ch_1&amount=100", "k")).status)
	posts := w.sent.of("POST")
	require.NotEqual(t, posts[0].header.Get("Idempotency-Key"), posts[1].header.Get("Idempotency-Key"))
	require.Len(t, w.sim.Refunds(), 2)
}

func TestRevocationHoldsAtTheNextRequest(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant("", "payments:read_customer"))
	require.Equal(t, 200, w.send(token, get("/v1/customers/cus_1")).status)
	w.Touch(t, w.Revoke(w.idOf(token)))
	a := w.send(token, get("/v1/customers/cus_1"))
	require.Equal(t, 401, a.status)
	require.Equal(t, "token_revoked", a.reason())
	require.Contains(t, strings.Join(a.header.Values("WWW-Authenticate"), ""), `error="invalid_token"`)
}

func TestClientThatLeavesDoesNotLeaveAnEffectOpen(t *testing.T) {
	reached, release := make(chan struct{}), make(chan struct{})
	w := newWorld(t, options{sim: func(c *paysim.Config) {
		c.Before = func(r *http.Request) {
			if r.Method == "POST" {
				close(reached)
				<-release
			}
		}
	}})
	token := w.token(nil, w.grant(limited))
	w.send(token, w.refund("charge=ch_1&amount=9999", "warm")) // learns the nonce
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		proof, _ := w.proofs.Sign(dpop.Request{Method: "POST", URL: w.base + "/v1/refunds", AccessToken: token, Nonce: *w.nonce.Load(), Now: time.Now()})
		req, _ := http.NewRequestWithContext(ctx, "POST", w.base+"/v1/refunds", strings.NewReader("charge=ch_1&amount=4200"))
		req.Header = http.Header{"Authorization": {"DPoP " + token}, "Dpop": {proof}, "Idempotency-Key": {"k"}, "Content-Type": {"application/x-www-form-urlencoded"}}
		if resp, err := w.client.Do(req); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-reached
	cancel()
	<-gone
	close(release)
	require.Eventually(t, func() bool {
		r := w.last()
		return r.Phase == auditlog.Finish && r.UpstreamStatus == 200
	}, 5*time.Second, 5*time.Millisecond)
	require.EqualValues(t, 4200, w.sim.Refunded("ch_1"))
}

func (w *world) idOf(token string) agentid.Ref {
	w.tb.Helper()
	v, err := capability.NewVerifier(capability.VerifierConfig{Keys: w.fleet, Base: issuer, Now: time.Now})
	require.NoError(w.tb, err)
	claims, err := v.VerifyIssued(w.tb.Context(), token)
	require.NoError(w.tb, err)
	return policytest.Must(agentid.TokenRef("acme", claims.ID))
}
