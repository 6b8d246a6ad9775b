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
import * as client from 'openid-client'
import { chromium } from 'playwright-core'
import { PrivateKeyJwtProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js'
import Stripe from 'stripe'
console.log(typeof oauth.validateJwtAccessToken, typeof client.discovery, typeof chromium.launch, typeof PrivateKeyJwtProvider, typeof Stripe)
`)).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "function function function function function\n", string(out))
}

func TestConformanceSuiteIsThere(t *testing.T) {
	out, err := npm.Conformance(t, "--version").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "0.2.0-alpha.12\n", string(out))
}

func TestLockFilesNameNoHost(t *testing.T) {
	for _, name := range []string{"package-lock.json", "conformance/package-lock.json"} {
		lock, err := os.ReadFile(name)
		require.NoError(t, err)
		require.False(t, bytes.Contains(lock, []byte("resolved")), name)
		require.False(t, bytes.Contains(lock, []byte("registry")), name)
	}
}
