package main

import (
	"context"
	"fmt"
	"strconv"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/authzed/authzed-go/v1"
	"github.com/authzed/grpcutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const spiceSchema = `definition principal {}
definition agent {
	relation alive: agent
	permission live = alive
}
definition agent_type {
	relation instance: agent
}
definition account {
	relation reader: principal | agent_type#instance
	permission read = reader
}
definition token {
	relation revoked: agent
	permission is_revoked = revoked
}
`

type spiceDB struct{ client *authzed.Client }

func newSpiceDB(ctx context.Context, addr, key string, agents int) (*spiceDB, error) {
	c, err := authzed.NewClient(addr, grpcutil.WithInsecureBearerToken(key), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	s := &spiceDB{c}
	if _, err := c.WriteSchema(ctx, &v1.WriteSchemaRequest{Schema: spiceSchema}, grpc.WaitForReady(true)); err != nil {
		return nil, err
	}
	if err := s.write(ctx, object("account", "stripe"), "reader", subject("principal", "alice", "")); err != nil {
		return nil, err
	}
	if err := s.write(ctx, object("account", "stripe"), "reader", subject("agent_type", "worker", "instance")); err != nil {
		return nil, err
	}
	for i := range agents {
		name := strconv.Itoa(i)
		if err := s.write(ctx, object("agent_type", "worker"), "instance", subject("agent", name, "")); err != nil {
			return nil, err
		}
		if err := s.write(ctx, object("agent", name), "alive", subject("agent", name, "")); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func object(typ, id string) *v1.ObjectReference {
	return &v1.ObjectReference{ObjectType: typ, ObjectId: id}
}

func subject(typ, id, relation string) *v1.SubjectReference {
	return &v1.SubjectReference{Object: object(typ, id), OptionalRelation: relation}
}

func (s *spiceDB) write(ctx context.Context, o *v1.ObjectReference, relation string, sub *v1.SubjectReference) error {
	_, err := s.client.WriteRelationships(ctx, &v1.WriteRelationshipsRequest{Updates: []*v1.RelationshipUpdate{{
		Operation:    v1.RelationshipUpdate_OPERATION_TOUCH,
		Relationship: &v1.Relationship{Resource: o, Relation: relation, Subject: sub},
	}}})
	return err
}

func (s *spiceDB) revoke(ctx context.Context, token string) error {
	return s.write(ctx, object("token", token), "revoked", subject("agent", "any", ""))
}

func (s *spiceDB) allowed(ctx context.Context, q question) (bool, error) {
	account, agent := object("account", q.account), subject("agent", q.agent, "")
	const yes, no = v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION, v1.CheckPermissionResponse_PERMISSIONSHIP_NO_PERMISSION
	want := []v1.CheckPermissionResponse_Permissionship{no, yes, yes, yes}
	resp, err := s.client.CheckBulkPermissions(ctx, &v1.CheckBulkPermissionsRequest{
		Consistency: &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}},
		Items: []*v1.CheckBulkPermissionsRequestItem{
			{Resource: object("token", q.token), Permission: "is_revoked", Subject: subject("agent", "any", "")},
			{Resource: object("agent", q.agent), Permission: "live", Subject: agent},
			{Resource: account, Permission: "read", Subject: agent},
			{Resource: account, Permission: "read", Subject: subject("principal", q.principal, "")},
		},
	})
	if err != nil {
		return false, err
	}
	if len(resp.GetPairs()) != len(want) {
		return false, fmt.Errorf("%d answers to %d checks", len(resp.GetPairs()), len(want))
	}
	for i, pair := range resp.GetPairs() {
		if pair.GetError() != nil {
			return false, fmt.Errorf("check %d: %s", i, pair.GetError().GetMessage())
		}
		if pair.GetItem().GetPermissionship() != want[i] {
			return false, nil
		}
	}
	return true, nil
}
