// Package agents is the life of an agent: registered or spawned, frozen and thawed by
// reason, its key rotated, its ceiling narrowed, retired, or started anew under another
// principal.
//
// It owns the order of each step between the ledger and the graph, so that a crash at
// any point leaves an agent wholly there or not at all: a spawn reserves its slots and
// its name in the ledger, then makes all edges in one atomic write, and counts only then;
// what is taken away goes behind a recorded intent. Run completes what a crash left.
//
// It owns the endpoints of agents about themselves and their children (/agents/v1). Who
// is an administrator, and what is declared in sets, is server/admin's; what a token may
// say is server/issue's.
package agents

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/relations"
	"github.com/agentid-dev/agentid/server/revocation"
)

// Config configures New. All but Logger and Now are required.
type Config struct {
	Ledger *ledger.Ledger
	Graph  relations.Client
	// Revoker takes agents and tokens away.
	Revoker *revocation.Revoker
	Logger  *slog.Logger
	Now     func() time.Time
}

// Service carries agents through their lives. It is safe for concurrent use.
type Service struct {
	cfg   Config
	graph relations.Graph
	locks [64]sync.Mutex // by agent: freeze, unfreeze and retire of one agent are one at a time
	seed  maphash.Seed
	bulk  sync.Mutex // one freeze of many at a time
}

// New checks cfg.
func New(cfg Config) (*Service, error) {
	if cfg.Ledger == nil || cfg.Graph == nil || cfg.Revoker == nil {
		return nil, errors.New("agents: a required part is missing")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{cfg: cfg, graph: relations.Graph{Client: cfg.Graph}, seed: maphash.MakeSeed()}, nil
}

// Actor is who asks. The zero Actor is the broker itself.
type Actor struct {
	Administrator string // id of its credential
	// Agent asks for itself or its descendants. Its Assertion is consumed by the change;
	// the zero Assertion was consumed before.
	Agent     agentid.Ref
	Assertion ledger.Assertion
	// Principal launches an agent for itself, or ends one.
	Principal agentid.Ref
}

func (a Actor) name() string {
	switch {
	case !a.Agent.IsZero():
		return a.Agent.String()
	case !a.Principal.IsZero():
		return a.Principal.String()
	}
	return a.Administrator
}

// lock serialises the changes of one agent's state.
func (s *Service) lock(ref agentid.Ref) func() {
	mu := &s.locks[maphash.String(s.seed, ref.String())%uint64(len(s.locks))]
	mu.Lock()
	return mu.Unlock
}

// record is the audit row of a change of one agent.
func (s *Service) record(ctx context.Context, by Actor, operation string, about ledger.Agent) auditlog.Record {
	r := auditlog.Record{
		Kind: auditlog.Admin, Phase: auditlog.Single, Request: httpx.RequestID(ctx), Tenant: about.Ref.Tenant(),
		Operation: operation, Resource: about.Ref.String(), Agent: about.Ref.String(), AgentType: about.Type.String(),
		Principal: about.Principal.String(), Decision: auditlog.Allow, Notes: map[string]string{},
	}
	if by.Administrator != "" {
		r.Notes["administrator"] = by.Administrator
	}
	if !by.Agent.IsZero() || !by.Principal.IsZero() {
		r.Notes["by"] = by.name()
	}
	if !about.Parent.IsZero() {
		r.Notes["parent"], r.Notes["child_kind"] = about.Parent.String(), about.Kind.String()
	}
	return r
}
