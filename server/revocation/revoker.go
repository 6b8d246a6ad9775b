package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/failpoint"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/ledger"
)

// Margin is how long a revoked edge outlives its token beyond the clock skew that
// verifiers allow.
const Margin = 5 * time.Minute

// DefaultSweepEvery is how often open intents are tried again.
const DefaultSweepEvery = 5 * time.Second

// Ledger is what a revocation needs of the ledger. Every error means that the step is
// not known to have happened.
type Ledger interface {
	Token(ctx context.Context, ref agentid.Ref) (ledger.Token, error) // KindNotFound: never issued, or purged
	BeginRevocation(ctx context.Context, r ledger.Revocation, records ...auditlog.Record) (ledger.Revocation, error)
	SettleRevocation(ctx context.Context, epoch agentid.Epoch, zookie agentid.Zookie, records ...auditlog.Record) error
	OpenRevocations(ctx context.Context) ([]ledger.Revocation, error)
}

// RevokerConfig configures NewRevoker. Ledger, Graph and Settled are required.
type RevokerConfig struct {
	Ledger Ledger
	Graph  Graph
	// Settled is called after a revocation settled and before it is acknowledged: the
	// fleet reads the floor again. Its error fails the revocation, which stays settled.
	Settled    func(ctx context.Context) error
	SweepEvery time.Duration    // default: DefaultSweepEvery
	Now        func() time.Time // default: time.Now
	Logger     *slog.Logger
}

// Revoker takes tokens away. It is safe for concurrent use.
type Revoker struct {
	cfg   RevokerConfig
	sweep sync.Mutex
}

// NewRevoker checks cfg.
func NewRevoker(cfg RevokerConfig) (*Revoker, error) {
	if cfg.Ledger == nil || cfg.Graph == nil || cfg.Settled == nil {
		return nil, errors.New("revocation: ledger, graph and settled are required")
	}
	if cfg.SweepEvery == 0 {
		cfg.SweepEvery = DefaultSweepEvery
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Revoker{cfg: cfg}, nil
}

// Order asks for one token to be taken away.
type Order struct {
	Token   agentid.Ref
	Agent   agentid.Ref // who it was issued to
	Expires time.Time   // the token's exp
	Reason  string      // short, for people: "client", "operator"
	Actor   string      // who asks
	Record  auditlog.Record
}

// Receipt says what was done.
type Receipt struct {
	Epoch   agentid.Epoch
	Zookie  agentid.Zookie
	Expired bool // the token had expired: nothing was left to take away
}

// Revoke revokes a token by its jti, for administrators: KindNotFound token_unknown when
// no such token was issued. When it returns without an error, no request that starts
// afterwards is allowed by the token; revoking twice is no error. reason and actor go
// into the audit log.
func (r *Revoker) Revoke(ctx context.Context, token agentid.Ref, reason, actor string) error {
	issued, err := r.cfg.Ledger.Token(ctx, token)
	if err != nil {
		return err
	}
	_, err = r.Take(ctx, Order{
		Token: token, Agent: issued.Agent, Expires: issued.Expires, Reason: reason, Actor: actor,
		Record: auditlog.Record{Request: httpx.RequestID(ctx), Principal: issued.Principal.String()},
	})
	return err
}

// Take takes a token away: the intent and the next epoch in the ledger, the edge in the
// graph, read back at its zookie, settled with that zookie as the floor. On an error after
// the first step the intent stays and the sweeper replays it: the caller may only not rely
// on it yet. KindUnavailable otherwise.
func (r *Revoker) Take(ctx context.Context, o Order) (Receipt, error) {
	if !r.cfg.Now().Before(o.Expires.Add(capability.MaxSkew)) {
		return Receipt{Expired: true}, nil
	}
	record := o.Record
	record.Kind, record.Decision, record.Tenant = auditlog.Revoke, auditlog.Allow, o.Token.Tenant()
	record.Agent, record.Token = o.Agent.String(), o.Token.Name()
	record.Phase, record.Time = auditlog.Single, r.cfg.Now()
	record.Notes = map[string]string{"actor": o.Actor, "reason": o.Reason}
	// The caller may go away; what was begun is ended.
	ctx = context.WithoutCancel(ctx)
	intent, err := r.cfg.Ledger.BeginRevocation(ctx, ledger.Revocation{
		Target: o.Token, Agent: o.Agent, Reason: o.Reason, Actor: o.Actor, Expires: edgeExpiry(o.Expires),
	}, record)
	if err != nil {
		return Receipt{}, err
	}
	failpoint.Hit("revoke.intent")
	return r.finish(ctx, intent)
}

func (r *Revoker) finish(ctx context.Context, intent ledger.Revocation) (Receipt, error) {
	zookie, err := writeEdge(ctx, r.cfg.Graph, intent.Target, intent.Agent, intent.Expires)
	if err != nil {
		return Receipt{}, err
	}
	failpoint.Hit("revoke.edge")
	if err := r.cfg.Ledger.SettleRevocation(ctx, intent.Epoch, zookie); err != nil {
		return Receipt{}, err
	}
	failpoint.Hit("revoke.settled")
	if err := r.cfg.Settled(ctx); err != nil {
		return Receipt{}, agentid.Unavailable("fleet_unavailable", err)
	}
	return Receipt{Epoch: intent.Epoch, Zookie: zookie}, nil
}

// Sweep replays every open token intent once and returns how many it settled. Intents on
// other targets are not this package's. It goes on after an error and returns the first.
func (r *Revoker) Sweep(ctx context.Context) (int, error) {
	r.sweep.Lock()
	defer r.sweep.Unlock()
	open, err := r.cfg.Ledger.OpenRevocations(ctx)
	if err != nil {
		return 0, fmt.Errorf("read open revocations: %w", err)
	}
	settled := 0
	var first error
	for _, intent := range open {
		if intent.Target.Type() != agentid.TypeToken {
			continue
		}
		if !r.cfg.Now().Before(intent.Expires) {
			intent.Expires = r.cfg.Now().Add(Margin) // the edge is needed no more, its zookie is
		}
		if _, err := r.finish(ctx, intent); err != nil {
			if first == nil {
				first = fmt.Errorf("replay revocation %d: %w", intent.Epoch, err)
			}
			continue
		}
		settled++
	}
	return settled, first
}

// Run sweeps at once and then at every interval, until ctx ends.
func (r *Revoker) Run(ctx context.Context) {
	ticker := time.NewTicker(r.cfg.SweepEvery)
	defer ticker.Stop()
	for {
		switch n, err := r.Sweep(ctx); {
		case err != nil && ctx.Err() == nil:
			r.cfg.Logger.ErrorContext(ctx, "open revocations could not be replayed", "settled", n, "error", err)
		case n > 0:
			r.cfg.Logger.InfoContext(ctx, "open revocations replayed", "settled", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func edgeExpiry(token time.Time) time.Time { return token.Add(capability.MaxSkew + Margin) }
