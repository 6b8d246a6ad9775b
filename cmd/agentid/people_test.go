package main

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/testenv/idp"
)

// federate applies a real provider, whose people sign in to acme.
func (s *site) federate(t *testing.T, kind idp.Kind) *idp.Provider {
	t.Helper()
	ours := idp.Client{ID: "agentid", Secret: "our secret there", Redirects: []string{s.base + "/acme/login/callback"}}
	p := idp.Start(t, kind, idp.Config{Clients: []idp.Client{ours}})
	t.Setenv("AGENTID_TEST_PROVIDER_SECRET", ours.Secret)
	code, out := s.cli("apply", "-f", s.write("provider.yaml", fmt.Sprintf(`kind: identity_provider
tenant: acme
name: corp
display: Acme's directory
issuer: %s
client_id: %s
client_secret: env:AGENTID_TEST_PROVIDER_SECRET
scopes: [email, profile, groups]
flows: [login, device, exchange, id_jag]
groups:
  - { group: refunders, resource: "agent_type:acme/refund-agent", relation: launcher }
allow_private: true
`, p.Issuer, ours.ID)))
	require.Zero(t, code, out)
	return p
}
