package revocation

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/fleet/hub"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/relations"
)

// Margin is how long a revoked edge outlives its token beyond the clock skew that
// verifiers allow.
const Margin = 5 * time.Minute

// DefaultSweepEvery is how often open intents are tried again.
const DefaultSweepEvery = 5 * time.Second

// Batch is the most denials that one event names, and edges that one write takes: the
// graph's commit hook tells up to 1,000 changes whole.
const Batch = relations.MaxUpdates

// Ledger is what a revocation needs of the ledger. Every error means that the step is
// not known to have happened.
type Ledger interface {
	Token(ctx context.Context, ref agentid.Ref) (ledger.Token, error) // KindNotFound: never issued, or purged
	BeginRevocation(ctx context.Context, r ledger.Revocation, records ...auditlog.Record) (ledger.Revocation, error)
	SettleRevocations(ctx context.Context, epochs []agentid.Epoch, zookie agentid.Zookie, records ...auditlog.Record) error
	OpenRevocations(ctx context.Context) ([]ledger.Revocation, error)
	RevocationOpen(ctx context.Context, epoch agentid.Epoch) (bool, error)
	SelectedTokens(ctx context.Context, tenant string, s ledger.Selection, grace time.Duration, after string, limit int) ([]ledger.Token, error)
	WithdrawTokens(ctx context.Context, tokens []ledger.Token, w ledger.Withdrawal, records ...auditlog.Record) error
}

// Hub is hub.Hub.
type Hub interface {
	Publish(e wire.Event) *hub.Ticket
}

// Witness remembers, apart from the ledger, which epochs were given out, so that a
// restored ledger is recognised. An error means that it is not on disk: the revocation
// stays open.
type Witness interface {
	Mark(epoch agentid.Epoch) error
}

// RevokerConfig configures NewRevoker. Ledger, Graph, Hub and Settled are required.
type RevokerConfig struct {
	Ledger Ledger
	Graph  Graph
	Hub    Hub
	// Settled is called after a revocation settled and before it is acknowledged: the
	// fleet reads the floor again. Its error fails the revocation, which stays settled.
	Settled    func(ctx context.Context) error
	Witness    Witness          // nil: a restore is not recognised by itself
	SweepEvery time.Duration    // default: DefaultSweepEvery
	Now        func() time.Time // default: time.Now
	Metrics    prometheus.Registerer
	Logger     *slog.Logger
}

// Revoker takes things away: the one mechanism, whatever it is. It is safe for
// concurrent use.
type Revoker struct {
	cfg     RevokerConfig
	graph   relations.Graph
	metrics *metrics
	sweep   sync.Mutex
	bulk    sync.Mutex // one revocation of selected tokens at a time
}

// NewRevoker checks cfg.
func NewRevoker(cfg RevokerConfig) (*Revoker, error) {
	if cfg.Ledger == nil || cfg.Graph == nil || cfg.Hub == nil || cfg.Settled == nil {
		return nil, errors.New("revocation: ledger, graph, hub and settled are required")
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
	r := &Revoker{cfg: cfg, graph: relations.Graph{Client: cfg.Graph}}
	var err error
	r.metrics, err = newMetrics(cfg.Metrics, cfg.Ledger)
	return r, err
}

// What a Receipt says beside its counts.
const (
	InfoAlreadyRevoked = "already_revoked" // it was taken away before: it still is
	InfoExpired        = "token_expired"   // nothing was left to take away
)

// Receipt says what a revocation came to, when it is acknowledged.
type Receipt struct {
	Epoch  agentid.Epoch  `json:"epoch,omitempty"`
	Zookie agentid.Zookie `json:"zookie,omitempty"` // from which on the graph says so
	hub.Outcome
	Milliseconds int64  `json:"milliseconds"`
	Information  string `json:"information,omitempty"`
}

// merge takes in another step of the same revocation: the later zookie and epoch are r2's.
func (r Receipt) merge(r2 Receipt) Receipt {
	out := r2
	out.Outcome = r2.Add(r.Applied)
	if out.Zookie == "" {
		out.Zookie = r.Zookie
	}
	out.Epoch = max(out.Epoch, r.Epoch)
	out.Gateways, out.Acknowledged, out.WaitedOut = max(r.Gateways, r2.Gateways), max(r.Acknowledged, r2.Acknowledged), max(r.WaitedOut, r2.WaitedOut)
	return out
}
