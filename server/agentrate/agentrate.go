// Package agentrate bounds how often one agent calls the broker. It owns the count, in
// this process; what an attempt costs is the endpoint's to know.
package agentrate

import (
	"context"
	"fmt"

	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/httperr"
)

// How often one agent may ask, granted or not. Every attempt costs audit rows and disk,
// so that an agent's own loop is bounded too.
const (
	DefaultPerMinute = 120
	DefaultBurst     = 60
	limitedAgents    = 65536 // agents remembered; the least recent is forgotten first
)

// Limit is GCRA per agent. It is safe for concurrent use.
type Limit struct{ gcra *throttled.GCRARateLimiterCtx }

// New takes attempts per minute and at once; 0 is the default.
func New(perMinute, burst int) (*Limit, error) {
	if perMinute == 0 {
		perMinute = DefaultPerMinute
	}
	if burst == 0 {
		burst = DefaultBurst
	}
	store, err := memstore.NewCtx(limitedAgents)
	if err != nil {
		return nil, fmt.Errorf("agentrate: %w", err)
	}
	gcra, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{MaxRate: throttled.PerMin(perMinute), MaxBurst: burst - 1})
	if err != nil {
		return nil, fmt.Errorf("agentrate: %w", err)
	}
	return &Limit{gcra: gcra}, nil
}

// Take counts one attempt: KindRateLimited "rate_agent" with the wait, when it is one
// too many.
func (l *Limit) Take(ctx context.Context, agent agentid.Ref) error {
	limited, result, err := l.gcra.RateLimitCtx(ctx, agent.String(), 1)
	if err != nil {
		return agentid.Unavailable("rate_unavailable", err)
	}
	if limited {
		return httperr.WithRetryAfter(
			agentid.Errorf(agentid.KindRateLimited, "rate_agent", "the agent asks too often"), result.RetryAfter)
	}
	return nil
}
