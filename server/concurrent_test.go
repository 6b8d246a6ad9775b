package server_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/ledger"
)

// One assertion, a hundred requests at once: one token.
func TestConcurrentUseOfOneAssertion(t *testing.T) {
	w := newWorld(t)
	w.mint(w.agent)
	form := w.tokenCall("client_assertion_type", clientauth.AssertionType, "client_assertion", w.assertion(w.agent, w.base+"/acme")).form.Encode()
	var granted, replayed atomic.Int64
	var group sync.WaitGroup
	for range 100 {
		proof := must(dpop.Sign(w.agent.key, dpop.Request{Method: http.MethodPost, URL: w.base + "/acme/oauth2/token", Nonce: w.nonce, Now: w.now()}))
		group.Go(func() {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/acme/oauth2/token", strings.NewReader(form))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("DPoP", proof)
			rec := httptest.NewRecorder()
			w.router.ServeHTTP(rec, r)
			switch {
			case rec.Code == http.StatusOK:
				granted.Add(1)
			case rec.Code == http.StatusUnauthorized && strings.Contains(rec.Body.String(), "assertion_replayed"):
				replayed.Add(1)
			}
		})
	}
	group.Wait()
	require.Equal(t, int64(1), granted.Load())
	require.Equal(t, int64(99), replayed.Load())
}

// Every token that left has its row in the audit log and in the index, and no other has.
func TestEveryTokenHasItsRecord(t *testing.T) {
	w := newWorld(t)
	w.mint(w.agent)
	var mu sync.Mutex
	issued := map[string]bool{}
	var group sync.WaitGroup
	for range 40 {
		form := w.tokenCall("client_assertion_type", clientauth.AssertionType, "client_assertion", w.assertion(w.agent, w.base+"/acme")).form
		proof := must(dpop.Sign(w.agent.key, dpop.Request{Method: http.MethodPost, URL: w.base + "/acme/oauth2/token", Nonce: w.nonce, Now: w.now()}))
		group.Go(func() {
			resp, doc := (&world{tb: t, web: w.web, base: w.base}).post("/acme/oauth2/token", form, http.Header{"Dpop": {proof}})
			if resp.StatusCode == http.StatusOK {
				token, _ := doc["access_token"].(string)
				mu.Lock()
				defer mu.Unlock()
				issued[w.claims(token).ID] = true
			}
		})
	}
	group.Wait()
	require.Len(t, issued, 40)
	page, err := w.ledger.Audit().Query(t.Context(), auditlog.Query{Kind: auditlog.Issue, Limit: 1000})
	require.NoError(t, err)
	recorded := 0
	for _, rec := range page.Records {
		if issued[rec.Token] {
			recorded++
			require.Equal(t, auditlog.Allow, rec.Decision)
		}
	}
	require.Equal(t, 40, recorded)
	tokens, err := w.ledger.Tokens(t.Context(), ledger.TokenFilter{Tenant: "acme", Agent: w.agent.ref, Page: ledger.Page{Limit: 1000}})
	require.NoError(t, err)
	require.Len(t, tokens, 41)
}

// What a tenant has is not there for another: the fleet's view is by ref.
func TestFleetKnowsOnlyWhatIsThere(t *testing.T) {
	w := newWorld(t)
	f := w.broker.Fleet()
	_, err := f.Connector(must(agentid.ConnectorRef("rival", "open")))
	require.Equal(t, agentid.KindNotFound, agentid.KindOf(err))
	for _, issuer := range []string{"https://evil.example", w.base + "/", w.base + "/acme/", ""} {
		_, err = f.Key(t.Context(), issuer, w.broker.Signer().Keys()[0].ID)
		require.Equal(t, agentid.KindUnauthenticated, agentid.KindOf(err), issuer)
	}
	_, err = f.Key(t.Context(), w.base+"/acme", "unknown")
	require.Equal(t, agentid.KindUnauthenticated, agentid.KindOf(err))
	key, err := f.Key(t.Context(), w.base+"/acme", w.broker.Signer().Keys()[0].ID)
	require.NoError(t, err)
	require.True(t, key.IsPublic())

	before, err := f.Connectors(t.Context())
	require.NoError(t, err)
	require.NoError(t, w.ledger.PutCredential(t.Context(), must(agentid.ConnectorRef("acme", "stripe")), agentid.NewSecret("sk_test_1")))
	require.NoError(t, f.Reload(t.Context()))
	after, err := f.Connector(must(agentid.ConnectorRef("acme", "stripe")))
	require.NoError(t, err)
	require.Equal(t, "sk_test_1", after.Credential.Reveal())
	for _, c := range before {
		if c.Ref == after.Ref {
			require.Greater(t, after.Version, c.Version)
			require.True(t, c.Credential.IsZero(), "an older view does not change")
		}
	}
	require.NoError(t, w.ledger.Close())
	require.Error(t, f.Reload(t.Context()))
	_, err = f.Connector(after.Ref)
	require.NoError(t, err, "the view that was there stays")
}
