package main

import (
	"context"
	"fmt"
	"strconv"

	fga "github.com/openfga/api/proto/openfga/v1"
	"github.com/openfga/language/pkg/go/transformer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const fgaModel = `model
  schema 1.1
type principal
type agent
  relations
    define live: [agent]
type agent_type
  relations
    define instance: [agent]
type account
  relations
    define reader: [principal, agent_type#instance]
type token
  relations
    define revoked: [agent]
`

type openFGA struct {
	client       fga.OpenFGAServiceClient
	store, model string
}

func newOpenFGA(ctx context.Context, addr string, agents int) (*openFGA, error) {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	o := &openFGA{client: fga.NewOpenFGAServiceClient(conn)}
	made, err := o.client.CreateStore(ctx, &fga.CreateStoreRequest{Name: "compare"}, grpc.WaitForReady(true))
	if err != nil {
		return nil, err
	}
	o.store = made.GetId()
	model, err := transformer.TransformDSLToProto(fgaModel)
	if err != nil {
		return nil, err
	}
	written, err := o.client.WriteAuthorizationModel(ctx, &fga.WriteAuthorizationModelRequest{
		StoreId: o.store, SchemaVersion: model.GetSchemaVersion(), TypeDefinitions: model.GetTypeDefinitions(), Conditions: model.GetConditions(),
	})
	if err != nil {
		return nil, err
	}
	o.model = written.GetAuthorizationModelId()
	if err := o.write(ctx, "principal:alice", "reader", "account:stripe"); err != nil {
		return nil, err
	}
	if err := o.write(ctx, "agent_type:worker#instance", "reader", "account:stripe"); err != nil {
		return nil, err
	}
	for i := range agents {
		agent := "agent:" + strconv.Itoa(i)
		if err := o.write(ctx, agent, "instance", "agent_type:worker"); err != nil {
			return nil, err
		}
		if err := o.write(ctx, agent, "live", agent); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *openFGA) write(ctx context.Context, user, relation, object string) error {
	_, err := o.client.Write(ctx, &fga.WriteRequest{
		StoreId: o.store, AuthorizationModelId: o.model,
		Writes: &fga.WriteRequestWrites{TupleKeys: []*fga.TupleKey{{User: user, Relation: relation, Object: object}}},
	})
	return err
}

func (o *openFGA) revoke(ctx context.Context, token string) error {
	return o.write(ctx, "agent:any", "revoked", "token:"+token)
}

func (o *openFGA) allowed(ctx context.Context, q question) (bool, error) {
	agent := "agent:" + q.agent
	checks := []struct {
		user, relation, object string
		want                   bool
	}{
		{"agent:any", "revoked", "token:" + q.token, false},
		{agent, "live", agent, true},
		{agent, "reader", "account:" + q.account, true},
		{"principal:" + q.principal, "reader", "account:" + q.account, true},
	}
	req := &fga.BatchCheckRequest{StoreId: o.store, AuthorizationModelId: o.model, Consistency: fga.ConsistencyPreference_HIGHER_CONSISTENCY}
	for i, c := range checks {
		req.Checks = append(req.Checks, &fga.BatchCheckItem{
			TupleKey: &fga.CheckRequestTupleKey{User: c.user, Relation: c.relation, Object: c.object}, CorrelationId: strconv.Itoa(i),
		})
	}
	resp, err := o.client.BatchCheck(ctx, req)
	if err != nil {
		return false, err
	}
	for i, c := range checks {
		r := resp.GetResult()[strconv.Itoa(i)]
		if r == nil || r.GetError() != nil {
			return false, fmt.Errorf("check %d: %v", i, r.GetError())
		}
		if r.GetAllowed() != c.want {
			return false, nil
		}
	}
	return true, nil
}
