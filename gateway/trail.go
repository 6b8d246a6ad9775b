package gateway

import (
	"context"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Rows for refusals of callers that are not authenticated: anyone can cause any number
// of them, so they are written at a bounded rate, and the next row that is written says
// how many were left out.
const (
	strangersPerSecond = 5
	strangersBurst     = 100
)

// trail writes refusals to the audit log.
type trail struct {
	audit      wire.Audit
	logger     *slog.Logger
	now        func() time.Time
	limit      *rate.Limiter
	suppressed atomic.Int64
}

func newTrail(cfg Config) *trail {
	return &trail{audit: cfg.Audit, logger: cfg.Logger, now: cfg.Now, limit: rate.NewLimiter(strangersPerSecond, strangersBurst)}
}

// refused writes one row. A log that cannot be written turns no refusal into anything
// else: the caller stays refused, and the failure is logged.
func (t *trail) refused(ctx context.Context, authenticated bool, about auditlog.Record, err error) {
	now := t.now()
	e := agentid.AsError(err)
	about.Time, about.Phase = now, auditlog.Single
	about.Reason, about.Field = e.Reason, e.Field
	if !authenticated {
		if !t.limit.AllowN(now, 1) {
			t.suppressed.Add(1)
			return
		}
		about.Kind = auditlog.Authn
		if n := t.suppressed.Swap(0); n > 0 {
			about.Notes = map[string]string{"suppressed": strconv.FormatInt(n, 10)}
		}
	}
	if err := t.audit.Append(context.WithoutCancel(ctx), about, wire.Relaxed); err != nil {
		t.logger.ErrorContext(ctx, "a refusal could not be audited", "request_id", about.Request, "reason", about.Reason, "error", err)
	}
}
