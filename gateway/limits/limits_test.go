package limits_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/gateway/limits"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/wire"
)

func subject(t *testing.T, tenant, agent, token string) limits.Subject {
	t.Helper()
	must := func(r agentid.Ref, err error) string { require.NoError(t, err); return r.String() }
	return limits.Subject{
		Token: must(agentid.TokenRef(tenant, token)), Agent: must(agentid.AgentRef(tenant, agent)), Connector: must(agentid.ConnectorRef(tenant, "stripe")), Tenant: tenant,
	}
}

func TestEachLimitIsItsOwn(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := limits.New(limits.Tenant{}, func() time.Time { return now })
	rates := wire.Rates{TokenPerMinute: 60, TokenBurst: 2, AgentPerMinute: 60, AgentBurst: 3}
	one, two, other := subject(t, "acme", "a", "t1"), subject(t, "acme", "a", "t2"), subject(t, "globex", "a", "t1")
	require.NoError(t, l.Allow(t.Context(), one, rates))
	require.NoError(t, l.Allow(t.Context(), one, rates))
	err := l.Allow(t.Context(), one, rates)
	require.Equal(t, agentid.KindRateLimited, agentid.KindOf(err))
	require.Equal(t, "token", agentid.AsError(err).Field)
	require.Equal(t, time.Second, httperr.Of(err).RetryAfter)
	require.Equal(t, "agent", agentid.AsError(l.Allow(t.Context(), two, rates)).Field, "the refused request counted for the agent")
	require.NoError(t, l.Allow(t.Context(), other, rates), "another tenant")
	now = now.Add(time.Second)
	require.NoError(t, l.Allow(t.Context(), one, rates))
	require.Error(t, l.Allow(t.Context(), one, rates))
}

func TestConcurrentRequestsNeverExceedTheBurst(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := limits.New(limits.Tenant{}, func() time.Time { return now })
	s := subject(t, "acme", "a", "t1")
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if l.Allow(t.Context(), s, wire.Rates{TokenPerMinute: 1, TokenBurst: 10, AgentPerMinute: 1000, AgentBurst: 1000}) == nil {
				passed.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 10, passed.Load())
}

// One agent over its own limit takes nothing away from the others of its tenant.
func TestNoisyAgentDoesNotStarveItsTenant(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := limits.New(limits.Tenant{PerMinute: 60, Burst: 10}, func() time.Time { return now })
	rates := wire.Rates{TokenPerMinute: 60, TokenBurst: 2, AgentPerMinute: 60, AgentBurst: 2}
	noisy, quiet := subject(t, "acme", "noisy", "t1"), subject(t, "acme", "quiet", "t2")
	for range 100 {
		_ = l.Allow(t.Context(), noisy, rates)
	}
	require.NoError(t, l.Allow(t.Context(), quiet, rates))
}
