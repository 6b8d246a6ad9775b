package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sort"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
)

// object is one declared thing and how it is compared and written.
type object interface {
	head() *Header
	// name is the object's id in plans, audit rows and errors.
	name() (agentid.Ref, error)
	// check judges the declaration and what it refers to. Each error is a fault of the
	// document; an outage is reported as such.
	check(ctx context.Context, w *world) error
	// current is the object as it is, or nil.
	current(ctx context.Context, s *Service) (object, error)
	// edges are what the object stands for in the graph now.
	edges(ctx context.Context, s *Service) (edges, error)
	// store writes the ledger's row and the records in one transaction, and says
	// whether anything changed.
	store(ctx context.Context, s *Service, records ...auditlog.Record) (bool, error)
}

// The actions of a plan.
const (
	ActionCreate    = "create"
	ActionUpdate    = "update"
	ActionUnchanged = "unchanged"
)

// Plan is what an apply does, or would do.
type Plan struct {
	DryRun  bool     `json:"dry_run"`
	Changes []Change `json:"changes"`
}

// Change is one object's part of a plan.
type Change struct {
	Document int     `json:"document"` // place in the request, from 0
	Kind     string  `json:"kind"`
	Ref      string  `json:"ref"`
	Action   string  `json:"action"`
	Fields   []Field `json:"fields,omitempty"`
	Edges    int     `json:"edges,omitempty"` // relationships that are written
	Zookie   string  `json:"zookie,omitempty"`
	object   object  // what to write
	ref      agentid.Ref
}

// Field is one difference. A secret shows as "[redacted]".
type Field struct {
	Name string `json:"field"`
	From any    `json:"from,omitempty"`
	To   any    `json:"to,omitempty"`
}

const redacted = "[redacted]"

// change compares one object with what is there.
func (s *Service) change(ctx context.Context, document int, o object) (Change, error) {
	ref, err := o.name()
	if err != nil {
		return Change{}, fmt.Errorf("name: %w", err)
	}
	c := Change{Document: document, Kind: o.head().Kind, Ref: label(o, ref), Action: ActionUnchanged, object: o, ref: ref}
	have, err := o.current(ctx, s)
	if err != nil {
		return Change{}, err
	}
	c.Fields, err = differences(have, o)
	if err != nil {
		return Change{}, err
	}
	if secret, ok := o.(*Connector); ok {
		if err := s.credentialChange(ctx, secret, &c); err != nil {
			return Change{}, err
		}
	}
	if secret, ok := o.(*IdentityProvider); ok {
		if err := s.secretChange(ctx, secret, &c); err != nil {
			return Change{}, err
		}
	}
	wanted, err := o.edges(ctx, s)
	if err != nil {
		return Change{}, err
	}
	updates, err := s.pending(ctx, wanted)
	if err != nil {
		return Change{}, err
	}
	c.Edges = len(updates)
	switch {
	case have == nil:
		c.Action = ActionCreate
	case len(c.Fields) > 0 || c.Edges > 0:
		c.Action = ActionUpdate
	}
	return c, nil
}

// label tells grants on one resource apart.
func label(o object, ref agentid.Ref) string {
	if g, ok := o.(*Grant); ok {
		return ref.String() + "#" + g.Relation + "@" + g.Subject
	}
	return ref.String()
}

// differences lists the members that differ, by name.
func differences(have, want object) ([]Field, error) {
	to, err := members(want)
	if err != nil {
		return nil, err
	}
	from := map[string]any{}
	if have != nil {
		if from, err = members(have); err != nil {
			return nil, err
		}
	}
	var out []Field
	for name := range union(from, to) {
		if !same(from[name], to[name]) {
			out = append(out, Field{Name: name, From: from[name], To: to[name]})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

func union(a, b map[string]any) map[string]bool {
	out := make(map[string]bool, len(a)+len(b))
	for n := range a {
		out[n] = true
	}
	for n := range b {
		out[n] = true
	}
	return out
}

// members is an object's declaration by name, without its header, state and secret.
func members(o object) (map[string]any, error) {
	data, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	for _, name := range []string{"kind", "tenant", "name", "state", "frozen_for", "credential", "credential_set", "client_secret", "client_secret_set"} {
		delete(out, name)
	}
	return out, nil
}

func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
