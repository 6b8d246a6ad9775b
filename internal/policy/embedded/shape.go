package embedded

import (
	"context"
	"fmt"
	"sync"

	"github.com/authzed/spicedb/pkg/datastore"
	core "github.com/authzed/spicedb/pkg/proto/core/v1"

	"github.com/agentid-dev/agentid/internal/policy/condition"
)

// shape says of a compiled schema which relations of its own type a permission is made
// of, through other permissions of the type too. A resource without a relationship in
// any of them has the permission for no one: every leaf of the expression is a direct
// relation or the tupleset of an arrow, all of them are empty, and a union, an
// intersection, an exclusion and an arrow over what is empty are empty. The keyword
// `self` is the exception, and a permission that holds it, or anything that is not named
// here, is left out: it is asked in full.
//
// It says too which of these relations grant the permission by themselves: the relation
// itself, and whatever a union is made of. A subject that stands in one of them, without
// a caveat, has the permission, whatever the rest of the expression says. Where they are
// all that the permission is made of, it is a union of relations and nothing else.
type shape struct {
	hash    string
	of      map[string]map[string][]string // type, permission: its relations
	grants  map[string]map[string][]string // type, permission: relations that grant it alone
	union   map[string]map[string][]string // the same, where nothing else makes it up
	subject map[string]bool                // the types

	definitions map[string]*core.CaveatDefinition
	caveats     sync.Map // by name: *condition.Caveat
}

// caveat compiles a caveat of the schema, once.
func (s *shape) caveat(name string) (*condition.Caveat, error) {
	if found, ok := s.caveats.Load(name); ok {
		return found.(*condition.Caveat), nil //nolint:forcetypeassert // the map's only type
	}
	def, ok := s.definitions[name]
	if !ok {
		return nil, errUnknownCaveat
	}
	made, err := condition.Compile(def)
	if err == nil {
		s.caveats.Store(name, made)
	}
	return made, err
}

// shapeAt is the shape of the schema at a revision; nil where it cannot be told.
func (c *Checker) shapeAt(ctx context.Context, at datastore.RevisionWithSchemaHash) (*shape, error) {
	if at.SchemaHash == "" {
		return nil, nil
	}
	if s := c.shape.Load(); s != nil && s.hash == at.SchemaHash {
		return s, nil
	}
	stored, err := c.datastore.SnapshotReader(at.Revision).ReadStoredSchema(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	v1 := stored.Get().GetV1()
	if v1.GetSchemaHash() != at.SchemaHash {
		return nil, nil
	}
	s := shapeOf(at.SchemaHash, v1.GetNamespaceDefinitions())
	s.definitions = v1.GetCaveatDefinitions()
	c.shape.Store(s)
	return s, nil
}

func shapeOf(hash string, types map[string]*core.NamespaceDefinition) *shape {
	s := &shape{
		hash: hash, of: make(map[string]map[string][]string, len(types)),
		grants: make(map[string]map[string][]string, len(types)), union: make(map[string]map[string][]string, len(types)),
		subject: make(map[string]bool, len(types)),
	}
	for name, def := range types {
		s.subject[name] = true
		relations := make(map[string]*core.Relation, len(def.GetRelation()))
		for _, r := range def.GetRelation() {
			relations[r.GetName()] = r
		}
		s.of[name], s.grants[name], s.union[name] = map[string][]string{}, map[string][]string{}, map[string][]string{}
		for permission := range relations {
			w := walker{relations: relations, seen: map[string]bool{}}
			if w.relation(permission) {
				s.of[name][permission] = w.found
				s.grants[name][permission] = granting(relations, permission, map[string]bool{})
				if all, only := unionOf(relations, permission, map[string]bool{}); only {
					s.union[name][permission] = all
				}
			}
		}
	}
	return s
}

// walker collects the relations below one permission.
type walker struct {
	relations map[string]*core.Relation
	seen      map[string]bool
	found     []string
}

func (w *walker) relation(name string) bool {
	r, ok := w.relations[name]
	if !ok {
		return false
	}
	if w.seen[name] {
		return true
	}
	w.seen[name] = true
	if r.GetUsersetRewrite() == nil {
		w.found = append(w.found, name)
		return true
	}
	return w.rewrite(name, r.GetUsersetRewrite())
}

func (w *walker) rewrite(of string, r *core.UsersetRewrite) bool {
	var set *core.SetOperation
	switch op := r.GetRewriteOperation().(type) {
	case *core.UsersetRewrite_Union:
		set = op.Union
	case *core.UsersetRewrite_Intersection:
		set = op.Intersection
	case *core.UsersetRewrite_Exclusion:
		set = op.Exclusion
	default:
		return false
	}
	if len(set.GetChild()) == 0 {
		return false
	}
	for _, child := range set.GetChild() {
		if !w.child(of, child) {
			return false
		}
	}
	return true
}

func (w *walker) child(of string, child *core.SetOperation_Child) bool {
	switch c := child.GetChildType().(type) {
	case *core.SetOperation_Child_XThis:
		w.found = append(w.found, of)
		return true
	case *core.SetOperation_Child_XNil:
		return true
	case *core.SetOperation_Child_ComputedUserset:
		return w.relation(c.ComputedUserset.GetRelation())
	case *core.SetOperation_Child_TupleToUserset:
		return w.relation(c.TupleToUserset.GetTupleset().GetRelation())
	case *core.SetOperation_Child_FunctionedTupleToUserset:
		return w.relation(c.FunctionedTupleToUserset.GetTupleset().GetRelation())
	case *core.SetOperation_Child_UsersetRewrite:
		return w.rewrite(of, c.UsersetRewrite)
	default:
		return false
	}
}

// granting lists the relations that grant a permission by themselves. A part that it
// does not know adds none: the permission is then asked in full.
func granting(relations map[string]*core.Relation, name string, seen map[string]bool) []string {
	r, ok := relations[name]
	if !ok || seen[name] {
		return nil
	}
	seen[name] = true
	if r.GetUsersetRewrite() == nil {
		return []string{name}
	}
	var found []string
	for _, child := range r.GetUsersetRewrite().GetUnion().GetChild() {
		switch c := child.GetChildType().(type) {
		case *core.SetOperation_Child_XThis:
			found = append(found, name)
		case *core.SetOperation_Child_ComputedUserset:
			found = append(found, granting(relations, c.ComputedUserset.GetRelation(), seen)...)
		}
	}
	return found
}

// unionOf lists the relations that a permission is the union of; false where it is made
// of anything else.
func unionOf(relations map[string]*core.Relation, name string, seen map[string]bool) ([]string, bool) {
	r, ok := relations[name]
	if !ok {
		return nil, false
	}
	if seen[name] {
		return nil, true
	}
	seen[name] = true
	if r.GetUsersetRewrite() == nil {
		return []string{name}, true
	}
	children := r.GetUsersetRewrite().GetUnion().GetChild()
	var all []string
	for _, child := range children {
		switch c := child.GetChildType().(type) {
		case *core.SetOperation_Child_XThis:
			all = append(all, name)
		case *core.SetOperation_Child_ComputedUserset:
			more, only := unionOf(relations, c.ComputedUserset.GetRelation(), seen)
			if !only {
				return nil, false
			}
			all = append(all, more...)
		default:
			return nil, false
		}
	}
	return all, len(children) > 0
}
