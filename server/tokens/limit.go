package tokens

import (
	"context"
	"fmt"

	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/httperr"
)

// How many tokens one agent may ask for, granted or not. Every attempt costs audit rows
// and disk, so that an agent's own loop is bounded too.
const (
	DefaultPerMinute = 120
	DefaultBurst     = 60
	limitedAgents    = 65536 // agents remembered; the least recent is forgotten first
)

// limit is GCRA per agent.
type limit struct{ gcra *throttled.GCRARateLimiterCtx }

func newLimit(perMinute, burst int) (*limit, error) {
	if perMinute == 0 {
		perMinute = DefaultPerMinute
	}
	if burst == 0 {
		burst = DefaultBurst
	}
	store, err := memstore.NewCtx(limitedAgents)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	gcra, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{MaxRate: throttled.PerMin(perMinute), MaxBurst: burst - 1})
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	return &limit{gcra: gcra}, nil
}

// take counts one attempt: KindRateLimited "rate_agent" with the wait, when it is one
// too many.
func (l *limit) take(ctx context.Context, agent agentid.Ref) error {
	limited, result, err := l.gcra.RateLimitCtx(ctx, agent.String(), 1)
	if err != nil {
		return agentid.Unavailable("rate_unavailable", err)
	}
	if limited {
		return httperr.WithRetryAfter(
			agentid.Errorf(agentid.KindRateLimited, "rate_agent", "the agent asks for tokens too often"), result.RetryAfter)
	}
	return nil
}
