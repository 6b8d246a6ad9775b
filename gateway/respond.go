package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/gateway/challenge"
	"github.com/agentid-dev/agentid/gateway/dialect"
	"github.com/agentid-dev/agentid/gateway/forward"
	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
)

// read is phases 8 to 10 for what changes nothing: one audit record, before the
// response leaves.
func (g *Gateway) read(x *exchange, d decided) error {
	ctx, op := g.begin(x.r.Context(), x, d)
	defer op.End()
	sent := g.cfg.Now()
	allowed, resp, err := g.send(ctx, x, d, op) // 8. Look again, 9. Forward
	if err != nil {
		return because(op, err)
	}
	g.metrics.forwarded(d.call.Operation.Name, sent.Sub(x.started), g.cfg.Now().Sub(sent))
	if resp.Stream {
		return g.stream(ctx, x, d, op, allowed, resp)
	}
	record := x.record
	record.Time, record.UpstreamStatus = g.cfg.Now(), resp.Status
	if err := g.cfg.Audit.Append(ctx, record, g.durability(x)); err != nil {
		_ = resp.Body.Close()
		return because(op, err)
	}
	x.audited = true
	g.relay(ctx, x, resp)
	return nil
}

// send is phases 8 and 9 of a read: look again, and forward. Where something changes between
// the two, nothing has left, and it looks again.
func (g *Gateway) send(ctx context.Context, x *exchange, d decided, op *freshness.Operation) (policy.Allowed, *forward.Response, error) {
	allowed := d.allowed
	for left := attempts; ; left-- {
		var err error
		if allowed, err = g.again(ctx, x, d, allowed); err == nil {
			err = op.Sent()
		}
		if err != nil {
			return policy.Allowed{}, nil, err
		}
		resp, err := g.forwarder.Send(ctx, allowed, d.resources[0], x.route.upstream, forward.Request{Call: d.call, Header: x.r.Header, Cancel: op.Cancel})
		if left == 0 || agentid.ReasonOf(err) != policy.ReasonDecisionExpired {
			return allowed, resp, err
		}
	}
}

// durability is how a read's record is written.
func (g *Gateway) durability(x *exchange) wire.Durability {
	if x.route.StrictReadAudit {
		return wire.Durable
	}
	return wire.Relaxed
}

// header passes the upstream's header on.
func (x *exchange) header(resp *forward.Response) {
	h := x.w.Header()
	for name, values := range resp.Header {
		h[name] = values
	}
	h["X-Content-Type-Options"] = noSniff
}

var noSniff = []string{"nosniff"} // the server reads it only

// largeBody is from where a client may be so slow that a body has to be cut for it.
const largeBody = 64 << 10

// relay copies the upstream's scrubbed answer. A body that breaks off breaks the
// client's connection too, so that half an answer is not taken for a whole one.
func (g *Gateway) relay(ctx context.Context, x *exchange, resp *forward.Response) {
	defer func() { _ = resp.Body.Close() }()
	x.header(resp)
	if resp.Length >= 0 {
		x.w.Header().Set("Content-Length", strconv.FormatInt(resp.Length, 10))
	}
	if resp.Length < 0 || resp.Length > largeBody {
		client := http.NewResponseController(x.w)
		stop := context.AfterFunc(ctx, func() { _ = client.SetWriteDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	x.w.WriteHeader(resp.Status)
	if err := copyBody(x.w, resp.Body); err != nil {
		g.cfg.Logger.WarnContext(x.r.Context(), "a response broke off", "request_id", x.record.Request, "error", err)
		panic(http.ErrAbortHandler)
	}
}

// copies are the buffers between upstream and client.
var copies = sync.Pool{New: func() any { return new([16 << 10]byte) }}

func copyBody(w io.Writer, body io.Reader) error {
	buf := copies.Get().(*[16 << 10]byte) //nolint:forcetypeassert // the pool's only type
	defer copies.Put(buf)
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, body, buf[:]) // by itself the writer brings a buffer of its own
	return err
}

// refuse records and renders an error in the connector's dialect.
func (g *Gateway) refuse(x *exchange, err error) {
	if x.r.Context().Err() != nil && failure(err) {
		// What failed because the client left is no outage.
		err = agentid.Errorf(agentid.KindInvalid, "request_cancelled", "the client gave the request up").WithCause(err)
	}
	e := agentid.AsError(err)
	httperr.Log(g.cfg.Logger, x.r, err)
	g.metrics.done(x.record.Operation, httperr.Of(err).Reason)
	// Asking for a nonce is a step of the protocol, not a refusal (RFC 9449 section 9).
	if !x.audited && e.Reason != dpop.ReasonUseNonce {
		if f, ok := errors.AsType[*forward.FailureError](err); ok {
			x.record.UpstreamStatus = f.Status
		}
		if x.record.Decision == auditlog.Allow {
			x.record.Decision = verdict(e)
		}
		g.trail.refused(x.r.Context(), x.authenticated, x.record, err)
	}
	if x.route == nil {
		httperr.Problem(x.w, x.r, err)
		return
	}
	challenge.Set(x.w.Header(), x.route.Connector, x.scopes, err)
	dialect.Render(x.route.kind.Dialect, x.w, x.r, err)
}

// failure tells what went wrong from what was refused.
func failure(err error) bool {
	switch agentid.KindOf(err) {
	case agentid.KindInternal, agentid.KindUnavailable, agentid.KindUpstream, agentid.KindUpstreamTimeout:
		return true
	default:
		return false
	}
}

// renderPlain is for what happens outside of any connector.
func (g *Gateway) renderPlain(w http.ResponseWriter, r *http.Request, err error) {
	httperr.Problem(w, r, err)
}
