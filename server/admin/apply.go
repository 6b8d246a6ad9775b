package admin

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
)

// MaxDocuments is the largest set that one apply takes.
const MaxDocuments = 1000

// Document is one declared object and where it was written.
type Document struct {
	Source string          `json:"source,omitempty"` // file name, for errors
	Line   int             `json:"line,omitempty"`   // for errors
	Object json.RawMessage `json:"object"`
}

// Fault is one thing that is wrong with a declared set.
type Fault struct {
	Document int    `json:"document"` // place in the request, from 0
	Source   string `json:"source,omitempty"`
	Line     int    `json:"line,omitempty"`
	Ref      string `json:"ref,omitempty"`
	Reason   string `json:"reason"`
	Field    string `json:"field,omitempty"`
	Message  string `json:"message"`
	kind     agentid.Kind
}

// FaultsError is a declared set that is refused as a whole. Nothing was written.
type FaultsError struct {
	cause  *agentid.Error
	Faults []Fault
}

// Error implements error.
func (e *FaultsError) Error() string { return e.cause.Error() }

// Unwrap gives the kind of the refusal.
func (e *FaultsError) Unwrap() error { return e.cause }

// Apply brings what the documents declare into place, or says what it would do. The
// whole set is judged before anything is written: a fault anywhere refuses all of it,
// as *FaultsError. An object that nothing declares is left alone.
//
// A failure half way leaves what was written, and nothing of it usable that is not
// complete; the same apply again completes it.
func (s *Service) Apply(ctx context.Context, documents []Document, dryRun bool) (Plan, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	plan, err := s.plan(ctx, documents)
	plan.DryRun = dryRun
	if err != nil || dryRun {
		return plan, err
	}
	away := false
	for i := range plan.Changes {
		c := &plan.Changes[i]
		away = away || c.takesAway()
		if err := s.carryOut(ctx, c); err != nil {
			return plan, err
		}
	}
	if away {
		return plan, s.settings(ctx)
	}
	return plan, s.reload(ctx)
}

// bar begins the name of a relation that shields a resource.
const bar = "barred_"

// takesAway reports whether a change may end what was allowed: everything that is not
// new, and a new bar.
func (c *Change) takesAway() bool {
	g, grant := c.object.(*Grant)
	return c.Action == ActionUpdate || grant && strings.HasPrefix(g.Relation, bar)
}

// plan reads, judges and compares all documents, in the order of writing.
func (s *Service) plan(ctx context.Context, documents []Document) (Plan, error) {
	if len(documents) == 0 || len(documents) > MaxDocuments {
		return Plan{}, agentid.Invalidf("documents", "want 1 to %d", MaxDocuments)
	}
	w := newWorld(s)
	objects := make([]object, len(documents))
	var faults []Fault
	fault := func(i int, o object, err error) error {
		e := agentid.AsError(err)
		if e.Kind != agentid.KindInvalid && e.Kind != agentid.KindConflict {
			return err
		}
		f := Fault{Document: i, Source: documents[i].Source, Line: documents[i].Line, Reason: e.Reason, Field: e.Field, Message: e.Message, kind: e.Kind}
		if o != nil {
			if ref, err := o.name(); err == nil {
				f.Ref = label(o, ref)
			}
		}
		faults = append(faults, f)
		return nil
	}
	seen := map[string]bool{}
	for i, d := range documents {
		o, err := decodeObject(d.Object)
		if err == nil {
			err = w.declare(o, seen)
		}
		if err != nil {
			if err := fault(i, o, err); err != nil {
				return Plan{}, err
			}
			continue
		}
		objects[i] = o
	}
	for i, o := range objects {
		if o == nil {
			continue
		}
		if err := o.check(ctx, w); err != nil {
			if err := fault(i, o, err); err != nil {
				return Plan{}, err
			}
		}
	}
	if len(faults) > 0 {
		return Plan{}, refused(faults)
	}
	return s.compare(ctx, objects)
}

// declare adds an object to the set; the same one twice is a fault.
func (w *world) declare(o object, seen map[string]bool) error {
	ref, err := o.name()
	if err != nil {
		return err
	}
	key := o.head().Kind + " " + label(o, ref)
	if seen[key] {
		return agentid.Invalidf("name", "is declared twice")
	}
	seen[key] = true
	if _, grant := o.(*Grant); !grant {
		w.declared[ref] = o
	}
	return nil
}

func refused(faults []Fault) error {
	slices.SortStableFunc(faults, func(a, b Fault) int { return a.Document - b.Document })
	cause := agentid.Invalidf(faults[0].Field, "%s", faults[0].Message)
	cause.Kind, cause.Reason = faults[0].kind, faults[0].Reason
	return &FaultsError{cause: cause, Faults: faults}
}

func (s *Service) compare(ctx context.Context, objects []object) (Plan, error) {
	plan := Plan{Changes: make([]Change, 0, len(objects))}
	for i, o := range objects {
		c, err := s.change(ctx, i, o)
		if err != nil {
			return Plan{}, err
		}
		plan.Changes = append(plan.Changes, c)
	}
	slices.SortStableFunc(plan.Changes, func(a, b Change) int {
		if a.Kind == KindAgent && b.Kind == KindAgent {
			return generation(plan.Changes, a) - generation(plan.Changes, b)
		}
		return order[a.Kind] - order[b.Kind]
	})
	return plan, nil
}

// generation is how many ancestors of an agent are declared in the same set: parents
// are written before their children.
func generation(all []Change, of Change) int {
	n := 0
	for current := of.object; n < len(all); n++ {
		child, ok := current.(*Agent)
		if !ok || child.Parent == "" {
			return n
		}
		at := slices.IndexFunc(all, func(c Change) bool {
			parent, ok := c.object.(*Agent)
			return ok && parent.Tenant == child.Tenant && parent.Name == child.Parent
		})
		if at < 0 {
			return n
		}
		current = all[at].object
	}
	return n
}

// carryOut writes one change: the ledger's row with its audit record, then all edges in
// one atomic write. Edges are computed again, because earlier changes of the set may
// have moved them.
func (s *Service) carryOut(ctx context.Context, c *Change) error {
	if c.Action == ActionUnchanged {
		return nil
	}
	record := s.record(ctx, c.Kind+"."+c.Action, c.ref, c.Ref)
	record.Notes["fields"] = fieldNames(c.Fields)
	wanted, err := c.object.edges(ctx, s) // before the row, which may forget what to take away
	if err != nil {
		return err
	}
	if changed, err := c.object.store(ctx, s, record); err != nil {
		return err
	} else if !changed {
		if err := s.audit(ctx, record); err != nil { // only edges are missing
			return err
		}
	}
	if c.Kind == KindAgentType { // a smaller ceiling withdraws tokens
		if _, err := s.cfg.Agents.SettleTokens(ctx); err != nil {
			return err //nolint:wrapcheck // an agentid.Error
		}
	}
	updates, err := s.pending(ctx, wanted)
	if err != nil || len(updates) == 0 {
		return err
	}
	zookie, err := s.writeEdges(ctx, updates)
	c.Zookie = string(zookie)
	return err
}

func fieldNames(fields []Field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return strings.Join(names, ",")
}

// settings is reload, and waits until every gateway acts on all that was changed.
func (s *Service) settings(ctx context.Context) error {
	if err := s.reload(ctx); err != nil {
		return err
	}
	return s.flush(ctx)
}

// flush waits until every gateway acts on what was written: for changes that take away by
// policy, whose writes the graph's commit hook announces.
func (s *Service) flush(ctx context.Context) error {
	if _, err := s.cfg.Hub.Flush(context.WithoutCancel(ctx)); err != nil {
		return agentid.Unavailable("fleet_unavailable", err)
	}
	return nil
}

// reload makes the fleet's view see the settings before the change is acknowledged.
func (s *Service) reload(ctx context.Context) error {
	if err := s.cfg.Fleet.Reload(ctx); err != nil {
		return agentid.Unavailable("ledger_unavailable", err)
	}
	return nil
}

// removed is the audit row of something that is deleted.
func (s *Service) removed(ctx context.Context, kind string, ref agentid.Ref, label string) auditlog.Record {
	return s.record(ctx, kind+".delete", ref, label)
}
