package archtest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/archtest"
)

const module = archtest.Module

func TestImportsGoOneWay(t *testing.T) {
	packages, err := archtest.Load("../..", "./...")
	require.NoError(t, err)
	require.Greater(t, len(packages), 5, "the whole module was read")
	require.Empty(t, archtest.Violations(packages, archtest.Rooms()))
}

// TestEnforcerCannotReachTheMint looks at everything that the gateway depends on,
// not only at what it imports itself.
func TestEnforcerCannotReachTheMint(t *testing.T) {
	packages, err := archtest.Load("../..", "-deps", "./gateway/...")
	require.NoError(t, err)
	for _, p := range packages {
		require.NotContains(t, p.ImportPath, module+"/server", "the gateway depends on the broker")
	}
}

func TestDetectorFires(t *testing.T) {
	for name, p := range map[string]archtest.Package{
		"gateway imports server":    {ImportPath: module + "/gateway", Imports: []string{module + "/server/issue"}},
		"server imports gateway":    {ImportPath: module + "/server/tokens", Imports: []string{module + "/gateway"}},
		"capability imports server": {ImportPath: module + "/capability/jws", Imports: []string{module + "/server/signer"}},
		"capability imports a store": {
			ImportPath: module + "/capability", Imports: []string{module + "/internal/sqlitedb"},
		},
		"internal imports server": {ImportPath: module + "/internal/policy", Imports: []string{module + "/server"}},
		"server imports cmd":      {ImportPath: module + "/server", Imports: []string{module + "/cmd/agentid"}},
		"the root imports a library": {
			ImportPath: module, Imports: []string{"github.com/go-chi/chi/v5"},
		},
		"an unknown room": {ImportPath: module + "/misc"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Len(t, archtest.Violations([]archtest.Package{p}, archtest.Rooms()), 1)
		})
	}
	t.Run("and stays silent on what is right", func(t *testing.T) {
		require.Empty(t, archtest.Violations([]archtest.Package{
			{ImportPath: module, Imports: []string{"errors"}},
			{ImportPath: module + "/gateway/match", Imports: []string{module, module + "/connectors", "net/http"}},
			{ImportPath: module + "/cmd/agentid", Imports: []string{module + "/server", module + "/gateway"}},
		}, archtest.Rooms()))
	})
}
