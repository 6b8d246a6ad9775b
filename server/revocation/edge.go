package revocation

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
)

// Graph is the part of SpiceDB's client that a revocation needs. Every error means
// that nothing is known of the write: it is tried again, which is harmless.
type Graph interface {
	WriteRelationships(ctx context.Context, in *v1.WriteRelationshipsRequest, opts ...grpc.CallOption) (*v1.WriteRelationshipsResponse, error)
	CheckPermission(ctx context.Context, in *v1.CheckPermissionRequest, opts ...grpc.CallOption) (*v1.CheckPermissionResponse, error)
}

// errNotReadBack means that the graph acknowledged the edge and then did not show it.
var errNotReadBack = errors.New("the revoked edge was written but is not read back")

// writeEdge writes token#revoked, which outlives the token until expires, and reads it
// back at the revision that the write reported: an acknowledgement alone is not
// believed. It returns that revision.
func writeEdge(ctx context.Context, graph Graph, token, agent agentid.Ref, expires time.Time) (agentid.Zookie, error) {
	touch, err := relate.Touch(relate.Edge{
		Resource: token, Relation: schema.TokenRevoked, Subject: relate.All(schema.TypeAgent), Expires: expires,
	})
	if err != nil {
		return "", fmt.Errorf("compose the revoked edge: %w", err)
	}
	written, err := graph.WriteRelationships(ctx, &v1.WriteRelationshipsRequest{Updates: []*v1.RelationshipUpdate{touch}})
	if err != nil {
		return "", agentid.Unavailable("graph_unavailable", fmt.Errorf("write the revoked edge: %w", err))
	}
	answer, err := graph.CheckPermission(ctx, &v1.CheckPermissionRequest{
		Consistency: &v1.Consistency{Requirement: &v1.Consistency_AtLeastAsFresh{AtLeastAsFresh: written.GetWrittenAt()}},
		Resource:    relate.Object(token),
		Permission:  schema.TokenIsRevoked,
		Subject:     &v1.SubjectReference{Object: relate.Object(agent)},
	})
	if err != nil {
		return "", agentid.Unavailable("graph_unavailable", fmt.Errorf("read the revoked edge back: %w", err))
	}
	if answer.GetPermissionship() != v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION {
		return "", agentid.Unavailable("graph_unavailable", errNotReadBack)
	}
	return agentid.Zookie(written.GetWrittenAt().GetToken()), nil
}
