package relations

import (
	"context"
	"errors"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/server/ledger"
)

// Intents are recorded before something is taken away, and settled afterwards.
type Intents interface {
	BeginRevocation(ctx context.Context, r ledger.Revocation, records ...auditlog.Record) (ledger.Revocation, error)
	SettleRevocation(ctx context.Context, epoch agentid.Epoch, zookie agentid.Zookie, records ...auditlog.Record) error
}

// Taker takes things away: intent and epoch, the ledger's state, the edges (read back),
// the floor. A crash at any step leaves the intent, for Settle to complete.
type Taker struct {
	Graph   Graph
	Intents Intents
	// Settled is called before a denial is acknowledged: gateways read the floor again.
	Settled func(ctx context.Context) error
}

// errStillThere means that the graph acknowledged a removal and then showed the edge.
var errStillThere = errors.New("the edge was taken away and is still read")

// Take records the intent, makes the change in the ledger, and settles what edges says
// afterwards. When it returns without an error, no request that starts afterwards is
// allowed what was taken.
func (t Taker) Take(ctx context.Context, intent ledger.Revocation, change func() error, edges func() (Set, error)) (agentid.Zookie, error) {
	begun, err := t.Intents.BeginRevocation(ctx, intent)
	if err != nil {
		return "", err
	}
	if err := change(); err != nil {
		return "", err
	}
	set, err := edges()
	if err != nil {
		return "", err
	}
	return t.Settle(ctx, begun, set)
}

// Settle brings the graph to s, reads it back, and raises the floor.
func (t Taker) Settle(ctx context.Context, intent ledger.Revocation, s Set) (agentid.Zookie, error) {
	updates, err := t.Graph.Pending(ctx, s)
	if err != nil {
		return "", err
	}
	if len(updates) == 0 { // done before, by an attempt that did not come to the end
		if updates, err = All(s); err != nil {
			return "", err
		}
	}
	zookie, err := t.Graph.Write(ctx, updates)
	if err != nil {
		return "", err
	}
	left, err := t.Graph.Pending(ctx, s)
	if err != nil {
		return "", err
	}
	if len(left) > 0 {
		return "", agentid.Unavailable("graph_unavailable", errStillThere)
	}
	if err := t.Intents.SettleRevocation(ctx, intent.Epoch, zookie); err != nil {
		return "", err
	}
	return zookie, t.Settled(ctx)
}
