package admin

import (
	"context"
	"fmt"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/connectors"
)

// world is what a set of objects is judged against: itself, the ledger, the schema.
type world struct {
	s        *Service
	declared map[agentid.Ref]object
	schema   *v1.ReflectSchemaResponse // read when the first grant needs it
}

func newWorld(s *Service) *world { return &world{s: s, declared: map[agentid.Ref]object{}} }

// find gives what is declared under ref, or else what is there; nil if nothing is.
func (w *world) find(ctx context.Context, like object) (object, error) {
	ref, err := like.name()
	if err != nil {
		return nil, err
	}
	if o, ok := w.declared[ref]; ok {
		return o, nil
	}
	return like.current(ctx, w.s)
}

// need refuses a reference to something that is neither declared nor there.
func (w *world) need(ctx context.Context, field string, like object) (object, error) {
	found, err := w.find(ctx, like)
	if agentid.KindOf(err) == agentid.KindInvalid && err != nil {
		return nil, agentid.AsError(err).WithField(field)
	}
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, agentid.Invalidf(field, "there is no such %s, and none is declared", like.head().Kind)
	}
	return found, nil
}

func (w *world) tenant(ctx context.Context, tenant string) error {
	_, err := w.need(ctx, "tenant", &Tenant{Header: Header{Kind: KindTenant, Name: tenant}})
	return err
}

// connector finds a connector of a tenant with its compiled kind.
func (w *world) connector(ctx context.Context, field, tenant, name string) (*Connector, *connectors.Kind, error) {
	found, err := w.need(ctx, field, &Connector{Header: Header{Kind: KindConnector, Tenant: tenant, Name: name}})
	if err != nil {
		return nil, nil, err
	}
	c, ok := found.(*Connector)
	if !ok {
		return nil, nil, agentid.Invalidf(field, "is not a connector")
	}
	kind, ok := w.s.cfg.Kinds[c.Type]
	if !ok {
		return nil, nil, agentid.Invalidf(field, "is a connector of an unknown type")
	}
	return c, kind, nil
}

// operations holds a capability against its connector: known operations, a resource of
// that connector, constraints on inputs that the operations have.
func operations(kind *connectors.Kind, connector string, c capability.Capability) error {
	if _, err := kind.Resources(c.Resource.Tenant(), connector, c.Resource); err != nil {
		return agentid.Invalidf("resource", "is not a resource of this connector")
	}
	for i, name := range c.Operations {
		op, ok := kind.Operation(name)
		if !ok {
			return agentid.Invalidf(fmt.Sprintf("operations[%d]", i), "this type of connector has no operation %s", name)
		}
		if err := op.CheckConstraints(c.Constraints); err != nil {
			return err //nolint:wrapcheck // names the field
		}
	}
	return nil
}

// ceiling reads a ceiling: a JSON array of capabilities, each of one of the tenant's
// connectors.
func ceiling(tenant string, raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	request, err := capability.ParseRequest(raw)
	if err != nil {
		return agentid.AsError(err).WithField("ceiling")
	}
	if len(request.Templates) > 0 {
		return agentid.Invalidf("ceiling", "holds a template; write the capability out")
	}
	for _, c := range request.Capabilities {
		if c.Resource.Tenant() != tenant {
			return agentid.Invalidf("ceiling", "names a resource of another tenant")
		}
	}
	return nil
}

// reflect reads the schema's definitions, once.
func (w *world) reflect(ctx context.Context) (*v1.ReflectSchemaResponse, error) {
	if w.schema == nil {
		answer, err := w.s.cfg.Schema.ReflectSchema(ctx, &v1.ReflectSchemaRequest{
			Consistency: &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}},
		})
		if err != nil {
			return nil, agentid.Unavailable("graph_unavailable", err)
		}
		w.schema = answer
	}
	return w.schema, nil
}
