package server_test

import (
	_ "embed"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/testenv/npm"
)

//go:embed testdata/workload.mjs
var workloadClient []byte

// oauth4webapi judges what a workload that nobody registered is answered.
func TestWorkloadClientJudges(t *testing.T) {
	w := newWorld(t)
	p := newPlatform(w)
	var assertions []string
	for range 8 {
		assertions = append(assertions, p.token(nil))
	}
	list, err := json.Marshal(assertions)
	require.NoError(t, err)
	out, err := npm.Node(t, workloadClient,
		"ISSUER="+w.base+"/acme", "RESOURCE="+resource, "DETAILS="+details, "SUBJECT=repo:acme/refunds:ref:refs/heads/main",
		"ASSERTIONS="+string(list), "FOREIGN="+p.token(map[string]any{"aud": "https://elsewhere.example"})).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.JSONEq(t, `{"ok":true}`, string(out))
}
