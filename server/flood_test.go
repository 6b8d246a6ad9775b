package server_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/server"
)

// Revocation and introspection by an agent cost durable rows each, so an agent's own loop
// is bounded there as it is at the token endpoint. Services, which cost none, are not.
func TestFloodOfRevocationsIsBounded(t *testing.T) {
	for _, path := range []string{"/acme/oauth2/revoke", "/acme/oauth2/introspect", "/oauth2/revoke"} {
		w := newWorld(t, func(c *server.Config) { c.TokensPerMin, c.TokensBurst = 1, 4 })
		token, _ := w.mint(w.agent)
		for range 4 {
			resp, doc := w.asAgent(w.agent, path, token)
			require.Equal(t, 200, resp.StatusCode, "%v", doc)
		}
		resp, doc := w.asAgent(w.agent, path, token)
		w.refused(resp, doc, 429, "temporarily_unavailable", "rate_agent")
		require.NotEmpty(t, resp.Header.Get("Retry-After"))
		for range 10 {
			resp, _ = w.asService(token)
			require.Equal(t, 200, resp.StatusCode)
		}
	}
}

// The failure table, for revocation without a ledger: 503, and no word of success.
func TestRevocationWithoutALedger(t *testing.T) {
	w := newWorld(t)
	token, _ := w.mint(w.agent)
	require.NoError(t, w.ledger.Close())
	resp, doc := w.asAgent(w.agent, "/acme/oauth2/revoke", token)
	require.Equal(t, 503, resp.StatusCode, "%v", doc)
	require.Equal(t, "temporarily_unavailable", doc["error"])
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
}
