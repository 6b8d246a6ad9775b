// Package relate composes SpiceDB relationships from agentid.Ref values, so that no
// writer builds an object id from text.
//
//	relate.New(relate.Edge{Resource: agent, Relation: schema.AgentPrincipal, Subject: relate.To(alice)})
//	relate.New(relate.Edge{Resource: agent, Relation: schema.AgentEnabled, Subject: relate.All(schema.TypeAgent), Expires: expiry})
//	relate.New(relate.Edge{Resource: account, Relation: schema.PaymentsRefunder,
//		Subject: relate.Set(refundAgent, schema.AgentTypeInstance),
//		Caveat:  relate.Caveat{Name: schema.CaveatPaymentsLimit, Context: map[string]any{
//			schema.PaymentsLimitMaxAmount: int64(5000), schema.PaymentsLimitCurrencies: []string{"usd"}}}})
//
// It owns the shape of an edge: nothing empty, one tenant only, numbers that survive
// the wire. It writes nothing and knows no names of the schema beyond types; whether a
// relation takes a subject is SpiceDB's to say.
package relate

import (
	"fmt"
	"math"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agentid-dev/agentid"
)

// Subject is the far end of an edge. The zero Subject is refused.
type Subject struct {
	ref      agentid.Ref
	wildcard string
	relation string
}

// To is one object: principal:acme/alice.
func To(ref agentid.Ref) Subject { return Subject{ref: ref} }

// Set is everything in a relation of an object: agent_type:acme/refund#instance.
func Set(ref agentid.Ref, relation string) Subject { return Subject{ref: ref, relation: relation} }

// All is every object of a type: agent:*.
func All(objectType string) Subject { return Subject{wildcard: objectType} }

// Caveat names a caveat with the part of its context that is stored on the edge:
// string, bool, int64 up to 2^53 in size, []string. The zero Caveat is none.
type Caveat struct {
	Name    string
	Context map[string]any
}

// Edge is one relationship to be. Expires in the zero time means never.
type Edge struct {
	Resource agentid.Ref
	Relation string
	Subject  Subject
	Caveat   Caveat
	Expires  time.Time
}

// New composes the relationship, or refuses with KindInvalid naming the field: an empty
// part, a subject of another tenant, a context value that JSON numbers cannot hold.
func New(e Edge) (*v1.Relationship, error) {
	if e.Resource.IsZero() {
		return nil, agentid.Invalidf("resource", "must not be empty")
	}
	if e.Relation == "" {
		return nil, agentid.Invalidf("relation", "must not be empty")
	}
	subject, err := e.Subject.compose(e.Resource.Tenant())
	if err != nil {
		return nil, err
	}
	out := &v1.Relationship{Resource: Object(e.Resource), Relation: e.Relation, Subject: subject}
	if out.OptionalCaveat, err = e.Caveat.compose(); err != nil {
		return nil, err
	}
	if !e.Expires.IsZero() {
		out.OptionalExpiresAt = timestamppb.New(e.Expires)
	}
	return out, nil
}

// Touch is an update that writes the edge or renews it: idempotent.
func Touch(e Edge) (*v1.RelationshipUpdate, error) {
	return update(v1.RelationshipUpdate_OPERATION_TOUCH, e)
}

// Create is an update that fails when the edge is there already.
func Create(e Edge) (*v1.RelationshipUpdate, error) {
	return update(v1.RelationshipUpdate_OPERATION_CREATE, e)
}

// Delete is an update that takes the edge away, whatever its caveat and expiry.
func Delete(e Edge) (*v1.RelationshipUpdate, error) {
	return update(v1.RelationshipUpdate_OPERATION_DELETE, e)
}

// Object is the SpiceDB form of a Ref.
func Object(ref agentid.Ref) *v1.ObjectReference {
	return &v1.ObjectReference{ObjectType: ref.Type(), ObjectId: ref.ObjectID()}
}

func update(op v1.RelationshipUpdate_Operation, e Edge) (*v1.RelationshipUpdate, error) {
	rel, err := New(e)
	if err != nil {
		return nil, err
	}
	return &v1.RelationshipUpdate{Operation: op, Relationship: rel}, nil
}

func (s Subject) compose(tenant string) (*v1.SubjectReference, error) {
	if s.wildcard != "" {
		return &v1.SubjectReference{Object: &v1.ObjectReference{ObjectType: s.wildcard, ObjectId: "*"}}, nil
	}
	if s.ref.IsZero() {
		return nil, agentid.Invalidf("subject", "must not be empty")
	}
	if s.ref.Tenant() != tenant {
		return nil, agentid.Invalidf("subject", "is of another tenant than the resource")
	}
	return &v1.SubjectReference{Object: Object(s.ref), OptionalRelation: s.relation}, nil
}

func (c Caveat) compose() (*v1.ContextualizedCaveat, error) {
	if c.Name == "" {
		if len(c.Context) > 0 {
			return nil, agentid.Invalidf("caveat", "has a context but no name")
		}
		return nil, nil
	}
	fields := make(map[string]*structpb.Value, len(c.Context))
	for name, value := range c.Context {
		converted, err := contextValue(value)
		if err != nil {
			return nil, agentid.Invalidf("caveat."+name, "%s", err)
		}
		fields[name] = converted
	}
	return &v1.ContextualizedCaveat{CaveatName: c.Name, Context: &structpb.Struct{Fields: fields}}, nil
}

const maxExact = 1 << 53

func contextValue(value any) (*structpb.Value, error) {
	switch v := value.(type) {
	case string:
		return structpb.NewStringValue(v), nil
	case bool:
		return structpb.NewBoolValue(v), nil
	case int64:
		if v > maxExact || v < -maxExact {
			return nil, fmt.Errorf("is beyond 2^53, which JSON numbers cannot hold exactly")
		}
		return structpb.NewNumberValue(float64(v)), nil
	case float64:
		if v != math.Trunc(v) || math.Abs(v) > maxExact {
			return nil, fmt.Errorf("is not a whole number within 2^53")
		}
		return structpb.NewNumberValue(v), nil
	case []string:
		list := make([]*structpb.Value, len(v))
		for i, s := range v {
			list[i] = structpb.NewStringValue(s)
		}
		return structpb.NewListValue(&structpb.ListValue{Values: list}), nil
	default:
		return nil, fmt.Errorf("is a %T; want string, bool, int64 or []string", value)
	}
}
