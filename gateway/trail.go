package gateway

import (
	"context"
	"log/slog"
	"maps"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Rows for refusals that anyone can cause any number of are written at a bounded rate,
// and the next row that is written says how many were left out.
const (
	loudPerSecond = 5
	loudBurst     = 100
)

// trail writes refusals to the audit log.
type trail struct {
	audit  wire.Audit
	logger *slog.Logger
	now    func() time.Time

	// Each has a rate of its own, so that none hides another.
	strangers *loud // no token of ours was presented
	unproven  *loud // one was, by somebody who may not hold it
	limited   *loud // an agent over its rate
}

func newTrail(cfg Config) *trail {
	return &trail{audit: cfg.Audit, logger: cfg.Logger, now: cfg.Now, strangers: newLoud(), unproven: newLoud(), limited: newLoud()}
}

// loud bounds the rows of one sort of refusal.
type loud struct {
	limit      *rate.Limiter
	suppressed atomic.Int64
}

func newLoud() *loud { return &loud{limit: rate.NewLimiter(loudPerSecond, loudBurst)} }

// admit takes a row's place, and notes in it how many were left out before.
func (l *loud) admit(about *auditlog.Record, now time.Time) bool {
	if !l.limit.AllowN(now, 1) {
		l.suppressed.Add(1)
		return false
	}
	if n := l.suppressed.Swap(0); n > 0 {
		about.Notes = maps.Clone(about.Notes)
		if about.Notes == nil {
			about.Notes = map[string]string{}
		}
		about.Notes["suppressed"] = strconv.FormatInt(n, 10)
	}
	return true
}

// bound is the rate that a refusal's row counts for; nil: it is always written.
func (t *trail) bound(authenticated bool, about auditlog.Record, e *agentid.Error) *loud {
	switch {
	case !authenticated && about.Token == "":
		return t.strangers
	case !authenticated:
		return t.unproven
	case e.Kind == agentid.KindRateLimited:
		return t.limited
	default:
		return nil
	}
}

// refused writes one row. A log that cannot be written turns no refusal into anything
// else: the caller stays refused, and the failure is logged.
func (t *trail) refused(ctx context.Context, authenticated bool, about auditlog.Record, err error) {
	now := t.now()
	e := agentid.AsError(err)
	about.Time, about.Phase = now, auditlog.Single
	about.Reason, about.Field = e.Reason, e.Field
	if bound := t.bound(authenticated, about, e); bound != nil && !bound.admit(&about, now) {
		return
	}
	if !authenticated {
		about.Kind = auditlog.Authn
	}
	if err := t.audit.Append(context.WithoutCancel(ctx), about, wire.Relaxed); err != nil {
		t.logger.ErrorContext(ctx, "a refusal could not be audited", "request_id", about.Request, "reason", about.Reason, "error", err)
	}
}
