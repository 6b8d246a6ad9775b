// Package relations brings the relationships of one object into place: it reads what is
// there, writes what differs in one atomic write, and takes away behind an intent that
// survives a crash (DESIGN section 6).
//
// It owns how edges are compared, written and read back, and what an error of the graph
// means. Which edges an object has is its caller's to say.
package relations

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

// Client is the part of SpiceDB's client that writing needs. Every error means that
// nothing is known of the call: it is made again, which is harmless.
type Client interface {
	WriteRelationships(ctx context.Context, in *v1.WriteRelationshipsRequest, opts ...grpc.CallOption) (*v1.WriteRelationshipsResponse, error)
	ReadRelationships(ctx context.Context, in *v1.ReadRelationshipsRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[v1.ReadRelationshipsResponse], error)
}

// Graph reads and writes edges.
type Graph struct{ Client Client }

// Set is what an object stands for in the graph: edges that must be there and edges
// that must not.
type Set struct{ Wanted, Unwanted []relate.Edge }

// MaxUpdates is the most edges that one write takes (SpiceDB's own limit is 1,000).
const MaxUpdates = 500

// ErrPrecondition means that the graph was not as a write demanded: nothing was written.
var ErrPrecondition = errors.New("a precondition of the write does not hold")

// failure tells a refusal from an outage.
func failure(err error) error {
	switch status.Code(err) {
	case codes.FailedPrecondition, codes.AlreadyExists:
		return agentid.Errorf(agentid.KindInvalid, "relationship_invalid", "the graph does not take this relationship").WithCause(errors.Join(ErrPrecondition, err))
	case codes.InvalidArgument:
		return agentid.Errorf(agentid.KindInvalid, "relationship_invalid", "the schema does not take this relationship").WithCause(err)
	default:
		return agentid.Unavailable("graph_unavailable", err)
	}
}

// Pending is what it takes to bring the graph to s: nil when it is there already.
func (g Graph) Pending(ctx context.Context, s Set) ([]*v1.RelationshipUpdate, error) {
	var out []*v1.RelationshipUpdate
	for _, edge := range s.Wanted {
		update, err := relate.Touch(edge)
		if err != nil {
			return nil, fmt.Errorf("compose an edge: %w", err)
		}
		have, err := g.One(ctx, update.GetRelationship())
		if err != nil {
			return nil, err
		}
		if !same(have, update.GetRelationship()) {
			out = append(out, update)
		}
	}
	for _, edge := range s.Unwanted {
		update, err := relate.Delete(edge)
		if err != nil {
			return nil, fmt.Errorf("compose an edge: %w", err)
		}
		have, err := g.One(ctx, update.GetRelationship())
		if err != nil {
			return nil, err
		}
		if have != nil {
			out = append(out, update)
		}
	}
	return out, nil
}

// All is every edge of s as an update, whatever is there.
func All(s Set) ([]*v1.RelationshipUpdate, error) {
	var out []*v1.RelationshipUpdate
	for _, edge := range s.Wanted {
		update, err := relate.Touch(edge)
		if err != nil {
			return nil, fmt.Errorf("compose an edge: %w", err)
		}
		out = append(out, update)
	}
	for _, edge := range s.Unwanted {
		update, err := relate.Delete(edge)
		if err != nil {
			return nil, fmt.Errorf("compose an edge: %w", err)
		}
		out = append(out, update)
	}
	return out, nil
}

// Write makes all updates in one atomic write, if every precondition holds, and gives
// its revision. KindInvalid with ErrPrecondition in its chain: one does not hold.
func (g Graph) Write(ctx context.Context, updates []*v1.RelationshipUpdate, conditions ...*v1.Precondition) (agentid.Zookie, error) {
	written, err := g.Client.WriteRelationships(ctx, &v1.WriteRelationshipsRequest{Updates: updates, OptionalPreconditions: conditions})
	if err != nil {
		return "", failure(err)
	}
	return agentid.Zookie(written.GetWrittenAt().GetToken()), nil
}

// One finds the edge with r's resource, relation and subject; nil if there is none.
func (g Graph) One(ctx context.Context, r *v1.Relationship) (*v1.Relationship, error) {
	found, err := g.Read(ctx, filter(r), 1)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

func filter(r *v1.Relationship) *v1.RelationshipFilter {
	return &v1.RelationshipFilter{
		ResourceType: r.GetResource().GetObjectType(), OptionalResourceId: r.GetResource().GetObjectId(), OptionalRelation: r.GetRelation(),
		OptionalSubjectFilter: &v1.SubjectFilter{
			SubjectType: r.GetSubject().GetObject().GetObjectType(), OptionalSubjectId: r.GetSubject().GetObject().GetObjectId(),
			OptionalRelation: &v1.SubjectFilter_RelationFilter{Relation: r.GetSubject().GetOptionalRelation()},
		},
	}
}

// Read reads at most limit edges at head.
func (g Graph) Read(ctx context.Context, filter *v1.RelationshipFilter, limit uint32) ([]*v1.Relationship, error) {
	stream, err := g.Client.ReadRelationships(ctx, &v1.ReadRelationshipsRequest{
		Consistency:        &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}},
		RelationshipFilter: filter, OptionalLimit: limit,
	})
	if err != nil {
		return nil, failure(err)
	}
	var out []*v1.Relationship
	for {
		next, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, failure(err)
		}
		out = append(out, next.GetRelationship())
	}
}

// MustHave demands that the edge is there when a write is made.
func MustHave(e relate.Edge) (*v1.Precondition, error) {
	return condition(v1.Precondition_OPERATION_MUST_MATCH, e)
}

// MustNotHave demands that no edge of this resource and relation is there, whoever its
// subject is.
func MustNotHave(resource agentid.Ref, relation string) *v1.Precondition {
	return &v1.Precondition{Operation: v1.Precondition_OPERATION_MUST_NOT_MATCH, Filter: &v1.RelationshipFilter{
		ResourceType: resource.Type(), OptionalResourceId: resource.ObjectID(), OptionalRelation: relation,
	}}
}

func condition(op v1.Precondition_Operation, e relate.Edge) (*v1.Precondition, error) {
	r, err := relate.New(e)
	if err != nil {
		return nil, fmt.Errorf("compose a precondition: %w", err)
	}
	return &v1.Precondition{Operation: op, Filter: filter(r)}, nil
}

// same compares caveat and expiry; resource, relation and subject are equal.
func same(have, want *v1.Relationship) bool {
	if have == nil || !proto.Equal(have.GetOptionalCaveat(), want.GetOptionalCaveat()) {
		return false
	}
	if (have.GetOptionalExpiresAt() == nil) != (want.GetOptionalExpiresAt() == nil) {
		return false
	}
	apart := have.GetOptionalExpiresAt().AsTime().Sub(want.GetOptionalExpiresAt().AsTime())
	return apart > -time.Second && apart < time.Second // the store keeps coarser times than JSON
}
