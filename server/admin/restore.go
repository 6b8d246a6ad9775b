package admin

import (
	"context"
	"net/http"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/relations"
)

// Graph is the part of SpiceDB's client that administration needs. Every error means
// that nothing is known of the call: it is made again, which is harmless.
type Graph interface {
	relations.Client
	DeleteRelationships(ctx context.Context, in *v1.DeleteRelationshipsRequest, opts ...grpc.CallOption) (*v1.DeleteRelationshipsResponse, error)
}

// Witness is restore.Mark.
type Witness interface {
	// Begin starts the mark of an incarnation. An error means that it is not on disk.
	Begin(incarnation string, epoch agentid.Epoch) error
}

// RestoreRecord is the audit row of a restore.
func RestoreRecord(why, by string) auditlog.Record {
	return auditlog.Record{
		Kind: auditlog.Admin, Phase: auditlog.Single, Request: httpx.NewID(), Operation: "restore", Decision: auditlog.Allow,
		Notes: map[string]string{"reason": why, "administrator": by},
	}
}

// Restored is told that the data was put in place from an older backup: a new incarnation
// begins, tokens from before are refused, and every agent is frozen for
// ledger.ReasonRestored until it is confirmed. It may be called again.
func (s *Service) Restored(ctx context.Context, why string) error {
	ctx = context.WithoutCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.cfg.Ledger.BeginRestore(ctx, RestoreRecord(why, administrator(ctx))); err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	s.cfg.Logger.ErrorContext(ctx, "the data is older than it once was: a new incarnation begins, and every agent is frozen until it is confirmed", "reason", why)
	if err := s.reload(ctx); err != nil {
		return err
	}
	state, err := s.cfg.Ledger.State(ctx)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	s.cfg.Hub.Begin(state)
	if err := s.endRestore(ctx); err != nil {
		return err
	}
	return s.settings(ctx)
}

// EndRestore completes a restore that was begun: at the start, before anything is served.
func (s *Service) EndRestore(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endRestore(ctx)
}

// endRestore brings the graph to what the ledger says since BeginRestore: no agent is
// enabled, known or not, and what else is frozen is.
func (s *Service) endRestore(ctx context.Context) error {
	open, err := s.cfg.Ledger.Restoring(ctx)
	if err != nil || !open {
		return err //nolint:wrapcheck // an agentid.Error
	}
	zookie, err := s.disableAgents(ctx)
	if err != nil {
		return err
	}
	if err := s.refreeze(ctx); err != nil {
		return err
	}
	if s.cfg.Witness != nil {
		state, err := s.cfg.Ledger.State(ctx)
		if err != nil {
			return err //nolint:wrapcheck // an agentid.Error
		}
		if err := s.cfg.Witness.Begin(state.Incarnation, state.Epoch); err != nil {
			return agentid.Unavailable("witness_unavailable", err)
		}
	}
	if err := s.cfg.Ledger.EndRestore(ctx, zookie); err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return s.reload(ctx)
}

// disableAgents takes the switch of every agent that the graph knows.
func (s *Service) disableAgents(ctx context.Context) (agentid.Zookie, error) {
	for {
		gone, err := s.cfg.Graph.DeleteRelationships(ctx, &v1.DeleteRelationshipsRequest{
			RelationshipFilter: &v1.RelationshipFilter{ResourceType: schema.TypeAgent, OptionalRelation: schema.AgentEnabled},
			OptionalLimit:      relations.MaxUpdates, OptionalAllowPartialDeletions: true,
		})
		if err != nil {
			return "", agentid.Unavailable("graph_unavailable", err)
		}
		if gone.GetDeletionProgress() == v1.DeleteRelationshipsResponse_DELETION_PROGRESS_COMPLETE {
			return agentid.Zookie(gone.GetDeletedAt().GetToken()), nil
		}
	}
}

// refreeze makes the graph say of everything above agents that it is frozen where the
// ledger does: an older graph knows less.
func (s *Service) refreeze(ctx context.Context) error {
	for after := ""; ; {
		tenants, err := s.cfg.Ledger.Tenants(ctx, ledger.Page{After: after, Limit: ledger.MaxPage})
		if err != nil || len(tenants) == 0 {
			return err //nolint:wrapcheck // an agentid.Error
		}
		for _, t := range tenants {
			after = t.Ref.Tenant()
			frozen, err := s.cfg.Ledger.FrozenTenant(ctx, after)
			if err != nil {
				return err //nolint:wrapcheck // an agentid.Error
			}
			for _, ref := range frozen {
				if err := s.bring(ctx, ref); err != nil {
					return err
				}
			}
		}
	}
}

// bring makes the graph say of one object what the ledger does.
func (s *Service) bring(ctx context.Context, ref agentid.Ref) error {
	o, err := s.named(ctx, ref)
	if err != nil {
		return err
	}
	wanted, err := o.edges(ctx, s)
	if err != nil {
		return err
	}
	updates, err := s.pending(ctx, wanted)
	if err != nil || len(updates) == 0 {
		return err
	}
	_, err = s.writeEdges(ctx, updates)
	return err
}

// postRestored is told that the data was restored.
func (s *Service) postRestored(w http.ResponseWriter, r *http.Request) error {
	var in reasonOf
	if err := body(w, r, &in); err != nil {
		return err
	}
	if in.Reason == "" {
		return agentid.Invalidf("reason", "is required")
	}
	if err := s.Restored(r.Context(), in.Reason); err != nil {
		return err
	}
	_, _, incarnation, err := s.cfg.Ledger.Floor(r.Context())
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	return answer(w, http.StatusOK, map[string]string{"incarnation": incarnation, "frozen_for": ledger.ReasonRestored})
}
