package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/gateway/forward"
	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
)

// stream is phase 10 for a read whose answer comes over time (text/event-stream): it is
// recorded as begun before its first byte leaves, and as ended with the reason. Nothing is
// passed on that the decision does not cover any more, and a denial cuts it at once, with
// the connection, so that a part is not taken for the whole.
func (g *Gateway) stream(ctx context.Context, x *exchange, d decided, op *freshness.Operation, allowed policy.Allowed, resp *forward.Response) error {
	defer func() { _ = resp.Body.Close() }()
	begin := x.record
	begin.Phase, begin.Time, begin.UpstreamStatus = auditlog.Begin, g.cfg.Now(), resp.Status
	if err := g.cfg.Audit.Append(ctx, begin, g.durability(x)); err != nil {
		return because(op, err)
	}
	x.audited = true
	cause := g.handOn(ctx, x, d, allowed, resp)
	switch {
	case op.Taken() != nil:
		cause = op.Taken()
	case cause != nil && x.r.Context().Err() != nil:
		cause = agentid.Errorf(agentid.KindInvalid, "request_cancelled", "the client gave the request up")
	}
	finish := x.record
	finish.Phase, finish.Time, finish.UpstreamStatus = auditlog.Finish, g.cfg.Now(), resp.Status
	if cause != nil {
		e := agentid.AsError(cause)
		finish.Reason, finish.Field, finish.Decision = e.Reason, e.Field, verdict(e)
	}
	if err := g.cfg.Audit.Append(context.WithoutCancel(ctx), finish, wire.Relaxed); err != nil {
		g.cfg.Logger.ErrorContext(ctx, "the end of a stream could not be audited", "request_id", x.record.Request, "error", err)
	}
	if cause != nil {
		g.cfg.Logger.WarnContext(ctx, "a stream was cut", "request_id", x.record.Request, "reason", finish.Reason)
		panic(http.ErrAbortHandler)
	}
	return nil
}

// handOn copies a stream as it comes, until either side ends it.
func (g *Gateway) handOn(ctx context.Context, x *exchange, d decided, allowed policy.Allowed, resp *forward.Response) error {
	client := http.NewResponseController(x.w)
	_ = client.SetReadDeadline(time.Time{}) // a server's bounds are for requests that end
	// A client that does not read holds up nothing either.
	stop := context.AfterFunc(ctx, func() { _ = client.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	x.header(resp)
	x.w.WriteHeader(resp.Status)
	buf := copies.Get().(*[16 << 10]byte) //nolint:forcetypeassert // the pool's only type
	defer copies.Put(buf)
	for err := client.Flush(); ; {
		if err != nil {
			return clientGone(err)
		}
		n, ended := resp.Body.Read(buf[:])
		if n > 0 {
			if allowed, err = g.stillCovers(ctx, x, d, allowed); err != nil {
				return err
			}
			_ = client.SetWriteDeadline(time.Now().Add(g.forwarder.Idle()))
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if _, err = x.w.Write(buf[:n]); err == nil {
				err = client.Flush()
			}
		}
		switch {
		case errors.Is(ended, io.EOF):
			return nil
		case ended != nil:
			return ended
		}
	}
}

// stillCovers looks at the decision before each part: the token's time, and what has
// changed since.
func (g *Gateway) stillCovers(ctx context.Context, x *exchange, d decided, allowed policy.Allowed) (policy.Allowed, error) {
	if !g.cfg.Now().Before(d.claims.Expiry.Add(g.cfg.Skew)) {
		return policy.Allowed{}, unauthenticated(capability.ReasonExpired, "the token has expired")
	}
	return g.again(ctx, x, d, allowed)
}

func clientGone(err error) error {
	return agentid.Errorf(agentid.KindInvalid, "request_cancelled", "the client gave the request up").WithCause(err)
}
