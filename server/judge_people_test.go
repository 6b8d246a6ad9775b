package server_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/federation/keyset"
	"github.com/agentid-dev/agentid/federation/oidc"
	"github.com/agentid-dev/agentid/internal/testenv/idp"
	"github.com/agentid-dev/agentid/server/ledger"
)

// signIn is a person who signs in through a real provider with the command line's client.
func (w *world) signIn(t *testing.T, u idp.User) session {
	t.Helper()
	back, err := idp.Visit(t.Context(), w.authorizeURL(), u, cliURI)
	require.NoError(t, err)
	require.Equal(t, w.base+"/acme", back.Query().Get("iss"))
	resp, doc := w.people("authorization_code", "code", back.Query().Get("code"), "redirect_uri", cliURI, "code_verifier", verifier)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	return session{doc["access_token"].(string), doc["refresh_token"].(string)}
}

// direct is the ID token that the provider gives our client for a person.
func (w *world) direct(t *testing.T, p *idp.Provider, u idp.User) string {
	t.Helper()
	ours := idp.Client{ID: "agentid", Secret: "our secret there", Redirects: []string{w.base + "/acme/login/callback"}}
	tokens, err := p.SignIn(t.Context(), ours, u, "")
	require.NoError(t, err)
	return tokens.ID
}

// A real provider goes down: agents get tokens for their people by the keys that are there;
// when those are too old it is 503 with the time to ask again; the provider comes back, and
// so does the broker, without a restart. Then its key rolls.
func TestIdentityProviderOutage(t *testing.T) {
	const maxStale = 2 * time.Minute
	w := newWorld(t)
	p := w.federate(t, idp.OIDCProvider, func(row *ledger.IdentityProvider) { row.MaxStale = maxStale })
	a := w.launched(w.signIn(t, idp.Alice()), "mine", nil)
	token := w.direct(t, p, idp.Alice())
	resp, doc := w.bring(a, token, oidc.TypeIDToken)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)

	p.Close()
	w.shift.Add(int64(maxStale - 10*time.Second))
	resp, doc = w.bring(a, token, oidc.TypeIDToken)
	require.Equal(t, http.StatusOK, resp.StatusCode, "the keys that are there serve: %v", doc)
	w.shift.Add(int64(20 * time.Second))
	resp, doc = w.bring(a, token, oidc.TypeIDToken)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, "%v", doc)
	require.Equal(t, "temporarily_unavailable", doc["error"])
	retry, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	require.NoError(t, err)
	require.Positive(t, retry)

	require.NoError(t, p.Resume())
	w.shift.Add(int64(time.Duration(retry) * time.Second))
	resp, doc = w.bring(a, token, oidc.TypeIDToken)
	require.Equal(t, http.StatusOK, resp.StatusCode, "the time that was told is enough: %v", doc)

	require.NoError(t, p.RollKeys(false))
	w.shift.Add(int64(keyset.DefaultInterval))
	resp, doc = w.bring(a, w.direct(t, p, idp.Alice()), oidc.TypeIDToken)
	require.Equal(t, http.StatusOK, resp.StatusCode, "the first token by the new key: %v", doc)
	resp, doc = w.bring(a, token, oidc.TypeIDToken)
	require.Equal(t, http.StatusBadRequest, resp.StatusCode, "the old key is gone: %v", doc)
	require.Equal(t, "invalid_request", doc["error"])
}

// Somebody leaves a group at a real provider: what it gave them ends at their next sign-in,
// and without one by a sync.
func TestLeavingAGroupAtARealProvider(t *testing.T) {
	// Zitadel's example forgets refresh tokens when its users change, and so vouches for nobody.
	source := map[idp.Kind]string{idp.OIDCProvider: "provider", idp.Zitadel: "refused"}
	for _, kind := range []idp.Kind{idp.OIDCProvider, idp.Zitadel} {
		for _, way := range []string{"next sign-in", "sync"} {
			t.Run(kind.String()+" "+way, func(t *testing.T) {
				w := newWorld(t)
				p := w.federate(t, kind, func(row *ledger.IdentityProvider) { row.Scopes = append(row.Scopes, "offline_access") })
				s := w.signIn(t, idp.Alice())
				w.launched(s, "mine", nil)

				left := idp.Alice()
				left.Groups = []string{"support"}
				require.NoError(t, p.SetUsers(left))
				if way == "sync" {
					change, err := w.broker.Principals().Sync(t.Context(), w.principal(s.access), nil, "admin")
					require.NoError(t, err)
					require.ElementsMatch(t, []string{"agent_type:acme/refund-agent#launcher", "payments_account:acme/stripe#refunder"}, change.Removed)
					require.Equal(t, source[kind], change.Source)
				} else {
					s = w.signIn(t, left)
				}
				_, resp, doc := w.launch(s, "another", nil)
				require.Equal(t, http.StatusForbidden, resp.StatusCode, "%v", doc)
				require.Equal(t, "launch_refused", doc["reason"])
			})
		}
	}
}
