package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// AgentType is the template that policy attaches to.
type AgentType struct {
	Ref     agentid.Ref `json:"ref"`
	Display string      `json:"display,omitempty"`
	// OwnAuthority: its agents do not need their principal to have the permission.
	OwnAuthority bool `json:"own_authority,omitempty"`
	// Launchers are who may start an agent of this type.
	Launchers []agentid.Ref `json:"launchers,omitempty"`
	// Limits bound its agents, beside those of the tenant.
	Limits
	// Templates are the names of the capability templates that its agents may use; empty:
	// all of the tenant's.
	Templates []string `json:"templates,omitempty"`
	// Children are the types that its agents may spawn as attenuated children, and
	// IndependentChildren those that they may spawn as independent ones. Empty: none.
	Children            []agentid.Ref `json:"children,omitempty"`
	IndependentChildren []agentid.Ref `json:"independent_children,omitempty"`
	// Ceiling is what its agents get when they bring no ceiling of their own, in the
	// form of Agent.Ceiling. Empty: nothing beyond policy bounds them.
	Ceiling json.RawMessage `json:"ceiling,omitempty"`
	Meta    `json:"-"`
}

var agentTypes = kind[AgentType]{
	name:   "agent_type",
	table:  objectTable("agent_types"),
	id:     func(t *AgentType) (string, string) { return t.Ref.Tenant(), t.Ref.Name() },
	alias:  func(*AgentType) string { return "" },
	meta:   func(t *AgentType) *Meta { return &t.Meta },
	refers: func(t *AgentType) []reference { return []reference{tenantReference(t.Ref.Tenant())} },
	named: []string{
		`SELECT 1 FROM agents WHERE type = ? LIMIT 1`,
		`SELECT 1 FROM enrolment_rules WHERE json_extract(CAST(spec AS TEXT), '$.type') = ? LIMIT 1`,
	},
	check: func(t *AgentType) error {
		if err := checkRef("agent_type", t.Ref, agentid.TypeAgentType); err != nil {
			return err
		}
		for _, launcher := range t.Launchers {
			if launcher.Tenant() != t.Ref.Tenant() {
				return agentid.Invalidf("launchers", "belongs to another tenant")
			}
		}
		for field, types := range map[string][]agentid.Ref{"children": t.Children, "independent_children": t.IndependentChildren} {
			for _, child := range types {
				if child.Type() != agentid.TypeAgentType || child.Tenant() != t.Ref.Tenant() {
					return agentid.Invalidf(field, "want agent types of this tenant")
				}
			}
		}
		if err := t.check(); err != nil {
			return err
		}
		if err := compactJSON("ceiling", &t.Ceiling); err != nil {
			return err
		}
		return checkDisplay(t.Display)
	},
}

// typeGrace is how long a revoked edge outlives a token that its type's change withdrew:
// clock skew and a margin.
const typeGrace = 10 * time.Minute

// PutAgentType creates or replaces an agent type; see PutTenant. When the ceiling
// changes, or its agents lose their own authority, the tokens of its agents, and of those
// that they bound, are withdrawn in the same transaction: their revocations are open when
// it returns.
func (l *Ledger) PutAgentType(ctx context.Context, t AgentType, records ...auditlog.Record) (AgentType, bool, error) {
	have, err := l.AgentType(ctx, t.Ref)
	if err != nil && agentid.KindOf(err) != agentid.KindNotFound {
		return AgentType{}, false, err
	}
	return agentTypes.put(ctx, l, t, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		if bytes.Equal(have.Ceiling, t.Ceiling) && (t.OwnAuthority || !have.OwnAuthority) {
			return nil
		}
		return l.withdraw(ctx, tx, Withdrawal{Reason: "type_changed", Grace: typeGrace}, boundType, t.Ref)
	})
}

// AgentType reads one agent type: KindNotFound agent_type_unknown.
func (l *Ledger) AgentType(ctx context.Context, ref agentid.Ref) (AgentType, error) {
	if err := checkRef("agent_type", ref, agentid.TypeAgentType); err != nil {
		return AgentType{}, err
	}
	return agentTypes.get(ctx, l.reader(), ref.Tenant(), ref.Name())
}

// AgentTypes lists a tenant's agent types in order of their names.
func (l *Ledger) AgentTypes(ctx context.Context, tenant string, p Page) ([]AgentType, error) {
	return agentTypes.list(ctx, l.reader(), tenant, p)
}

// DeleteAgentType deletes an agent type that never had an agent.
func (l *Ledger) DeleteAgentType(ctx context.Context, ref agentid.Ref, records ...auditlog.Record) error {
	if err := checkRef("agent_type", ref, agentid.TypeAgentType); err != nil {
		return err
	}
	return agentTypes.remove(ctx, l, ref.Tenant(), ref.Name(), ref.String(), records)
}
