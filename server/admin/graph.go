package admin

import (
	"context"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/server/relations"
)

// edges are what an object stands for in the graph: those that must be there and those
// that must not.
type edges struct {
	wanted   []relate.Edge
	unwanted []relate.Edge
}

func (e edges) set() relations.Set { return relations.Set{Wanted: e.wanted, Unwanted: e.unwanted} }

func (s *Service) graph() relations.Graph { return relations.Graph{Client: s.cfg.Graph} }

// pending is what it takes to bring the graph to e: nil when it is there already.
func (s *Service) pending(ctx context.Context, e edges) ([]*v1.RelationshipUpdate, error) {
	return s.graph().Pending(ctx, e.set()) //nolint:wrapcheck // an agentid.Error
}

// writeEdges makes all updates in one atomic write and gives its revision.
func (s *Service) writeEdges(ctx context.Context, updates []*v1.RelationshipUpdate) (agentid.Zookie, error) {
	return s.graph().Write(ctx, updates) //nolint:wrapcheck // an agentid.Error
}

// readEdge finds the edge with r's resource, relation and subject; nil if there is none.
func (s *Service) readEdge(ctx context.Context, r *v1.Relationship) (*v1.Relationship, error) {
	return s.graph().One(ctx, r) //nolint:wrapcheck // an agentid.Error
}

// readEdges reads at most limit edges at head.
func (s *Service) readEdges(ctx context.Context, filter *v1.RelationshipFilter, limit uint32) ([]*v1.Relationship, error) {
	return s.graph().Read(ctx, filter, limit) //nolint:wrapcheck // an agentid.Error
}
