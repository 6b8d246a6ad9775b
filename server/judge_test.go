package server_test

import (
	_ "embed"
	"encoding/json"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/testenv/npm"
	"github.com/agentid-dev/agentid/server/signer"
)

//go:embed testdata/judge.mjs
var judge []byte

// oauth4webapi, an OAuth client that others wrote, judges a live broker. Its agents have
// P-256 keys: for Ed25519 it knows only the algorithm name of RFC 9864.
func TestIndependentClientJudges(t *testing.T) {
	for _, c := range []struct {
		name, signing, issuer string
	}{
		{"EdDSA at the tenant", signer.AlgorithmEdDSA, "/acme"},
		{"ES256 at the root", signer.AlgorithmES256, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			if c.signing == signer.AlgorithmES256 {
				key, err := w.broker.Signer().Stage(t.Context(), signer.AlgorithmES256)
				require.NoError(t, err)
				require.NoError(t, w.broker.Signer().ActivateNow(t.Context(), key.ID))
			}
			a, private := w.spawnES256("acme", "ag-judge")
			key, err := json.Marshal(jose.JSONWebKey{Key: private})
			require.NoError(t, err)
			out, err := npm.Node(t, judge,
				"ISSUER="+w.base+c.issuer, "CLIENT_ID="+a.ref.String(), "AGENT_KEY="+string(key), "DETAILS="+details,
				"RESOURCE="+resource, "SCOPE=payments:refund", "SERVICE_ID=connector:acme/stripe",
				"SERVICE_SECRET="+w.secret.Reveal(), "SIGNING_ALG="+c.signing).CombinedOutput()
			require.NoError(t, err, "%s", out)
			var report struct {
				OK         bool `json:"ok"`
				Challenged bool `json:"challenged"`
			}
			require.NoError(t, json.Unmarshal(out, &report), "%s", out)
			require.True(t, report.OK)
			require.True(t, report.Challenged)
		})
	}
}
