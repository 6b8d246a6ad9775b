// Package limits bounds the rate of requests per token, per agent and per tenant with
// the generic cell rate algorithm (phase 4). State is local to the process; it decides
// nothing else.
package limits

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/throttled/throttled/v2"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/wire"
)

// The defaults, per minute, and the burst that may come at once.
const (
	TokenPerMinute  = 600
	TokenBurst      = 120
	AgentPerMinute  = 1200
	AgentBurst      = 240
	TenantPerMinute = 60000
	TenantBurst     = 6000
)

// maxKeys bounds the memory. A key that falls out starts anew.
const maxKeys = 1 << 16

// Tenant is the limit of a whole tenant; zero fields are the defaults.
type Tenant struct{ PerMinute, Burst int }

// Limits is safe for concurrent use.
type Limits struct {
	store  throttled.GCRAStoreCtx
	tenant Tenant

	mu       sync.Mutex
	limiters map[throttled.RateQuota]*throttled.GCRARateLimiterCtx
}

// New makes Limits. now is time.Now when nil.
func New(tenant Tenant, now func() time.Time) *Limits {
	if now == nil {
		now = time.Now
	}
	return &Limits{tenant: tenant, store: newCells(maxKeys, now), limiters: map[throttled.RateQuota]*throttled.GCRARateLimiterCtx{}}
}

// Subject is who a request counts for: ids in the text form of agentid.Ref, and the tenant's
// name.
type Subject struct{ Token, Agent, Connector, Tenant string }

// Allow counts one request, or refuses it with KindRateLimited "rate_limited", the
// limit at fault as field and the wait after which one more is admitted. The tenant's
// limit comes last, so that what an agent is refused takes nothing from the others.
func (l *Limits) Allow(ctx context.Context, s Subject, rates wire.Rates) error {
	for _, limit := range []struct {
		field, key       string
		perMinute, burst int
	}{
		{"agent", "agent:" + s.Connector + "|" + s.Agent, or(rates.AgentPerMinute, AgentPerMinute), or(rates.AgentBurst, AgentBurst)},
		{"token", "token:" + s.Connector + "|" + s.Token, or(rates.TokenPerMinute, TokenPerMinute), or(rates.TokenBurst, TokenBurst)},
		{"tenant", "tenant:" + s.Tenant, or(l.tenant.PerMinute, TenantPerMinute), or(l.tenant.Burst, TenantBurst)},
	} {
		limiter, err := l.limiter(limit.perMinute, limit.burst)
		if err != nil {
			return err
		}
		limited, result, err := limiter.RateLimitCtx(ctx, limit.key, 1)
		if err != nil {
			return agentid.Unavailable("limits_unavailable", err)
		}
		if limited {
			refusal := agentid.Errorf(agentid.KindRateLimited, "rate_limited", "too many requests").WithField(limit.field)
			return httperr.WithRetryAfter(refusal, result.RetryAfter)
		}
	}
	return nil
}

func or(n, fallback int) int {
	if n > 0 {
		return n
	}
	return fallback
}

func (l *Limits) limiter(perMinute, burst int) (*throttled.GCRARateLimiterCtx, error) {
	quota := throttled.RateQuota{MaxRate: throttled.PerMin(perMinute), MaxBurst: burst - 1}
	l.mu.Lock()
	defer l.mu.Unlock()
	if limiter, ok := l.limiters[quota]; ok {
		return limiter, nil
	}
	limiter, err := throttled.NewGCRARateLimiterCtx(l.store, quota)
	if err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	// Concurrent requests of one agent contend for one cell; give each its turn.
	limiter.SetMaxCASAttemptsLimit(1000)
	l.limiters[quota] = limiter
	return limiter, nil
}
