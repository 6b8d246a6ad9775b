package revocation

import (
	"context"
	"fmt"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/relations"
)

// Graph is the part of SpiceDB's client that a revocation needs. Every error means
// that nothing is known of the write: it is tried again, which is harmless.
type Graph interface {
	relations.Client
	CheckPermission(ctx context.Context, in *v1.CheckPermissionRequest, opts ...grpc.CallOption) (*v1.CheckPermissionResponse, error)
	CheckBulkPermissions(ctx context.Context, in *v1.CheckBulkPermissionsRequest, opts ...grpc.CallOption) (*v1.CheckBulkPermissionsResponse, error)
}

// writeTokens writes token#revoked for at most Batch intents in one write, and asks the
// graph for them at the revision that the write reported: an acknowledgement alone is not
// believed. It returns that revision.
func (r *Revoker) writeTokens(ctx context.Context, intents []ledger.Revocation) (agentid.Zookie, error) {
	updates := make([]*v1.RelationshipUpdate, 0, len(intents))
	for _, i := range intents {
		touch, err := relate.Touch(relate.Edge{
			Resource: i.Target, Relation: schema.TokenRevoked, Subject: relate.All(schema.TypeAgent), Expires: i.Expires,
		})
		if err != nil {
			return "", fmt.Errorf("compose the revoked edge: %w", err)
		}
		updates = append(updates, touch)
	}
	zookie, err := r.Write(ctx, intents[len(intents)-1].Epoch, updates)
	if err != nil {
		return "", err
	}
	said, err := r.revoked(ctx, intents, zookie)
	if err != nil {
		return "", agentid.Unavailable("graph_unavailable", fmt.Errorf("read the revoked edge back: %w", err))
	}
	if !said {
		return "", agentid.Unavailable("graph_unavailable", errStillThere)
	}
	return zookie, nil
}

// revoked asks whether all are revoked, no earlier than at zookie.
func (r *Revoker) revoked(ctx context.Context, intents []ledger.Revocation, zookie agentid.Zookie) (bool, error) {
	at := &v1.Consistency{Requirement: &v1.Consistency_AtLeastAsFresh{AtLeastAsFresh: &v1.ZedToken{Token: string(zookie)}}}
	const yes = v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION
	if len(intents) == 1 {
		answer, err := r.cfg.Graph.CheckPermission(ctx, &v1.CheckPermissionRequest{
			Consistency: at, Resource: relate.Object(intents[0].Target), Permission: schema.TokenIsRevoked, Subject: asker(intents[0]),
		})
		return answer.GetPermissionship() == yes, err
	}
	items := make([]*v1.CheckBulkPermissionsRequestItem, 0, len(intents))
	for _, i := range intents {
		items = append(items, &v1.CheckBulkPermissionsRequestItem{
			Resource: relate.Object(i.Target), Permission: schema.TokenIsRevoked, Subject: asker(i),
		})
	}
	answer, err := r.cfg.Graph.CheckBulkPermissions(ctx, &v1.CheckBulkPermissionsRequest{Consistency: at, Items: items})
	if err != nil || len(answer.GetPairs()) != len(items) {
		return false, err
	}
	for _, pair := range answer.GetPairs() {
		if pair.GetItem().GetPermissionship() != yes {
			return false, nil
		}
	}
	return true, nil
}

// Without makes sure that no earlier than at zookie none of refs, at most Batch, has its
// own relation any more: KindUnavailable when one has.
func (r *Revoker) Without(ctx context.Context, zookie agentid.Zookie, relation string, refs []agentid.Ref) error {
	items := make([]*v1.CheckBulkPermissionsRequestItem, 0, len(refs))
	for _, ref := range refs {
		items = append(items, &v1.CheckBulkPermissionsRequestItem{
			Resource: relate.Object(ref), Permission: relation, Subject: &v1.SubjectReference{Object: relate.Object(ref)},
		})
	}
	answer, err := r.cfg.Graph.CheckBulkPermissions(ctx, &v1.CheckBulkPermissionsRequest{
		Consistency: &v1.Consistency{Requirement: &v1.Consistency_AtLeastAsFresh{AtLeastAsFresh: &v1.ZedToken{Token: string(zookie)}}}, Items: items,
	})
	if err != nil {
		return agentid.Unavailable("graph_unavailable", err)
	}
	gone := 0
	for _, pair := range answer.GetPairs() {
		if pair.GetItem().GetPermissionship() == v1.CheckPermissionResponse_PERMISSIONSHIP_NO_PERMISSION {
			gone++
		}
	}
	if gone != len(refs) {
		return agentid.Unavailable("graph_unavailable", errStillThere)
	}
	return nil
}

// Head is a revision of the graph as it is now.
func (r *Revoker) Head(ctx context.Context, tenant agentid.Ref) (agentid.Zookie, error) {
	answer, err := r.cfg.Graph.CheckPermission(ctx, &v1.CheckPermissionRequest{
		Consistency: &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}},
		Resource:    relate.Object(tenant), Permission: schema.TenantEnabled,
		Subject: &v1.SubjectReference{Object: &v1.ObjectReference{ObjectType: schema.TypeAgent, ObjectId: tenant.Tenant() + "/none"}},
	})
	if err != nil {
		return "", agentid.Unavailable("graph_unavailable", err)
	}
	return agentid.Zookie(answer.GetCheckedAt().GetToken()), nil
}

// asker is an agent: the edge holds for every one.
func asker(i ledger.Revocation) *v1.SubjectReference {
	return &v1.SubjectReference{Object: relate.Object(i.Agent)}
}

func edgeExpiry(token time.Time) time.Time { return token.Add(capability.MaxSkew + Margin) }
