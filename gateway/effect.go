package gateway

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/gateway/forward"
	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/failpoint"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
)

// reserved is an effect whose use, hold and audit begin are on disk, and whose facts
// hold. Only reserve makes one; it must be settled.
type reserved struct {
	decided
	operation   *freshness.Operation // it is ended with the reservation
	reservation wire.Reservation
	deadline    time.Time
}

// reserve is phase 7. When it fails after the reservation was made, that is settled
// as released before it returns.
func (g *Gateway) reserve(x *exchange, d decided) (reserved, error) {
	failpoint.Hit("effect.decided")
	// From here on the client's leaving changes nothing: what is begun is ended.
	ctx := context.WithoutCancel(x.r.Context())
	now := g.cfg.Now()
	request := wire.Reserve{
		Token: d.subject.Tokens()[0], Agent: d.agent, IdempotencyKey: d.key, RequestDigest: d.call.Digest(),
		Deadline: now.Add(g.cfg.HoldWait + g.cfg.LookupTimeout + policy.DefaultMaxAge + g.forwarder.Timeout() + settleMargin),
	}
	if h, ok := d.call.Hold(); ok {
		request.HoldKey, request.HoldAmount = x.route.Ref.ObjectID()+"/"+h.Key, h.Amount
	}
	under, operation := g.begin(ctx, x, d)
	reservation, grant, err := g.take(ctx, x, d, request)
	if err != nil {
		operation.End()
		return reserved{}, err
	}
	x.audited = true
	failpoint.Hit("effect.reserved")
	r := reserved{decided: d, operation: operation, reservation: reservation, deadline: request.Deadline}
	if !reservation.Retry {
		if err := g.facts(under, x, d, grant, reservation); err != nil {
			defer operation.End()
			err = because(operation, err)
			g.settle(ctx, x, r, wire.Released, 0, err)
			return reserved{}, err
		}
	}
	failpoint.Hit("effect.facts")
	return r, nil
}

// take reserves on the first capability that has a use left.
func (g *Gateway) take(ctx context.Context, x *exchange, d decided, request wire.Reserve) (wire.Reservation, capability.Capability, error) {
	var refusal error
	for _, i := range d.grants {
		grant := d.claims.Capabilities[i]
		x.note(grant)
		var err error
		if request.Uses, err = d.counts(i); err != nil {
			refusal = cmp.Or(refusal, err)
			continue
		}
		begin := x.record
		begin.Phase, begin.Time = auditlog.Begin, g.cfg.Now()
		request.Record = begin
		reservation, err := g.cfg.Effects.Reserve(ctx, request)
		if err == nil {
			return reservation, grant, nil
		}
		if refusal == nil {
			refusal = reused(x, err)
		}
		if agentid.ReasonOf(err) != "uses_exhausted" {
			break
		}
	}
	return wire.Reservation{}, capability.Capability{}, refusal
}

// reused makes a key that was used for another request what Stripe takes it for: a
// malformed request, so that its SDKs throw their idempotency error.
func reused(x *exchange, err error) error {
	if agentid.ReasonOf(err) != "idempotency_key_reused" {
		return err
	}
	e := *agentid.AsError(err)
	e.Kind, e.Field = agentid.KindInvalid, x.route.kind.IdempotencyHeader
	return &e
}

// facts reads what the upstream says now, after the own hold is in, and counts the
// unresolved holds ahead of it. While they could still make room it waits for them.
func (g *Gateway) facts(ctx context.Context, x *exchange, d decided, grant capability.Capability, res wire.Reservation) error {
	hold, ok := d.call.Hold()
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.HoldWait+g.cfg.LookupTimeout)
	defer cancel()
	waiting, stop := context.WithTimeout(ctx, g.cfg.HoldWait)
	defer stop()
	ahead := res.Ahead
	for {
		if err := g.refresh(ctx, x, d.call, hold); err != nil {
			return err
		}
		left := d.call.Facts()[hold.Fact].Amount
		err := fits(d, grant, hold, ahead)
		if err == nil || len(ahead) == 0 || hold.Amount > left {
			return err
		}
		// A hold that resolves takes its amount off the fact or gives it back: the
		// fact does not grow. Until the rest fits what was read, reading again is idle.
		for waited := false; !waited || len(ahead) > 0 && hold.Amount+sum(ahead) > left; waited = true {
			if ahead, err = g.cfg.Effects.Await(waiting, res.ID); err != nil {
				return holdPending(waiting, err)
			}
		}
	}
}

// sum never overflows: beyond any fact it grows no more.
func sum(ahead []wire.Ahead) (n int64) {
	for _, a := range ahead {
		n = min(n+a.Amount, 2*connectors.MaxInteger)
	}
	return n
}

func holdPending(waiting context.Context, err error) error {
	if waiting.Err() == nil {
		return err
	}
	pending := agentid.Errorf(agentid.KindConflict, "hold_pending", "other operations on the same object have not ended yet").WithCause(err)
	return httperr.WithRetryAfter(pending, time.Second)
}

func (g *Gateway) refresh(ctx context.Context, x *exchange, call *connectors.Call, hold connectors.Hold) error {
	path, applies := call.LookupPath(hold.Lookup)
	if !applies {
		return agentid.Errorf(agentid.KindInternal, "internal", "a hold without its key")
	}
	answer, found, err := g.forwarder.Ask(ctx, x.route.upstream, path)
	if err != nil {
		return err
	}
	if !found {
		return agentid.Errorf(agentid.KindUpstream, "upstream_mismatch", "the upstream's answer cannot be relied on")
	}
	return call.Learn(hold.Lookup, answer)
}

// fits holds the amount, together with what is held before it, against the fact: the
// operation's own rule first, then those of the capability.
func fits(d decided, grant capability.Capability, hold connectors.Hold, ahead []wire.Ahead) error {
	facts := capability.Facts{}
	left := int64(-1)
	for name, m := range d.call.Facts() {
		if name == hold.Fact {
			m.Amount -= sum(ahead)
			left = m.Amount
		}
		facts[name] = capability.Money(m)
	}
	if hold.Amount <= 0 || hold.Amount > left {
		return agentid.Errorf(agentid.KindForbidden, "constraint_amount_at_most_fact", "is more than %s allows now", hold.Fact).WithField("amount")
	}
	return grant.Constraints.CheckFacts(d.inputs, facts)
}

// effect is phases 8 to 10 for what changes the upstream.
func (g *Gateway) effect(x *exchange, r reserved) error {
	defer r.operation.End()
	ctx := context.WithoutCancel(x.r.Context())
	allowed, err := g.lookAgain(ctx, x, r) // 8. Look again
	if err == nil {
		err = r.operation.Sent()
	}
	if err != nil {
		g.settle(ctx, x, r, wire.Released, 0, err)
		return err
	}
	sent := g.cfg.Now()
	resp, err := g.forwarder.Send(ctx, allowed, r.resources[0], x.route.upstream, forward.Request{ // 9. Forward
		Call: r.call, Header: x.r.Header, IdempotencyKey: r.reservation.UpstreamKey,
	})
	failpoint.Hit("effect.forwarded")
	if err != nil {
		outcome, status := wire.Released, 0
		if f, ok := errors.AsType[*forward.FailureError](err); ok {
			status = f.Status
			if !f.NoByte {
				outcome = wire.Unknown
			}
		}
		g.settle(ctx, x, r, outcome, status, err)
		return err
	}
	g.metrics.forwarded(r.call.Operation.Name, sent.Sub(x.started), g.cfg.Now().Sub(sent))
	g.settle(ctx, x, r, outcomeOf(resp.Status), resp.Status, nil) // 10. Settle
	failpoint.Hit("effect.settled")
	g.relay(ctx, x, resp)
	return nil
}

// lookAgain is phase 8 of an effect: beside the decision, there
// must be time to end before the hold's deadline.
func (g *Gateway) lookAgain(ctx context.Context, x *exchange, r reserved) (policy.Allowed, error) {
	allowed, err := g.again(ctx, x, r.decided, r.allowed)
	if err != nil {
		return policy.Allowed{}, err
	}
	if g.cfg.Now().Add(g.forwarder.Timeout()).After(r.deadline) {
		return policy.Allowed{}, agentid.Unavailable(policy.ReasonDecisionExpired, nil)
	}
	return allowed, nil
}

// outcomeOf reads an upstream's status: success, a definite refusal, or neither.
func outcomeOf(status int) wire.Outcome {
	switch {
	case status >= 200 && status < 300:
		return wire.Done
	case status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusTooManyRequests:
		return wire.Unknown
	case status >= 400 && status < 500:
		return wire.Released
	default:
		return wire.Unknown
	}
}

// settle ends the reservation with the audit finish. A retry releases nothing: what it
// repeats may have been done. When settling fails, the begin stays open and the sweeper
// resolves the hold at its deadline; the client is still told what the upstream said.
func (g *Gateway) settle(ctx context.Context, x *exchange, r reserved, outcome wire.Outcome, status int, cause error) {
	if r.reservation.Retry && outcome == wire.Released {
		outcome = wire.Unknown
	}
	finish := x.record
	finish.Phase, finish.Time, finish.UpstreamStatus = auditlog.Finish, g.cfg.Now(), status
	if cause != nil {
		e := agentid.AsError(cause)
		finish.Reason, finish.Field = e.Reason, e.Field
		finish.Decision = verdict(e)
	}
	if err := g.cfg.Effects.Settle(ctx, wire.Settlement{ID: r.reservation.ID, Outcome: outcome, Record: finish}); err != nil {
		g.cfg.Logger.ErrorContext(ctx, "an effect could not be settled", "request_id", x.record.Request, "outcome", outcome.String(), "error", err)
	}
}

// verdict tells a refusal from an allowed operation that the upstream failed.
func verdict(e *agentid.Error) auditlog.Decision {
	if e.Kind == agentid.KindUpstream || e.Kind == agentid.KindUpstreamTimeout {
		return auditlog.Allow
	}
	return auditlog.Deny
}
