package admin_test

import (
	"bufio"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whoever is no administrator any more sees no further row, also on a stream that was
// opened before.
func TestTailEndsWithTheCredential(t *testing.T) {
	r := newRig(t)
	status, second := r.call("POST", "/admins", map[string]any{"name": "second"})
	require.Equal(t, 201, status)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/admin/v1/audit/tail", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+second["secret"].(string))
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, 200, resp.StatusCode)
	lines := bufio.NewScanner(resp.Body)

	status, _ = r.call("PUT", "/tenants/acme", map[string]any{})
	require.Equal(t, 201, status)
	require.True(t, lines.Scan())
	require.Contains(t, lines.Text(), "acme")

	status, _ = r.call("DELETE", "/admins/"+second["id"].(string), nil)
	require.Equal(t, 204, status)
	status, _ = r.call("PUT", "/tenants/globex", map[string]any{})
	require.Equal(t, 201, status)
	require.False(t, lines.Scan(), lines.Text())
}
