package main

import (
	_ "embed"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/deploy/examples"
	"github.com/agentid-dev/agentid/internal/testenv/idp"
	"github.com/agentid-dev/agentid/internal/testenv/npm"
)

//go:embed testdata/mcpsdk.mjs
var mcpSDK []byte

// The MCP SDK finds the broker through the gateway and gets in by private_key_jwt.
func TestMCPSDKJudges(t *testing.T) {
	s := newSite(t)
	s.start()
	t.Setenv("AGENTID_TEST_UPSTREAM_KEY", upstreamKey)
	text, err := examples.AcmeAt(s.resource, s.upstream, "env:AGENTID_TEST_UPSTREAM_KEY")
	require.NoError(t, err)
	text = strings.Replace(text, "allow_private_upstream: true", "allow_private_upstream: true\nallow_bearer: true\nbearer_seconds: 60", 1)
	s.must("apply", "-f", s.write("acme.yaml", text))
	s.federate(t, idp.OIDCProvider) // the SDK wants an authorization endpoint, though it has no use for it
	mine, others := filepath.Join(s.dir, "mcp.key"), filepath.Join(s.dir, "other.key")
	public := s.write("mcp.pub", s.must("agent", "keygen", "--alg", "ES256", mine))
	s.must("agent", "keygen", "--alg", "ES256", others)
	s.must("agent", "register", "agent:acme/mcp-1", "--type", "refund-agent", "--principal", "alice", "--public-key", public, "--for", "1h")

	out, err := npm.Node(t, mcpSDK,
		"ISSUER="+s.base+"/acme", "RESOURCE="+s.resource, "CLIENT_ID=agent:acme/mcp-1", "SCOPE=payments:read_charge",
		"DETAILS="+`[{"type":"agentid_template","template":"read-customer","arguments":{"customer":"cus_ada"}}]`,
		"CLIENT_KEY="+content(t, mine), "OTHER_KEY="+content(t, others)).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.JSONEq(t, `{"ok":true}`, string(out))
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}
