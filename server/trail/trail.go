// Package trail writes the broker's refusals to the audit log.
//
// A refusal of an authenticated caller is one row, always. A refusal of a caller that
// could not be authenticated names nobody for certain, and anyone can cause any number
// of them; an authenticated caller over its rate is as loud. Such rows are written at a
// bounded rate, and the next row that is written says how many were left out. So a flood costs the disk at most
// UnauthenticatedPerSecond rows a second, and what was left out still counts.
//
// The package owns no record of what was allowed: the mint and the revoker write those
// in the transaction that they belong to.
package trail

import (
	"context"
	"errors"
	"log/slog"
	"maps"
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

// Caller says how a refused caller stands, and with that how its row is written. The
// zero Caller is a stranger.
type Caller int

// The callers.
const (
	Stranger   Caller = iota // not authenticated: bounded rate, kind authn
	Limited                  // authenticated but over its rate: bounded rate
	Challenged               // authenticated, told to try again: written, on disk soon
	Known                    // authenticated: on disk at return
)

// Record completes about into the row of a refusal with err in the request of ctx.
func (t *Trail) Record(ctx context.Context, about auditlog.Record, err error) auditlog.Record {
	e := agentid.AsError(err)
	about.Time, about.Phase, about.Decision = t.cfg.Now(), auditlog.Single, auditlog.Deny
	about.Request, about.Reason, about.Field = httpx.RequestID(ctx), e.Reason, e.Field
	return about
}

// Refused is Write for a caller that is either Known or a Stranger.
func (t *Trail) Refused(ctx context.Context, authenticated bool, about auditlog.Record, err error) {
	who := Stranger
	if authenticated {
		who = Known
	}
	t.Write(ctx, who, about, err)
}

// Write writes that the request of ctx was refused with err; about says what it was
// about. A log that cannot be written turns no refusal into anything else: the caller
// stays refused, and the failure is logged.
func (t *Trail) Write(ctx context.Context, who Caller, about auditlog.Record, err error) {
	about = t.Record(ctx, about, err)
	durability := wire.Durable
	switch who {
	case Known:
	case Challenged:
		durability = wire.Relaxed
	default:
		if !t.admit(&about) {
			return
		}
		durability = wire.Relaxed
		if who != Limited {
			about.Kind = auditlog.Authn
		}
	}
	// The caller may be gone; the row is written all the same.
	if err := t.cfg.Audit.Append(context.WithoutCancel(ctx), about, durability); err != nil {
		t.cfg.Logger.ErrorContext(ctx, "a refusal could not be audited",
			"request_id", about.Request, "reason", about.Reason, "error", err)
	}
}

// admit takes a row's place within the bounded rate, and notes what was left out before.
func (t *Trail) admit(about *auditlog.Record) bool {
	if !t.limit.AllowN(about.Time, 1) {
		t.suppressed.Add(1)
		return false
	}
	if n := t.suppressed.Swap(0); n > 0 {
		notes := map[string]string{NoteSuppressed: strconv.FormatInt(n, 10)}
		maps.Copy(notes, about.Notes)
		about.Notes = notes
	}
	return true
}
