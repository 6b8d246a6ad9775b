package server_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/auditlog"
)

func TestTokenIsMinted(t *testing.T) {
	w := newWorld(t)
	resp, doc := w.do(w.agent, w.tokenCall())
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	require.Equal(t, "DPoP", doc["token_type"])
	require.Equal(t, "payments:refund", doc["scope"])
	require.InDelta(t, 300, doc["expires_in"], 0)
	require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
	require.NotEmpty(t, resp.Header.Get("DPoP-Nonce"), "the nonce is refreshed")
	require.Len(t, doc["authorization_details"], 1)

	c := w.claims(doc["access_token"].(string))
	require.Equal(t, w.base+"/acme", c.Issuer)
	require.Equal(t, "principal:acme/alice", c.Subject)
	require.Equal(t, "agent:acme/ag-1", c.ClientID)
	require.Equal(t, resource, c.Audience)
	require.Equal(t, 5*time.Minute, c.Expiry.Sub(c.IssuedAt))
	require.NotEmpty(t, c.Context.Zookie)
	require.NotEmpty(t, c.Confirmation.JKT)

	rec := w.audited(resp)
	require.Equal(t, auditlog.Issue, rec.Kind)
	require.Equal(t, auditlog.Allow, rec.Decision)
	require.Equal(t, c.ID, rec.Token)
	require.NotEmpty(t, rec.Legs)
}
