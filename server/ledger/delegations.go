package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// TypeDelegation is the object type of standing delegations in the graph.
const TypeDelegation = "delegation"

// Delegation is what a person lets agents of one type do for them, until it expires or
// is taken back. The graph says whether it stands; this row says what it covers.
type Delegation struct {
	Ref          agentid.Ref     // delegation:acme/<id>
	Principal    agentid.Ref     // who granted it
	Type         agentid.Ref     // agents of this type may use it
	Resource     string          // the connector's resource URI that it is for
	Capabilities json.RawMessage // what tokens under it may say at most
	Created      time.Time
	Expires      time.Time
	Revoked      time.Time // zero while it stands
}

type delegationSpec struct {
	Resource     string          `json:"resource"`
	Capabilities json.RawMessage `json:"capabilities"`
}

const delegationColumns = `tenant, id, principal, agent_type, spec, created, expires, revoked`

// PutDelegation records a delegation before its edges are made. KindConflict
// delegation_exists.
func (l *Ledger) PutDelegation(ctx context.Context, d Delegation, records ...auditlog.Record) error {
	if err := checkRef("delegation", d.Ref, TypeDelegation); err != nil {
		return err
	}
	if err := checkRef("principal", d.Principal, agentid.TypePrincipal); err != nil {
		return err
	}
	if err := checkRef("agent_type", d.Type, agentid.TypeAgentType); err != nil {
		return err
	}
	if d.Expires.IsZero() || len(d.Capabilities) == 0 {
		return agentid.Invalidf("capabilities", "a delegation needs capabilities and an expiry")
	}
	spec, err := json.Marshal(delegationSpec{Resource: d.Resource, Capabilities: d.Capabilities})
	if err != nil || len(spec) > maxJSON {
		return agentid.Invalidf("capabilities", "want JSON of at most %d bytes", maxJSON)
	}
	return l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO delegations (`+delegationColumns+`) VALUES (?,?,?,?,?,?,?,0)`,
			d.Ref.Tenant(), d.Ref.Name(), d.Principal.String(), d.Type.String(), spec, micros(l.now()), micros(d.Expires))
		if sqlitedb.IsUnique(err) {
			return agentid.Errorf(agentid.KindConflict, "delegation_exists", "there is a delegation of this id")
		}
		return err
	})
}

// Delegation reads one, standing or not: KindNotFound delegation_unknown.
func (l *Ledger) Delegation(ctx context.Context, ref agentid.Ref) (Delegation, error) {
	found, err := l.readDelegations(ctx, `SELECT `+delegationColumns+` FROM delegations WHERE tenant = ? AND id = ?`, ref.Tenant(), ref.Name())
	if err == nil && len(found) == 0 {
		err = errDelegation
	}
	if err != nil {
		return Delegation{}, err
	}
	return found[0], nil
}

var errDelegation = agentid.Errorf(agentid.KindNotFound, "delegation_unknown", "there is no such delegation")

// Delegations lists a principal's, in order of their ids.
func (l *Ledger) Delegations(ctx context.Context, principal agentid.Ref, p Page) ([]Delegation, error) {
	limit, err := p.limit()
	if err != nil {
		return nil, err
	}
	return l.readDelegations(ctx, `SELECT `+delegationColumns+` FROM delegations WHERE principal = ? AND id > ? ORDER BY id LIMIT ?`,
		principal.String(), p.After, limit)
}

func (l *Ledger) readDelegations(ctx context.Context, text string, args ...any) ([]Delegation, error) {
	var out []Delegation
	err := rows(ctx, l.reader(), func(r *sql.Rows) error {
		var tenant, id, principal, typ string
		var spec []byte
		var created, expires, revoked int64
		if err := r.Scan(&tenant, &id, &principal, &typ, &spec, &created, &expires, &revoked); err != nil {
			return readError(err)
		}
		var s delegationSpec
		if err := json.Unmarshal(spec, &s); err != nil {
			return err
		}
		d := Delegation{Resource: s.Resource, Capabilities: s.Capabilities, Created: fromMicros(created), Expires: fromMicros(expires), Revoked: fromMicros(revoked)}
		var err error
		if d.Ref, err = agentid.ResourceRef(TypeDelegation, tenant, id); err == nil {
			err = parseRefs([]string{principal, typ}, &d.Principal, &d.Type)
		}
		out = append(out, d)
		return err
	}, text, args...)
	return out, err
}

// RevokeDelegation marks a delegation as taken back: from its return on nothing is minted
// under it. It may be repeated. KindNotFound delegation_unknown.
func (l *Ledger) RevokeDelegation(ctx context.Context, ref agentid.Ref, records ...auditlog.Record) error {
	err := l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		var revoked int64
		found, err := one(ctx, tx.Query, []any{&revoked}, `SELECT revoked FROM delegations WHERE tenant = ? AND id = ?`, ref.Tenant(), ref.Name())
		switch {
		case err != nil:
			return err
		case !found:
			return errDelegation
		case revoked != 0:
			return errUnchanged
		}
		_, err = tx.Exec(ctx, `UPDATE delegations SET revoked = ? WHERE tenant = ? AND id = ?`, micros(l.now()), ref.Tenant(), ref.Name())
		return err
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// AgentUnder records that an agent lives by a delegation, before it is made.
func (l *Ledger) AgentUnder(ctx context.Context, agent, delegation agentid.Ref) error {
	return l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO delegation_agents (agent, delegation) VALUES (?,?) ON CONFLICT DO NOTHING`, agent.String(), delegation.String())
		return err
	})
}

// AgentsUnder are the agents that live by a delegation, as far as they were begun.
func (l *Ledger) AgentsUnder(ctx context.Context, delegation agentid.Ref) ([]agentid.Ref, error) {
	var out []agentid.Ref
	err := rows(ctx, l.reader(), func(r *sql.Rows) error {
		var text string
		if err := r.Scan(&text); err != nil {
			return err
		}
		var ref agentid.Ref
		err := parseRefs([]string{text}, &ref)
		out = append(out, ref)
		return err
	}, `SELECT agent FROM delegation_agents WHERE delegation = ? ORDER BY agent`, delegation.String())
	return out, err
}
