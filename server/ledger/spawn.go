package ledger

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// ChildKind says how a child stands to its parent. The zero ChildKind is taken for the
// narrower one, Attenuated.
type ChildKind int

// The kinds of child.
const (
	// Attenuated: its parent bounds it. It has what both may have, never more.
	Attenuated ChildKind = iota + 1
	// Independent: it has the authority of its own type, and lives only as long as its
	// parent does.
	Independent
)

// String is "attenuated" or "independent"; "" for the zero ChildKind.
func (k ChildKind) String() string {
	switch k {
	case Attenuated:
		return "attenuated"
	case Independent:
		return "independent"
	default:
		return ""
	}
}

// ParseChildKind reads what String wrote; empty text is Attenuated.
func ParseChildKind(text string) (ChildKind, error) {
	switch text {
	case "", "attenuated":
		return Attenuated, nil
	case "independent":
		return Independent, nil
	default:
		return 0, agentid.Invalidf("child_kind", "want attenuated or independent")
	}
}

// Spawn asks for an agent. A zero Assertion is an administrator's request; else it is
// the parent's credential, which is consumed.
type Spawn struct {
	Agent     Agent
	Assertion Assertion
	// Enrolment takes a slot of a rule; nil: somebody named the agent.
	Enrolment *Enrolment
}

// Opened is a spawn whose slots are reserved.
type Opened struct {
	Agent   Agent
	Lineage []Agent // the ancestors, parent first
	// Again: the row was there as asked for. With an Agent that is AgentActive there is
	// nothing left to do.
	Again bool
}

// OpenSpawn writes an agent's row in state AgentSpawning: from here on it holds its
// name, its key and its slots, and nothing can use it. The caller writes its edges and
// calls FinishSpawn, or AbortSpawn when they are known not to be there. An agent that is
// there as asked for, in any state but retired, is found again.
//
// Refusals, each of which changes nothing (the assertion is not consumed either):
// KindInvalid agent_type_unknown, principal_unknown, parent_unknown, tenant_mismatch;
// KindConflict agent_exists, key_in_use, principal_frozen, tenant_frozen, type_frozen;
// KindForbidden parent_frozen, parent_retired, parent_expired, principal_differs,
// child_type_not_allowed, independent_not_allowed, lineage_too_deep, fan_out_exceeded,
// live_agents_exceeded, lifetime_exceeds_parent, lifetime_exceeds_limit, rule_exhausted,
// rule_changed;
// KindUnauthenticated assertion_replayed.
func (l *Ledger) OpenSpawn(ctx context.Context, s Spawn, records ...auditlog.Record) (Opened, error) {
	if err := spawnTenant(s.Agent); err != nil {
		return Opened{}, err
	}
	a, err := l.principalOf(ctx, s.Agent)
	if err != nil {
		return Opened{}, err
	}
	if err := checkAgent(&a); err != nil {
		return Opened{}, err
	}
	var out Opened
	err = l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		if s.Assertion != (Assertion{}) {
			if err := s.Assertion.check(); err != nil {
				return err
			}
			if err := l.useAssertion(ctx, tx, s.Assertion); err != nil {
				return err
			}
		}
		var err error
		if out, err = l.openSpawn(ctx, tx, a); err == nil && s.Enrolment != nil && !out.Again {
			err = l.enrol(ctx, tx, out.Agent, *s.Enrolment)
		}
		return err
	})
	if err != nil {
		return Opened{}, err
	}
	return out, nil
}

// spawnTenant tells a foreign part as tenant_mismatch.
func spawnTenant(a Agent) error {
	for _, r := range []struct {
		field string
		ref   agentid.Ref
	}{{"type", a.Type}, {"principal", a.Principal}, {"parent", a.Parent}} {
		if !r.ref.IsZero() && r.ref.Tenant() != a.Ref.Tenant() {
			return agentid.Errorf(agentid.KindForbidden, "tenant_mismatch", "the %s belongs to another tenant", r.field).WithField(r.field)
		}
	}
	return nil
}

// principalOf gives a child without a principal its parent's.
func (l *Ledger) principalOf(ctx context.Context, a Agent) (Agent, error) {
	if !a.Principal.IsZero() || a.Parent.IsZero() {
		return a, nil
	}
	parent, err := l.Agent(ctx, a.Parent)
	if agentid.KindOf(err) == agentid.KindNotFound && err != nil {
		return a, parentUnknown()
	}
	a.Principal = parent.Principal
	return a, err
}

func parentUnknown() error {
	return agentid.Errorf(agentid.KindInvalid, "parent_unknown", "there is no such parent").WithField("parent")
}

func (l *Ledger) openSpawn(ctx context.Context, tx *sqlitedb.Tx, a Agent) (Opened, error) {
	var out Opened
	tenant, typ, err := spawnSettings(ctx, tx, a)
	if err != nil {
		return out, err
	}
	if !a.Parent.IsZero() {
		if out.Lineage, err = lineage(ctx, tx.Query, a.Parent); agentid.KindOf(err) == agentid.KindNotFound && err != nil {
			return out, parentUnknown()
		} else if err != nil {
			return out, err
		}
	}
	have, err := getAgent(ctx, tx.Query, a.Ref)
	if err == nil {
		if differs := sameAgent(have, a); differs != nil {
			return out, agentid.Errorf(agentid.KindConflict, "agent_exists", "the name is taken").WithField("name").WithCause(differs)
		}
		out.Agent, out.Again = have, true
		return out, nil
	}
	if agentid.KindOf(err) != agentid.KindNotFound {
		return out, err
	}
	if err := l.notFrozen(ctx, tx, a, out.Lineage); err != nil {
		return out, err
	}
	var parent *Agent
	var parentType *AgentType
	if len(out.Lineage) > 0 {
		parent = &out.Lineage[0]
		if parentType, err = l.allowedChild(ctx, tx, a, *parent); err != nil {
			return out, err
		}
		a.Depth = len(out.Lineage)
	}
	if err := l.lifetime(&a, tenant, typ, parent); err != nil {
		return out, err
	}
	if err := l.room(ctx, tx, a, tenant, typ, parentType); err != nil {
		return out, err
	}
	a.State = AgentSpawning
	if err := l.addAgent(ctx, tx, a); err != nil {
		return out, err
	}
	out.Agent, err = getAgent(ctx, tx.Query, a.Ref)
	return out, err
}

// spawnSettings reads what the limits are in, and refuses what does not exist.
func spawnSettings(ctx context.Context, tx *sqlitedb.Tx, a Agent) (Tenant, AgentType, error) {
	tenant, err := tenants.get(ctx, tx.Query, a.Ref.Tenant(), "")
	if err != nil {
		return tenant, AgentType{}, invalid(err, "tenant")
	}
	typ, err := agentTypes.get(ctx, tx.Query, a.Type.Tenant(), a.Type.Name())
	if err != nil {
		return tenant, typ, invalid(err, "type")
	}
	_, err = principals.get(ctx, tx.Query, a.Principal.Tenant(), a.Principal.Name())
	return tenant, typ, invalid(err, "principal")
}

// invalid makes an unknown part the fault of the request's field.
func invalid(err error, field string) error {
	if e := agentid.AsError(err); err != nil && e.Kind == agentid.KindNotFound {
		return agentid.Errorf(agentid.KindInvalid, e.Reason, "%s", e.Message).WithField(field)
	}
	return err
}

// notFrozen refuses a spawn below anything that is not live: an ancestor, the principal,
// the tenant, the type.
func (l *Ledger) notFrozen(ctx context.Context, tx *sqlitedb.Tx, a Agent, line []Agent) error {
	tenant, err := agentid.TenantRef(a.Ref.Tenant())
	if err != nil {
		return err
	}
	for _, ancestor := range line {
		switch frozen, err := isFrozen(ctx, tx, ancestor.Ref); {
		case err != nil:
			return err
		case ancestor.State != AgentActive:
			return agentid.Errorf(agentid.KindForbidden, "parent_retired", "the parent, or an agent above it, is retired").WithField("parent")
		case frozen:
			return agentid.Errorf(agentid.KindForbidden, "parent_frozen", "the parent, or an agent above it, is frozen").WithField("parent")
		case !ancestor.Expires.IsZero() && !ancestor.Expires.After(l.now()):
			return agentid.Errorf(agentid.KindForbidden, "parent_expired", "the parent has expired").WithField("parent")
		}
	}
	for _, r := range []struct {
		reason, field string
		ref           agentid.Ref
	}{{"principal_frozen", "principal", a.Principal}, {"tenant_frozen", "tenant", tenant}, {"type_frozen", "type", a.Type}} {
		frozen, err := isFrozen(ctx, tx, r.ref)
		if err != nil {
			return err
		}
		if frozen {
			return agentid.Errorf(agentid.KindConflict, r.reason, "the %s is frozen", r.field).WithField(r.field)
		}
	}
	return nil
}

func isFrozen(ctx context.Context, tx *sqlitedb.Tx, ref agentid.Ref) (bool, error) {
	return exists(ctx, tx.Query, `SELECT 1 FROM freezes WHERE ref = ? LIMIT 1`, ref.String())
}

// allowedChild holds a child against its parent and the parent's type, which it returns.
func (l *Ledger) allowedChild(ctx context.Context, tx *sqlitedb.Tx, a, parent Agent) (*AgentType, error) {
	if err := checkParent(parent, a); err != nil {
		return nil, err
	}
	typ, err := agentTypes.get(ctx, tx.Query, parent.Type.Tenant(), parent.Type.Name())
	switch {
	case err != nil:
		return nil, err
	case a.Kind == Independent && !slices.Contains(typ.IndependentChildren, a.Type):
		return nil, agentid.Errorf(agentid.KindForbidden, "independent_not_allowed", "an agent of type %s may not spawn an independent %s", parent.Type.Name(), a.Type.Name()).WithField("child_kind")
	case a.Kind == Attenuated && !slices.Contains(typ.Children, a.Type):
		return nil, agentid.Errorf(agentid.KindForbidden, "child_type_not_allowed", "an agent of type %s may not spawn a %s", parent.Type.Name(), a.Type.Name()).WithField("type")
	}
	return &typ, nil
}

// FinishSpawn makes an agent whose edges are in the graph AgentActive. It may be
// repeated. KindNotFound agent_unknown: the row is gone; KindConflict agent_retired: the
// agent, or one above it, was retired meanwhile. In both cases the edges must go.
func (l *Ledger) FinishSpawn(ctx context.Context, ref agentid.Ref, records ...auditlog.Record) error {
	return l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		a, err := getAgent(ctx, tx.Query, ref)
		switch {
		case err != nil:
			return err
		case a.State == AgentRetired:
			return agentid.Errorf(agentid.KindConflict, "agent_retired", "the agent is retired")
		case a.State == AgentActive:
			return nil
		}
		_, err = tx.Exec(ctx, `UPDATE agents SET state = ?, updated = ? WHERE tenant = ? AND name = ?`,
			AgentActive, micros(l.now()), ref.Tenant(), ref.Name())
		return err
	})
}

// AbortSpawn takes back a spawn whose edges are known not to be in the graph: row, name,
// key and slots. An agent that is not AgentSpawning is left as it is, and the records are
// not written: false.
func (l *Ledger) AbortSpawn(ctx context.Context, ref agentid.Ref, records ...auditlog.Record) (bool, error) {
	err := l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		res, err := tx.Exec(ctx, `DELETE FROM agents WHERE tenant = ? AND name = ? AND state = ?`, ref.Tenant(), ref.Name(), AgentSpawning)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errUnchanged)
		}
		_, err = tx.Exec(ctx, `DELETE FROM freezes WHERE ref = ?`, ref.String())
		return err
	})
	if errors.Is(err, errUnchanged) {
		return false, nil
	}
	return err == nil, err
}

// Spawning are the agents whose spawn was opened before a time and neither finished nor
// aborted, at most limit: what a crash left.
func (l *Ledger) Spawning(ctx context.Context, before time.Time, limit int) ([]Agent, error) {
	return readAgents(ctx, l.reader(), `SELECT `+agentColumns+` FROM agents WHERE state = 3 AND updated < ? ORDER BY updated LIMIT ?`, micros(before), limit)
}
