package server_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/capability/dpop"
)

func TestProofNeedsOurNonce(t *testing.T) {
	w := newWorld(t)
	resp, doc := w.once(w.agent, w.tokenCall())
	w.refused(resp, doc, 400, "use_dpop_nonce", "use_dpop_nonce")
	require.NotEmpty(t, resp.Header.Get("DPoP-Nonce"))
	require.Empty(t, resp.Header.Get("WWW-Authenticate"))
	resp, doc = w.once(w.agent, w.tokenCall())
	require.Equal(t, 200, resp.StatusCode, "%v", doc)

	c := w.tokenCall()
	c.proof.Nonce = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	resp, doc = w.once(w.agent, c)
	w.refused(resp, doc, 400, "use_dpop_nonce", "use_dpop_nonce")

	w.shift.Add(int64(3 * time.Minute))
	resp, doc = w.once(w.agent, w.tokenCall())
	w.refused(resp, doc, 400, "use_dpop_nonce", "use_dpop_nonce")
	w.mint(w.agent)
}

// A client may answer the challenge with the assertion that it sent before.
func TestNonceChallengeLeavesTheAssertion(t *testing.T) {
	w := newWorld(t)
	c := w.tokenCall("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
		"client_assertion", w.assertion(w.agent, w.base+"/acme"))
	resp, doc := w.once(w.agent, c)
	require.Equal(t, "use_dpop_nonce", doc["error"])
	require.Equal(t, 400, resp.StatusCode)
	resp, doc = w.once(w.agent, c)
	require.Equal(t, 200, resp.StatusCode, "%v", doc)
}

func TestProofs(t *testing.T) {
	w := newWorld(t)
	w.mint(w.agent)
	_, otherKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	proof := func(key jose.SigningKey, change func(*dpop.Request)) string {
		r := dpop.Request{Method: http.MethodPost, URL: w.base + "/acme/oauth2/token", Nonce: w.nonce, Now: w.now()}
		change(&r)
		return must(dpop.Sign(key, r))
	}
	keep := func(*dpop.Request) {}
	for _, c := range []struct {
		name   string
		proof  func() []string
		reason string // "": granted
	}{
		{"good", func() []string { return []string{proof(w.agent.key, keep)} }, ""},
		{"query in htu does not count", func() []string { return []string{proof(w.agent.key, func(r *dpop.Request) { r.URL += "?x=1" })} }, ""},
		{"10 seconds ago", func() []string {
			return []string{proof(w.agent.key, func(r *dpop.Request) { r.Now = r.Now.Add(-10 * time.Second) })}
		}, ""},
		{"10 seconds ahead", func() []string {
			return []string{proof(w.agent.key, func(r *dpop.Request) { r.Now = r.Now.Add(10 * time.Second) })}
		}, ""},
		{"an hour ago", func() []string {
			return []string{proof(w.agent.key, func(r *dpop.Request) { r.Now = r.Now.Add(-time.Hour) })}
		}, "invalid_dpop_proof"},
		{"an hour ahead", func() []string {
			return []string{proof(w.agent.key, func(r *dpop.Request) { r.Now = r.Now.Add(time.Hour) })}
		}, "invalid_dpop_proof"},
		{"other htu", func() []string {
			return []string{proof(w.agent.key, func(r *dpop.Request) { r.URL = w.base + "/rival/oauth2/token" })}
		}, "invalid_dpop_proof"},
		{"root's htu at the tenant", func() []string {
			return []string{proof(w.agent.key, func(r *dpop.Request) { r.URL = w.base + "/oauth2/token" })}
		}, "invalid_dpop_proof"},
		{"other htm", func() []string {
			return []string{proof(w.agent.key, func(r *dpop.Request) { r.Method = http.MethodGet })}
		}, "invalid_dpop_proof"},
		{"other key", func() []string {
			return []string{proof(jose.SigningKey{Algorithm: jose.EdDSA, Key: otherKey}, keep)}
		}, "dpop_key_mismatch"},
		{"two proofs", func() []string { return []string{proof(w.agent.key, keep), proof(w.agent.key, keep)} }, "invalid_dpop_proof"},
		{"not a proof", func() []string { return []string{"x.y.z"} }, "invalid_dpop_proof"},
		{"none, at a connector that takes only bound tokens", func() []string { return nil }, "dpop_required"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.tb = t
			call := w.tokenCall()
			call.header, call.noProof = http.Header{"Dpop": c.proof()}, true
			resp, doc := w.once(w.agent, call)
			if c.reason == "" {
				require.Equal(t, 200, resp.StatusCode, "%v", doc)
				return
			}
			w.refused(resp, doc, 400, "invalid_dpop_proof", c.reason)
		})
	}
	w.tb = t
	t.Run("replayed", func(t *testing.T) {
		w.tb = t
		call := w.tokenCall()
		call.header, call.noProof = http.Header{"Dpop": {proof(w.agent.key, keep)}}, true
		resp, doc := w.once(w.agent, call)
		require.Equal(t, 200, resp.StatusCode, "%v", doc)
		resp, doc = w.once(w.agent, call)
		w.refused(resp, doc, 400, "invalid_dpop_proof", "invalid_dpop_proof")
	})
	w.tb = t
}

func TestBearerOnlyWhereTheConnectorAllowsIt(t *testing.T) {
	w := newWorld(t)
	c := w.tokenCall("resource", resourceBearer)
	c.noProof = true
	resp, doc := w.do(w.agent, c)
	require.Equal(t, 200, resp.StatusCode, "%v", doc)
	require.Equal(t, "Bearer", doc["token_type"])
	require.InDelta(t, 30, doc["expires_in"], 0)
	require.Empty(t, resp.Header.Get("DPoP-Nonce"))
	claims := w.claims(doc["access_token"].(string))
	require.True(t, claims.Confirmation.IsZero())
	require.Equal(t, "bearer", w.audited(resp).Notes["binding"])

	// A proof gets a bound token with the ordinary life there, too.
	_, doc = w.mint(w.agent, "resource", resourceBearer)
	require.Equal(t, "DPoP", doc["token_type"])
	require.InDelta(t, 300, doc["expires_in"], 0)
}

func TestES256Agent(t *testing.T) {
	w := newWorld(t)
	a, _ := w.spawnES256("acme", "ag-es256")
	token, _ := w.mint(a)
	require.Equal(t, a.ref.String(), w.claims(token).ClientID)
}
