package agents

import (
	"context"
	"errors"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/ledger"
)

// When what a crash or an outage left is looked at.
const (
	recoverAfter = time.Minute // a spawn that is open for longer has nobody who carries it on
	RecoverEvery = 30 * time.Second
	// ReapAfter is how long the edges of an agent that ended stay, for whoever looks.
	ReapAfter    = 10 * time.Minute
	recoverBatch = 100
)

// Run recovers and reaps, at once and then at intervals, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	ticker := time.NewTicker(RecoverEvery)
	defer ticker.Stop()
	for {
		_, spawns := s.Recover(ctx)
		_, ended := s.Reap(ctx)
		if err := errors.Join(spawns, ended); err != nil && ctx.Err() == nil {
			s.cfg.Logger.ErrorContext(ctx, "open spawns or ended agents could not be cleared up; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Recover ends every spawn that has been open for a minute, by what the graph says at
// head: with its edges there the agent is active, without them its row goes and its
// slots, name and key are free. It returns how many there were.
func (s *Service) Recover(ctx context.Context) (int, error) {
	total := 0
	for {
		open, err := s.cfg.Ledger.Spawning(ctx, s.cfg.Now().Add(-recoverAfter), recoverBatch)
		if err != nil {
			return total, err
		}
		for _, a := range open {
			if err := s.recover(ctx, a); err != nil {
				return total, err
			}
			total++
		}
		if len(open) < recoverBatch {
			return total, nil
		}
	}
}

func (s *Service) recover(ctx context.Context, a ledger.Agent) error {
	line, err := s.cfg.Ledger.Lineage(ctx, a.Ref)
	if err != nil {
		return err
	}
	set, err := birth(a, line[1:])
	if err != nil {
		return err
	}
	left, err := s.graph.Pending(ctx, set)
	if err != nil {
		return err
	}
	record := s.record(ctx, Actor{}, "agent.recover", a)
	record.Request = httpx.NewID()
	if len(left) == 0 {
		return s.cfg.Ledger.FinishSpawn(ctx, a.Ref, record)
	}
	// All edges are one write: some without the rest are those of an agent that expired.
	if len(left) < len(set.Wanted) {
		if err := s.unmake(ctx, a.Ref, a.Type); err != nil {
			return err
		}
	}
	record.Decision, record.Reason = auditlog.Deny, "spawn_given_up"
	_, err = s.cfg.Ledger.AbortSpawn(ctx, a.Ref, record)
	return err
}

// Reap takes the edges of agents that ended ReapAfter ago out of the graph, each agent's
// together, and gives back what slots a retirement left below it. The rows stay: neither
// name nor key is ever taken again. It returns how many there were.
func (s *Service) Reap(ctx context.Context) (int, error) {
	total := 0
	for {
		ended, err := s.cfg.Ledger.Ended(ctx, s.cfg.Now().Add(-ReapAfter), recoverBatch)
		if err != nil || len(ended) == 0 {
			return total, err
		}
		gone := make([]agentid.Ref, 0, len(ended))
		for _, a := range ended {
			if err := s.retireBelow(ctx, a.Ref); err != nil {
				return total, err
			}
			if err := s.unmake(ctx, a.Ref, a.Type); err != nil {
				return total, err
			}
			gone = append(gone, a.Ref)
		}
		if err := s.cfg.Ledger.Reaped(ctx, gone...); err != nil {
			return total, err
		}
		total += len(gone)
	}
}
