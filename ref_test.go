package agentid_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
)

func TestRefRoundTrip(t *testing.T) {
	for _, s := range []string{
		"tenant:acme", "principal:acme/alice", "agent:acme/ag-1", "agent_type:acme/refund-agent",
		"token:acme/01J=", "payments_customer:acme/cus_123",
	} {
		r, err := agentid.ParseRef(s)
		require.NoError(t, err, s)
		require.Equal(t, s, r.String())
		again, err := agentid.ParseRefAs(r.Type(), r.String())
		require.NoError(t, err)
		require.Equal(t, r, again)
	}
}

// TestHostileIDsAreRefused: an id that could be read as another, or as several,
// never becomes a Ref.
func TestHostileIDsAreRefused(t *testing.T) {
	for _, name := range []string{
		"", "*", "a*", "a/b", "../a", "a+b", "a,b", "a|b", "a:b", "a#b", "a@b", "a b", "a\x00", "a\n", "-a", "_a", "=a",
		"а", "ａ", "a\u200b", "%2f", strings.Repeat("a", agentid.MaxNameLength+1),
	} {
		_, err := agentid.AgentRef("acme", name)
		require.Error(t, err, "%q as a name", name)
		require.Equal(t, agentid.KindInvalid, agentid.KindOf(err))
		_, err = agentid.AgentRef(name, "ag-1")
		require.Error(t, err, "%q as a tenant", name)
		_, err = agentid.TenantRef(name)
		require.Error(t, err, "%q as a tenant", name)
	}
	for _, s := range []string{"", "agent", "agent:", "agent:acme", "agent:acme/", "agent:/x", ":acme/x", "tenant:acme/x", "Agent:acme/x", "agent:acme/x/y", "a:acme/x"} {
		_, err := agentid.ParseRef(s)
		require.Error(t, err, "%q", s)
	}
	_, err := agentid.ParseRefAs(agentid.TypeAgent, "principal:acme/alice")
	require.Error(t, err)
}

func FuzzParseRef(f *testing.F) {
	f.Add("agent:acme/ag-1")
	f.Add("tenant:acme")
	f.Add("agent:acme/../x")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := agentid.ParseRef(s)
		if err != nil {
			require.True(t, r.IsZero())
			return
		}
		require.Equal(t, s, r.String())
	})
}

func TestSecretNeverPrints(t *testing.T) {
	s := agentid.NewSecret("sk_live_1")
	for _, verb := range []string{"%s", "%v", "%+v", "%#v", "%q", "%x", "%d"} {
		require.NotContains(t, fmt.Sprintf(verb, s), "sk_live", verb)
		require.NotContains(t, fmt.Sprintf(verb, struct{ S agentid.Secret }{s}), "sk_live", verb)
		require.NotContains(t, fmt.Sprintf(verb, &s), "sk_live", verb)
	}
	text, err := s.MarshalText()
	require.NoError(t, err)
	require.Equal(t, "[redacted]", string(text))
	require.Equal(t, "sk_live_1", s.Reveal())
}

func TestErrorsCarryKindReasonAndCause(t *testing.T) {
	cause := fmt.Errorf("disk on fire")
	err := fmt.Errorf("while reserving: %w", agentid.Unavailable("ledger_unavailable", cause))
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err))
	require.Equal(t, "ledger_unavailable", agentid.ReasonOf(err))
	require.ErrorIs(t, err, cause)
	require.Equal(t, agentid.KindInternal, agentid.KindOf(cause), "an unknown error is our own fault, and denies")
	require.NotContains(t, agentid.AsError(cause).Message, "fire")
}
