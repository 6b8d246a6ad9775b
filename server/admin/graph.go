package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/relate"
)

// Graph is the part of SpiceDB's client that administration needs. Every error means
// that nothing is known of the call: it is made again, which is harmless.
type Graph interface {
	WriteRelationships(ctx context.Context, in *v1.WriteRelationshipsRequest, opts ...grpc.CallOption) (*v1.WriteRelationshipsResponse, error)
	ReadRelationships(ctx context.Context, in *v1.ReadRelationshipsRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[v1.ReadRelationshipsResponse], error)
}

// edges are what an object stands for in the graph: those that must be there and those
// that must not.
type edges struct {
	wanted   []relate.Edge
	unwanted []relate.Edge
}

// graphError tells a refusal of the schema from an outage.
func graphError(err error) error {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.FailedPrecondition:
		return agentid.Errorf(agentid.KindInvalid, "relationship_invalid", "the schema does not take this relationship").WithCause(err)
	default:
		return agentid.Unavailable("graph_unavailable", err)
	}
}

// pending is what it takes to bring the graph to e: nil when it is there already.
func (s *Service) pending(ctx context.Context, e edges) ([]*v1.RelationshipUpdate, error) {
	var out []*v1.RelationshipUpdate
	for _, edge := range e.wanted {
		update, err := relate.Touch(edge)
		if err != nil {
			return nil, fmt.Errorf("compose an edge: %w", err)
		}
		have, err := s.readEdge(ctx, update.GetRelationship())
		if err != nil {
			return nil, err
		}
		if !sameEdge(have, update.GetRelationship()) {
			out = append(out, update)
		}
	}
	for _, edge := range e.unwanted {
		update, err := relate.Delete(edge)
		if err != nil {
			return nil, fmt.Errorf("compose an edge: %w", err)
		}
		have, err := s.readEdge(ctx, update.GetRelationship())
		if err != nil {
			return nil, err
		}
		if have != nil {
			out = append(out, update)
		}
	}
	return out, nil
}

// repeat is all of e again, whatever is there: a write at a fresh revision.
func repeat(e edges) ([]*v1.RelationshipUpdate, error) {
	var out []*v1.RelationshipUpdate
	for _, edge := range e.wanted {
		update, err := relate.Touch(edge)
		if err != nil {
			return nil, fmt.Errorf("compose an edge: %w", err)
		}
		out = append(out, update)
	}
	for _, edge := range e.unwanted {
		update, err := relate.Delete(edge)
		if err != nil {
			return nil, fmt.Errorf("compose an edge: %w", err)
		}
		out = append(out, update)
	}
	return out, nil
}

// writeEdges makes all updates in one atomic write and gives its revision.
func (s *Service) writeEdges(ctx context.Context, updates []*v1.RelationshipUpdate) (agentid.Zookie, error) {
	written, err := s.cfg.Graph.WriteRelationships(ctx, &v1.WriteRelationshipsRequest{Updates: updates})
	if err != nil {
		return "", graphError(err)
	}
	return agentid.Zookie(written.GetWrittenAt().GetToken()), nil
}

// readEdge finds the edge with r's resource, relation and subject; nil if there is none.
func (s *Service) readEdge(ctx context.Context, r *v1.Relationship) (*v1.Relationship, error) {
	found, err := s.readEdges(ctx, &v1.RelationshipFilter{
		ResourceType: r.GetResource().GetObjectType(), OptionalResourceId: r.GetResource().GetObjectId(), OptionalRelation: r.GetRelation(),
		OptionalSubjectFilter: &v1.SubjectFilter{
			SubjectType: r.GetSubject().GetObject().GetObjectType(), OptionalSubjectId: r.GetSubject().GetObject().GetObjectId(),
			OptionalRelation: &v1.SubjectFilter_RelationFilter{Relation: r.GetSubject().GetOptionalRelation()},
		},
	}, 1)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

// readEdges reads at most limit edges at head.
func (s *Service) readEdges(ctx context.Context, filter *v1.RelationshipFilter, limit uint32) ([]*v1.Relationship, error) {
	stream, err := s.cfg.Graph.ReadRelationships(ctx, &v1.ReadRelationshipsRequest{
		Consistency:        &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}},
		RelationshipFilter: filter, OptionalLimit: limit,
	})
	if err != nil {
		return nil, graphError(err)
	}
	var out []*v1.Relationship
	for {
		next, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, graphError(err)
		}
		out = append(out, next.GetRelationship())
	}
}

// sameEdge compares caveat and expiry; resource, relation and subject are equal.
func sameEdge(have, want *v1.Relationship) bool {
	if have == nil || !proto.Equal(have.GetOptionalCaveat(), want.GetOptionalCaveat()) {
		return false
	}
	if (have.GetOptionalExpiresAt() == nil) != (want.GetOptionalExpiresAt() == nil) {
		return false
	}
	apart := have.GetOptionalExpiresAt().AsTime().Sub(want.GetOptionalExpiresAt().AsTime())
	return apart > -time.Second && apart < time.Second // the store keeps coarser times than JSON
}
