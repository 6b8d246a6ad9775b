package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/relate"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/schema"
)

// fixed are the relations of a connector's resources that administration keeps itself.
var fixed = []string{schema.PaymentsTenant, schema.PaymentsEnabled}

func (g *Grant) name() (agentid.Ref, error) {
	ref, err := agentid.ParseRef(g.Resource)
	if err != nil {
		return ref, agentid.Invalidf("resource", "want type:tenant/name")
	}
	return ref, nil
}

// subject reads the grant's subject: an agent type stands for its instances.
func (g *Grant) subject() (relate.Subject, error) {
	if typ, ok := strings.CutSuffix(g.Subject, ":*"); ok {
		if typ != schema.TypeAgent && typ != schema.TypePrincipal {
			return relate.Subject{}, agentid.Invalidf("subject", "want agent:* or principal:*")
		}
		return relate.All(typ), nil
	}
	ref, err := agentid.ParseRef(g.Subject)
	if err != nil {
		return relate.Subject{}, agentid.Invalidf("subject", "want agent_type:tenant/name, principal:tenant/name, agent:* or principal:*")
	}
	switch ref.Type() {
	case agentid.TypeAgentType:
		return relate.Set(ref, schema.AgentTypeInstance), nil
	case agentid.TypePrincipal:
		return relate.To(ref), nil
	default:
		return relate.Subject{}, agentid.Invalidf("subject", "want an agent type or a principal")
	}
}

// edge is the relationship that the grant is.
func (g *Grant) edge() (relate.Edge, error) {
	resource, err := g.name()
	if err != nil {
		return relate.Edge{}, err
	}
	subject, err := g.subject()
	if err != nil {
		return relate.Edge{}, err
	}
	bounds := make(map[string]any, len(g.Context))
	for name, value := range g.Context {
		if bounds[name], err = contextValue(value); err != nil {
			return relate.Edge{}, agentid.Invalidf("context."+name, "%s", err.Error())
		}
	}
	edge := relate.Edge{Resource: resource, Relation: g.Relation, Subject: subject}
	if g.Caveat != "" {
		edge.Caveat = relate.Caveat{Name: g.Caveat, Context: bounds}
	}
	return edge, nil
}

// contextValue admits what a caveat's bounds may be.
func contextValue(value any) (any, error) {
	switch v := value.(type) {
	case string, bool, float64:
		return v, nil
	case []any:
		list := make([]string, len(v))
		for i, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("want a list of texts")
			}
			list[i] = s
		}
		return list, nil
	default:
		return nil, fmt.Errorf("want a text, a whole number, true, false or a list of texts")
	}
}

func (g *Grant) check(ctx context.Context, w *world) error {
	ref, err := g.name()
	if err != nil {
		return err
	}
	if g.Tenant != "" && g.Tenant != ref.Tenant() {
		return agentid.Invalidf("tenant", "is not the resource's tenant")
	}
	g.Tenant = ref.Tenant()
	if g.Name != "" {
		return agentid.Invalidf("name", "a grant has no name: it is its resource, relation and subject")
	}
	edge, err := g.edge()
	if err != nil {
		return err
	}
	if _, err := relate.New(edge); err != nil {
		return err //nolint:wrapcheck // names the field
	}
	if err := w.tenant(ctx, ref.Tenant()); err != nil {
		return err
	}
	if err := g.known(ctx, w, ref); err != nil {
		return err
	}
	return g.inSchema(ctx, w, ref)
}

// known refuses a subject or an account that does not exist.
func (g *Grant) known(ctx context.Context, w *world, resource agentid.Ref) error {
	if err := g.knownAccount(ctx, w, resource); err != nil {
		return err
	}
	ref, err := agentid.ParseRef(g.Subject)
	if err != nil {
		return nil // a wildcard: subject has read it
	}
	switch ref.Type() {
	case agentid.TypeAgentType:
		_, err := w.need(ctx, "subject", &AgentType{Header: Header{Kind: KindAgentType, Tenant: ref.Tenant(), Name: ref.Name()}})
		return err
	case agentid.TypePrincipal:
		_, err := w.need(ctx, "subject", &Principal{Header: Header{Kind: KindPrincipal, Tenant: ref.Tenant(), Name: ref.Name()}})
		return err
	default:
		return nil
	}
}

// knownAccount refuses an account of a connector that does not exist.
func (g *Grant) knownAccount(ctx context.Context, w *world, resource agentid.Ref) error {
	for _, kind := range w.s.cfg.Kinds {
		if resource.Type() != kind.AccountType {
			continue
		}
		if _, _, err := w.connector(ctx, "resource", resource.Tenant(), resource.Name()); err != nil {
			return err
		}
	}
	return nil
}

// inSchema holds the grant's names against the schema: a type and relation of a
// connector, a subject that it takes, a caveat that it takes there, and exactly those
// bounds that no request supplies.
func (g *Grant) inSchema(ctx context.Context, w *world, ref agentid.Ref) error {
	answer, err := w.reflect(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(answer.GetDefinitions(), func(d *v1.ReflectionDefinition) bool { return d.GetName() == ref.Type() })
	if i < 0 || !w.connectorType(ref.Type()) {
		return agentid.Invalidf("resource", "%s is not a resource type of a connector", ref.Type())
	}
	relations := answer.GetDefinitions()[i].GetRelations()
	j := slices.IndexFunc(relations, func(r *v1.ReflectionRelation) bool { return r.GetName() == g.Relation })
	if j < 0 || slices.Contains(fixed, g.Relation) {
		return agentid.Invalidf("relation", "want one of %s", relationNames(relations))
	}
	for _, taken := range relations[j].GetSubjectTypes() {
		if g.takes(taken) && taken.GetOptionalCaveatName() == g.Caveat {
			return g.bounds(answer, w, ref)
		}
	}
	if g.Caveat != "" {
		return agentid.Invalidf("caveat", "%s does not take this subject with this caveat", g.Relation)
	}
	return agentid.Invalidf("subject", "%s does not take this subject", g.Relation)
}

// connectorType reports whether a type belongs to a connector, not to the base schema.
func (w *world) connectorType(typ string) bool {
	for _, kind := range w.s.cfg.Kinds {
		if slices.Contains(kind.ResourceTypes(), typ) {
			return true
		}
	}
	return false
}

func relationNames(relations []*v1.ReflectionRelation) string {
	var out []string
	for _, r := range relations {
		if !slices.Contains(fixed, r.GetName()) {
			out = append(out, r.GetName())
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func (g *Grant) takes(t *v1.ReflectionTypeReference) bool {
	typ, _, _ := strings.Cut(g.Subject, ":")
	if t.GetSubjectDefinitionName() != typ {
		return false
	}
	switch {
	case strings.HasSuffix(g.Subject, ":*"):
		return t.GetIsPublicWildcard()
	case typ == schema.TypeAgentType:
		return t.GetOptionalRelationName() == schema.AgentTypeInstance
	default:
		return !t.GetIsPublicWildcard() && t.GetOptionalRelationName() == ""
	}
}

// bounds compares the context with the caveat's parameters. What a request supplies
// must not be bound here, and everything else must be: a missing bound would refuse
// every request.
func (g *Grant) bounds(answer *v1.ReflectSchemaResponse, w *world, ref agentid.Ref) error {
	if g.Caveat == "" {
		if len(g.Context) > 0 {
			return agentid.Invalidf("context", "needs a caveat")
		}
		return nil
	}
	i := slices.IndexFunc(answer.GetCaveats(), func(c *v1.ReflectionCaveat) bool { return c.GetName() == g.Caveat })
	if i < 0 {
		return agentid.Invalidf("caveat", "the schema has no such caveat")
	}
	supplied := w.inputs(ref.Type())
	known := map[string]bool{}
	for _, p := range answer.GetCaveats()[i].GetParameters() {
		known[p.GetName()] = true
		value, given := g.Context[p.GetName()]
		if supplied[p.GetName()] {
			if given {
				return agentid.Invalidf("context."+p.GetName(), "comes from the request")
			}
			continue
		}
		if !given {
			return agentid.Invalidf("context."+p.GetName(), "is missing: want %s", p.GetType())
		}
		if !fits(value, p.GetType()) {
			return agentid.Invalidf("context."+p.GetName(), "want %s", p.GetType())
		}
	}
	for name := range g.Context {
		if !known[name] {
			return agentid.Invalidf("context."+name, "the caveat has no such parameter")
		}
	}
	return nil
}

// inputs are the names that requests on a resource type supply.
func (w *world) inputs(typ string) map[string]bool {
	out := map[string]bool{}
	for _, kind := range w.s.cfg.Kinds {
		if !slices.Contains(kind.ResourceTypes(), typ) {
			continue
		}
		for _, op := range kind.Operations() {
			for _, name := range op.Inputs() {
				out[name] = true
			}
		}
	}
	return out
}

func fits(value any, typ string) bool {
	switch value.(type) {
	case float64:
		return typ == "int" || typ == "uint" || typ == "double"
	case string:
		return typ == "string"
	case bool:
		return typ == "bool"
	case []any:
		return strings.HasPrefix(typ, "list<string>")
	default:
		return false
	}
}

func (g *Grant) current(ctx context.Context, s *Service) (object, error) {
	edge, err := g.edge()
	if err != nil {
		return nil, err
	}
	want, err := relate.New(relate.Edge{Resource: edge.Resource, Relation: edge.Relation, Subject: edge.Subject})
	if err != nil {
		return nil, err //nolint:wrapcheck // names the field
	}
	have, err := s.readEdge(ctx, want)
	if err != nil || have == nil {
		return nil, err
	}
	return grantOf(have), nil
}

// grantOf reads a relationship as a grant.
func grantOf(r *v1.Relationship) *Grant {
	tenant, _, _ := strings.Cut(r.GetResource().GetObjectId(), "/")
	return &Grant{
		Header:   Header{Kind: KindGrant, Tenant: tenant},
		Resource: r.GetResource().GetObjectType() + ":" + r.GetResource().GetObjectId(),
		Relation: r.GetRelation(),
		Subject:  r.GetSubject().GetObject().GetObjectType() + ":" + r.GetSubject().GetObject().GetObjectId(),
		Caveat:   r.GetOptionalCaveat().GetCaveatName(), Context: r.GetOptionalCaveat().GetContext().AsMap(),
	}
}

func (g *Grant) edges(context.Context, *Service) (edges, error) {
	edge, err := g.edge()
	return edges{wanted: []relate.Edge{edge}}, err
}

// store writes the audit row only: a grant is its relationship.
func (g *Grant) store(ctx context.Context, s *Service, records ...auditlog.Record) (bool, error) {
	for _, r := range records {
		if bounds, err := json.Marshal(g.Context); err == nil && len(g.Context) > 0 {
			r.Notes["bounds"] = g.Caveat + " " + string(bounds)
		}
		if err := s.audit(ctx, r); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (s *Service) audit(ctx context.Context, r auditlog.Record) error {
	return s.cfg.Ledger.Append(ctx, r, wire.Durable) //nolint:wrapcheck // an agentid.Error
}
