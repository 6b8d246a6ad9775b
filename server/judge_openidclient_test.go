package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/testenv/npm"
	"github.com/agentid-dev/agentid/server/ledger"
)

//go:embed testdata/openidclient.mjs
var openIDClient []byte

// openid-client judges a live broker, with a parent and a child.
func TestOpenIDClientJudges(t *testing.T) {
	w := newWorld(t)
	parent, parentKey := w.spawnES256("acme", "ag-judge")
	childKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	child := w.spawnWith(ledger.Attenuated, jose.SigningKey{Algorithm: jose.ES256, Key: childKey}, childKey.Public(),
		"acme", "ag-judge-child", "ag-judge", nil, time.Hour)
	out, err := npm.Node(t, openIDClient,
		"ISSUER="+w.base+"/acme", "DETAILS="+details, "RESOURCE="+resource, "SCOPE=payments:refund",
		"PARENT_ID="+parent.ref.String(), "PARENT_KEY="+jwk(t, parentKey),
		"CHILD_ID="+child.ref.String(), "CHILD_KEY="+jwk(t, childKey)).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.JSONEq(t, `{"ok":true}`, string(out))
}

func jwk(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: key})
	require.NoError(t, err)
	return string(text)
}
