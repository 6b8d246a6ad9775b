package gateway

import (
	"context"

	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/internal/policy"
)

// begin registers an operation that was decided, so that it is given up when what it
// rests on is taken away. The decision is looked at again after it.
func (g *Gateway) begin(ctx context.Context, x *exchange, d decided) (context.Context, *freshness.Operation) {
	return g.cfg.View.Begin(ctx, freshness.Flight{
		Request: x.record.Request, On: d.subject.Refs(), Connector: x.route.Ref, Effect: d.call.Operation.Effect != connectors.Read,
	})
}

// because is why an operation failed: what was taken away, where that ended it.
func because(op *freshness.Operation, err error) error {
	if taken := op.Taken(); taken != nil {
		return taken
	}
	return err
}

// attempts are how often a decision is made anew while what it rests on keeps changing.
const attempts = 3

// again is phase 8: a decision that grew old, or that rests on what has changed since, is
// made anew.
func (g *Gateway) again(ctx context.Context, x *exchange, d decided, allowed policy.Allowed) (policy.Allowed, error) {
	for range attempts {
		if allowed.StillGood(g.cfg.Now()) == nil {
			break
		}
		var err error
		if allowed, err = g.ask(ctx, x, d.question); err != nil {
			return policy.Allowed{}, err
		}
	}
	return allowed, nil
}
