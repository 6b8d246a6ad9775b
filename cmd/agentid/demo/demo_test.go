package demo_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/cmd/agentid/demo"
)

// TestDemo runs the demo as "make demo" does: it checks its own expectations.
func TestDemo(t *testing.T) {
	t.Run("one process", func(t *testing.T) { runs(t, false) })
	t.Run("apart", func(t *testing.T) { runs(t, true) })
}

func runs(t *testing.T, apart bool) {
	t.Helper()
	var out, log bytes.Buffer
	err := demo.Run(t.Context(), demo.Options{Out: &out, Err: &log, Verbose: true, Apart: apart})
	require.NoError(t, err, out.String())
	require.NotContains(t, out.String(), "NOT AS EXPECTED")
	require.NotContains(t, out.String(), "\x1b[", "no colour off a terminal")
	for _, refusal := range []string{
		"uses_exhausted", "constraint_amount_max", "constraint_amount_at_most_fact", "resource_not_permitted",
		"operation_unmatched", "token_bound", "dpop_proof_missing", "invalid_dpop_proof", "agent_not_live",
	} {
		require.Contains(t, out.String(), refusal)
	}
	for _, secret := range []string{"sk_test_the_agent_never_sees_this", "agentid_admin_"} {
		require.NotContains(t, out.String(), secret)
		require.NotContains(t, log.String(), secret)
	}
	require.Positive(t, strings.Count(log.String(), "msg=request"))
}

func TestDemoThatCannotRunFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, demo.Run(ctx, demo.Options{Out: &bytes.Buffer{}}))
}
