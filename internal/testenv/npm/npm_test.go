package npm_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/testenv/npm"
)

func TestLibrariesAreThere(t *testing.T) {
	out, err := npm.Node(t, []byte(`
import * as oauth from 'oauth4webapi'
import Stripe from 'stripe'
console.log(typeof oauth.validateJwtAccessToken, typeof Stripe)
`)).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "function function\n", string(out))
}

func TestLockFileNamesNoHost(t *testing.T) {
	lock, err := os.ReadFile("package-lock.json")
	require.NoError(t, err)
	require.False(t, bytes.Contains(lock, []byte("resolved")))
	require.False(t, bytes.Contains(lock, []byte("registry")))
}
