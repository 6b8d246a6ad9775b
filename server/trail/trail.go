// Package trail writes the broker's refusals to the audit log.
//
// A refusal of an authenticated caller is one durable row, always. A refusal of a
// caller that could not be authenticated names nobody for certain, and anyone can cause
// any number of them: such rows are written at a bounded rate, and the next row that is
// written says how many were left out. So a flood costs the disk at most
// UnauthenticatedPerSecond rows a second, and what was left out still counts.
//
// The package owns no record of what was allowed: the mint and the revoker write those
// in the transaction that they belong to.
package trail

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Rows for refusals of callers that are not authenticated.
const (
	UnauthenticatedPerSecond = 1
	UnauthenticatedBurst     = 60
)

// NoteSuppressed is the note that counts the refusals which were left out before a row.
const NoteSuppressed = "suppressed"

// Config configures New. Audit is required.
type Config struct {
	Audit  wire.Audit
	Logger *slog.Logger
	Now    func() time.Time // default: time.Now
}

// Trail is safe for concurrent use.
type Trail struct {
	cfg        Config
	limit      *rate.Limiter
	suppressed atomic.Int64
}

// New checks cfg.
func New(cfg Config) (*Trail, error) {
	if cfg.Audit == nil {
		return nil, errors.New("trail: an audit log is required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Trail{cfg: cfg, limit: rate.NewLimiter(UnauthenticatedPerSecond, UnauthenticatedBurst)}, nil
}

// Refused writes that the request of ctx was refused with err. about says what it was
// about. Unless the caller is authenticated the row is of kind authn and falls under the
// bounded rate. A log that cannot be written turns no refusal into anything else: the
// caller stays refused, and the failure is logged.
func (t *Trail) Refused(ctx context.Context, authenticated bool, about auditlog.Record, err error) {
	now := t.cfg.Now()
	e := agentid.AsError(err)
	about.Time, about.Phase, about.Decision = now, auditlog.Single, auditlog.Deny
	about.Request, about.Reason, about.Field = httpx.RequestID(ctx), e.Reason, e.Field
	durability := wire.Durable
	if !authenticated {
		if !t.limit.AllowN(now, 1) {
			t.suppressed.Add(1)
			return
		}
		about.Kind, durability = auditlog.Authn, wire.Relaxed
		if n := t.suppressed.Swap(0); n > 0 {
			about.Notes = map[string]string{NoteSuppressed: strconv.FormatInt(n, 10)}
		}
	}
	// The caller may be gone; the row is written all the same.
	if err := t.cfg.Audit.Append(context.WithoutCancel(ctx), about, durability); err != nil {
		t.cfg.Logger.ErrorContext(ctx, "a refusal could not be audited",
			"request_id", about.Request, "reason", about.Reason, "error", err)
	}
}
