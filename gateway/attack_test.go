package gateway_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/wire"
)

// A stolen token names whose it was: the log says which token to revoke, and that its
// presenter did not prove the key.
func TestStolenTokenIsNamedInTheLog(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant("", "payments:read_customer"))
	path := "/v1/customers/cus_1"
	require.Equal(t, 200, w.send(token, get(path)).status) // and the nonce is known
	require.NotContains(t, w.last().Notes, "key")
	_, thief, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	foreign, err := dpop.Sign(jose.SigningKey{Algorithm: jose.EdDSA, Key: thief}, dpop.Request{
		Method: "GET", URL: w.base + path, AccessToken: token, Nonce: *w.nonce.Load(), Now: time.Now(),
	})
	require.NoError(t, err)
	for reason, header := range map[string]http.Header{
		"token_bound":        {"Authorization": {"Bearer " + token}},
		"dpop_proof_missing": {"Authorization": {"DPoP " + token}},
		"invalid_dpop_proof": {"Authorization": {"DPoP " + token}, "Dpop": {foreign}},
	} {
		require.Equal(t, reason, w.raw(get(path), header).reason())
		r := w.last()
		require.Equal(t, reason, r.Reason)
		require.Equal(t, auditlog.Authn, r.Kind)
		require.Equal(t, auditlog.Deny, r.Decision)
		require.Equal(t, "acme", r.Tenant)
		require.Equal(t, w.Agents[0].String(), r.Agent)
		require.Equal(t, w.Alice.String(), r.Principal)
		require.Equal(t, w.Type.String(), r.AgentType)
		require.Equal(t, w.idOf(token).Name(), r.Token)
		require.Len(t, r.Lineage, len(w.Agents))
		require.Equal(t, "unproven", r.Notes["key"])
		require.Equal(t, "connector:acme/stripe", r.Notes["connector"])
	}
	// A token that does not verify names nobody: its text is the presenter's own.
	require.Equal(t, "token_signature", w.raw(get(path), http.Header{"Authorization": {"Bearer " + token[:len(token)-4] + "AAAA"}}).reason())
	r := w.last()
	require.Empty(t, r.Agent+r.Principal+r.Token)
	require.NotContains(t, r.Notes, "key")
}

// Whoever floods the gateway without any token cannot hide the use of a stolen one.
func TestFloodOfStrangersHidesNoStolenToken(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant("", "payments:read_customer"))
	for range 150 {
		require.Equal(t, "credential_missing", w.raw(get("/v1/customers/cus_1"), http.Header{}).reason())
	}
	require.Equal(t, "token_bound", w.raw(get("/v1/customers/cus_1"), http.Header{"Authorization": {"Bearer " + token}}).reason())
	require.Equal(t, "token_bound", w.last().Reason)
}

// An agent over its rate is refused as often as it likes, but does not fill the disk.
func TestAgentOverItsRateDoesNotFillTheLog(t *testing.T) {
	w := newWorld(t, options{connector: func(c *wire.Connector) {
		c.Rates = wire.Rates{TokenPerMinute: 1, TokenBurst: 1, AgentPerMinute: 1, AgentBurst: 1}
	}})
	token := w.token(nil, w.grant("", "payments:read_customer"))
	require.Equal(t, 200, w.send(token, get("/v1/customers/cus_1")).status)
	started := time.Now()
	for range 300 {
		require.Equal(t, "rate_limited", w.send(token, get("/v1/customers/cus_1")).reason())
	}
	most := 101 + 5*(2+int(time.Since(started)/time.Second))
	require.Less(t, len(w.records()), most)
	r := w.last()
	require.Equal(t, auditlog.Operation, r.Kind)
	require.Equal(t, w.Agents[0].String(), r.Agent)
}

// A proof of an agent over its rate is not remembered: the memory of proofs is everybody's,
// and when it is full everybody is refused.
func TestAgentOverItsRateFillsNoMemoryOfProofs(t *testing.T) {
	w := newWorld(t, options{connector: func(c *wire.Connector) {
		c.Rates = wire.Rates{TokenPerMinute: 1, TokenBurst: 1, AgentPerMinute: 1, AgentBurst: 1}
	}})
	token, path := w.token(nil, w.grant("", "payments:read_customer")), "/v1/customers/cus_1"
	require.Equal(t, 200, w.send(token, get(path)).status)
	proof, err := w.proofs.Sign(dpop.Request{Method: "GET", URL: w.base + path, AccessToken: token, Nonce: *w.nonce.Load(), Now: time.Now()})
	require.NoError(t, err)
	for range 2 {
		a := w.raw(get(path), http.Header{"Authorization": {"DPoP " + token}, "Dpop": {proof}})
		require.Equal(t, "rate_limited", a.reason())
	}
}

// A replay is refused before it counts: it takes nothing from the rate of its victim.
func TestReplayTakesNothingFromTheRate(t *testing.T) {
	w := newWorld(t, options{connector: func(c *wire.Connector) {
		c.Rates = wire.Rates{TokenPerMinute: 1, TokenBurst: 3, AgentPerMinute: 1, AgentBurst: 3}
	}})
	token, path := w.token(nil, w.grant("", "payments:read_customer")), "/v1/customers/cus_1"
	require.Equal(t, 200, w.send(token, get(path)).status)
	proof, err := w.proofs.Sign(dpop.Request{Method: "GET", URL: w.base + path, AccessToken: token, Nonce: *w.nonce.Load(), Now: time.Now()})
	require.NoError(t, err)
	captured := http.Header{"Authorization": {"DPoP " + token}, "Dpop": {proof}}
	require.Equal(t, 200, w.raw(get(path), captured).status)
	for range 5 {
		require.Equal(t, "invalid_dpop_proof", w.raw(get(path), captured).reason())
		require.Equal(t, "unproven", w.last().Notes["key"])
	}
	require.Equal(t, 200, w.send(token, get(path)).status)
}

// Spellings that Stripe's parser could take for a declared parameter, and ours for none or
// for another one, are refused before anything is looked up or reserved.
func TestSpellingsOfOneParameter(t *testing.T) {
	w := newWorld(t, options{})
	token := w.token(nil, w.grant(`{"amount":{"max":4200,"currency":"usd"}}`))
	lookups := len(w.sent.of("GET"))
	for body, reason := range map[string]string{
		"charge[]=ch_other&charge=ch_1&amount=1":          "parameter_unknown",
		"charge[0]=ch_1&amount=1":                         "parameter_unknown",
		"charge=ch_1&amount[foo]=9&amount=1":              "parameter_unknown",
		"charge=ch_1&amount[]=1":                          "parameter_unknown",
		"charge=ch_1&amount=1&amoun%74=9999":              "parameter_repeated",
		"charge=ch_1&charg%65=ch_other&amount=1":          "parameter_repeated",
		"charge=ch_1&amount=1&AMOUNT=9":                   "parameter_unknown",
		"charge=ch_1&amount=1&amount%00=9":                "form_malformed",
		"charge=ch_1&amount=1&amount%20=9":                "parameter_unknown",
		"charge=ch_1&amount=1&+amount=9":                  "parameter_unknown",
		"charge=ch_1&amount=1;amount=9":                   "form_malformed",
		"charge=ch_1&amount=%zz":                          "form_malformed",
		"charge=ch_1&amount=1%2b1":                        "parameter_invalid",
		"charge=ch_1&amount=+1":                           "parameter_invalid",
		"charge=ch_1&amount=01":                           "parameter_invalid",
		"charge=ch_1&amount=1e3":                          "parameter_invalid",
		"charge=ch_1&amount=%EF%BC%91":                    "parameter_invalid",
		"charge=ch_1%2F..%2Fch_other&amount=1":            "parameter_invalid",
		"charge=ch_1%0d%0aX:+y&amount=1":                  "parameter_invalid",
		"charge=ch_1&payment_intent=pi_1&amount=1":        "parameter_invalid",
		"charge=&payment_intent=pi_1&amount=1":            "parameter_invalid",
		"charge=ch_1&amount=1&metadata[a]=1&metadata[a]=": "parameter_repeated",
		"charge=ch_1&amount=1&metadata[a][b]=1":           "parameter_unknown",
		"charge=ch_1&amount=1&metadata[]=1":               "parameter_unknown",
		"charge=ch_1&amount=1&metadata=1":                 "parameter_unknown",
		"charge=ch_1&amount=1&metadata[a]]=1":             "parameter_unknown",
		"charge=ch_1&amount=1&currency=eur":               "parameter_unknown",
		"charge=ch_1&amount=1&customer=cus_1":             "parameter_unknown",
		"charge=ch_1&amount=1&":                           "form_malformed",
	} {
		a := w.send(token, w.refund(body, "key"))
		require.Equal(t, 400, a.status, body+a.body)
		require.Equal(t, reason, a.reason(), body)
		require.Equal(t, reason, w.last().Reason, body)
	}
	require.Len(t, w.sent.of("GET"), lookups)
	require.Empty(t, w.sent.of("POST"))
}
