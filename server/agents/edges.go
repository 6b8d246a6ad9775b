package agents

import (
	"context"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/relations"
)

// birth are all edges of an agent: written once, in one write, and never changed but for
// the switch. None of them but the switch expires, so that none expires before the agent.
func birth(a ledger.Agent, line []ledger.Agent) (relations.Set, error) {
	tenant, err := agentid.TenantRef(a.Ref.Tenant())
	if err != nil {
		return relations.Set{}, err
	}
	out := []relate.Edge{
		{Resource: a.Ref, Relation: schema.AgentTenant, Subject: relate.To(tenant)},
		{Resource: a.Ref, Relation: schema.AgentType, Subject: relate.To(a.Type)},
		{Resource: a.Ref, Relation: schema.AgentPrincipal, Subject: relate.To(a.Principal)},
		{Resource: a.Ref, Relation: schema.AgentLineage, Subject: relate.To(a.Ref)},
		{Resource: a.Type, Relation: schema.AgentTypeInstance, Subject: relate.To(a.Ref)},
		enabled(a),
	}
	if !a.Parent.IsZero() {
		out = append(out, relate.Edge{Resource: a.Ref, Relation: schema.AgentParent, Subject: relate.To(a.Parent)})
	}
	for _, ancestor := range line {
		out = append(out, relate.Edge{Resource: a.Ref, Relation: schema.AgentLineage, Subject: relate.To(ancestor.Ref)})
	}
	return relations.Set{Wanted: out}, nil
}

// enabled is the switch of an agent: the one edge that freezing takes away.
func enabled(a ledger.Agent) relate.Edge {
	return relate.Edge{Resource: a.Ref, Relation: schema.AgentEnabled, Subject: relate.All(schema.TypeAgent), Expires: a.Expires}
}

// conditions are what must hold in the graph when an agent's edges are written: nothing
// has its name, and its parent is not frozen.
func conditions(a ledger.Agent) ([]*v1.Precondition, error) {
	out := []*v1.Precondition{relations.MustNotHave(a.Ref, schema.AgentTenant)}
	if a.Parent.IsZero() {
		return out, nil
	}
	parent, err := relations.MustHave(enabled(ledger.Agent{Ref: a.Parent}))
	if err != nil {
		return nil, err
	}
	return append(out, parent), nil
}

// toggle is the switch as the ledger wants it now.
func (s *Service) toggle(ctx context.Context, ref agentid.Ref) (relations.Set, error) {
	row, err := s.cfg.Ledger.Agent(ctx, ref)
	if agentid.KindOf(err) == agentid.KindNotFound && err != nil {
		return relations.Set{Unwanted: []relate.Edge{enabled(ledger.Agent{Ref: ref})}}, nil
	}
	if err != nil {
		return relations.Set{}, err
	}
	reasons, err := s.cfg.Ledger.Freezes(ctx, ref)
	if err != nil {
		return relations.Set{}, err
	}
	if len(reasons) > 0 || row.State != ledger.AgentActive || expired(row, s.cfg.Now()) {
		return relations.Set{Unwanted: []relate.Edge{enabled(row)}}, nil
	}
	return relations.Set{Wanted: []relate.Edge{enabled(row)}}, nil
}

// Edges are all edges of an agent as the ledger wants them now, for declared sets; none
// for one that has ended, whose edges are reaped.
func (s *Service) Edges(ctx context.Context, ref agentid.Ref) (relations.Set, error) {
	line, err := s.cfg.Ledger.Lineage(ctx, ref)
	if err != nil {
		return relations.Set{}, err
	}
	set, err := s.toggle(ctx, ref)
	if err != nil || line[0].State != ledger.AgentActive || expired(line[0], s.cfg.Now()) {
		return set, err
	}
	all, err := birth(line[0], line[1:])
	if err != nil || len(set.Unwanted) == 0 {
		return all, err
	}
	for _, e := range all.Wanted {
		if e.Relation != schema.AgentEnabled || e.Resource != ref {
			set.Wanted = append(set.Wanted, e)
		}
	}
	return set, nil
}

// unmake takes every edge of an agent away: first the switch with all edges from it,
// then the one from its type.
func (s *Service) unmake(ctx context.Context, ref, typ agentid.Ref) error {
	found, err := s.graph.Read(ctx, &v1.RelationshipFilter{ResourceType: schema.TypeAgent, OptionalResourceId: ref.ObjectID()}, relations.MaxUpdates)
	if err != nil {
		return err
	}
	updates := make([]*v1.RelationshipUpdate, 0, len(found)+1)
	for _, r := range found {
		updates = append(updates, &v1.RelationshipUpdate{Operation: v1.RelationshipUpdate_OPERATION_DELETE, Relationship: r})
	}
	instance, err := relate.Delete(relate.Edge{Resource: typ, Relation: schema.AgentTypeInstance, Subject: relate.To(ref)})
	if err != nil {
		return err
	}
	_, err = s.graph.Write(ctx, append(updates, instance))
	return err
}
