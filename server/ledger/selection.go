package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// selectionSchema: a revocation may be of all that a filter selects.
const selectionSchema = `ALTER TABLE revocations ADD COLUMN filter TEXT NOT NULL DEFAULT '';`

// Selection says which of a tenant's agents or tokens are meant. Zero fields select all.
// With a capability (an operation, a resource, or both in one) tokens are meant, else
// agents.
type Selection struct {
	Type      agentid.Ref `json:"type,omitzero"`      // of the agent
	Principal agentid.Ref `json:"principal,omitzero"` // that the agent acts for
	// Before: made no later than this. What is made later is never selected, however
	// often the selection is read.
	Before    time.Time   `json:"before,omitzero"`
	Operation string      `json:"operation,omitempty"` // "payments:refund"
	Resource  agentid.Ref `json:"resource,omitzero"`
}

// OfTokens reports whether tokens are meant, and not agents.
func (s Selection) OfTokens() bool { return s.Operation != "" || !s.Resource.IsZero() }

// text is the selection as an intent keeps it: with its cut-off no later than now.
func (s *Selection) text(now time.Time) (string, error) {
	if s == nil {
		return "", nil
	}
	if s.Before.IsZero() || s.Before.After(now) {
		s.Before = now
	}
	data, err := json.Marshal(s)
	return string(data), err
}

// where adds what a selection says of agents, which the caller's statement calls a.
func (s Selection) where(b *strings.Builder, args []any) []any {
	for _, c := range []struct {
		text string
		ref  agentid.Ref
	}{{` AND a.type = ?`, s.Type}, {` AND a.principal = ?`, s.Principal}} {
		if !c.ref.IsZero() {
			b.WriteString(c.text)
			args = append(args, c.ref.String())
		}
	}
	return args
}

// SelectedAgents are the names of a tenant's active agents that a selection means, behind
// a name, at most limit.
func (l *Ledger) SelectedAgents(ctx context.Context, tenant string, s Selection, after string, limit int) ([]agentid.Ref, error) {
	var b strings.Builder
	tenantColumn := `a.tenant`
	if !s.Type.IsZero() || !s.Principal.IsZero() {
		tenantColumn = `+a.tenant` // a plus keeps a column from choosing the index
	}
	b.WriteString(`SELECT a.name FROM agents a WHERE ` + tenantColumn + ` = ? AND a.name > ? AND a.state = 1 AND a.created <= ? AND (a.expires = 0 OR a.expires > ?)`)
	args := s.where(&b, []any{tenant, after, micros(s.Before), micros(l.now())})
	b.WriteString(` ORDER BY a.name LIMIT ?`)
	var out []agentid.Ref
	err := rows(ctx, l.reader(), func(r *sql.Rows) error {
		var name string
		if err := r.Scan(&name); err != nil {
			return readError(err)
		}
		ref, err := agentid.AgentRef(tenant, name)
		out = append(out, ref)
		return err
	}, b.String(), append(args, limit)...)
	return out, err
}

// SelectedTokens are a tenant's tokens that are neither expired beyond grace nor revoked,
// of the agents that a selection means, behind a jti, at most limit. What they hold is
// for the caller to compare.
func (l *Ledger) SelectedTokens(ctx context.Context, tenant string, s Selection, grace time.Duration, after string, limit int) ([]Token, error) {
	var b strings.Builder
	b.WriteString(`SELECT t.tenant, t.jti, t.agent, t.principal, t.audience, t.issued, t.expires, t.revoked, t.spec FROM tokens t
		WHERE t.tenant = ? AND t.jti > ? AND +t.expires > ? AND t.revoked = 0 AND t.issued <= ?`)
	args := []any{tenant, after, micros(l.now().Add(-grace)), micros(s.Before)}
	if !s.Type.IsZero() {
		b.WriteString(` AND EXISTS (SELECT 1 FROM agents a WHERE 'agent:' || a.tenant || '/' || a.name = t.agent AND a.type = ?)`)
		args = append(args, s.Type.String())
	}
	if !s.Principal.IsZero() {
		b.WriteString(` AND t.principal = ?`)
		args = append(args, s.Principal.String())
	}
	b.WriteString(` ORDER BY t.jti LIMIT ?`)
	return readTokens(ctx, l.reader(), b.String(), append(args, limit)...)
}

// FreezeAgents adds a reason to agents in one transaction. An agent that has it keeps it
// as it is.
func (l *Ledger) FreezeAgents(ctx context.Context, refs []agentid.Ref, reason, actor string, records ...auditlog.Record) error {
	return l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		for _, ref := range refs {
			if _, err := tx.Exec(ctx, `INSERT INTO freezes (ref, reason, actor, since) VALUES (?,?,?,?) ON CONFLICT DO NOTHING`,
				ref.String(), reason, actor, micros(l.now())); err != nil {
				return err
			}
		}
		return nil
	})
}

// ThawAgents takes a reason away from those agents that have it, in one transaction, and
// returns them.
func (l *Ledger) ThawAgents(ctx context.Context, refs []agentid.Ref, reason string, records ...auditlog.Record) (thawed []agentid.Ref, err error) {
	err = l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		thawed = thawed[:0]
		for _, ref := range refs {
			res, err := tx.Exec(ctx, `DELETE FROM freezes WHERE ref = ? AND reason = ?`, ref.String(), reason)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil {
				return err
			} else if n > 0 {
				thawed = append(thawed, ref)
			}
		}
		return nil
	})
	return thawed, err
}

// WithdrawTokens records the intent to revoke each of the tokens that is not revoked, in
// one transaction.
func (l *Ledger) WithdrawTokens(ctx context.Context, tokens []Token, w Withdrawal, records ...auditlog.Record) error {
	now := micros(l.now())
	return l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		for _, t := range tokens {
			res, err := tx.Exec(ctx, `UPDATE tokens SET revoked = ? WHERE tenant = ? AND jti = ? AND revoked = 0`, now, t.Ref.Tenant(), t.Ref.Name())
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil {
				return err
			} else if n == 0 {
				continue
			}
			if _, err := tx.Exec(ctx, `INSERT INTO revocations (target, tenant, agent, reason, actor, expires, created, settled, zookie) VALUES (?,?,?,?,?,?,?,0,'')`,
				t.Ref.String(), t.Ref.Tenant(), t.Agent.String(), w.Reason, w.Actor, micros(t.Expires.Add(w.Grace)), now); err != nil {
				return err
			}
		}
		return nil
	})
}

// Stopped are the active agents that stop when a target is taken away, an agent, a
// principal, an agent type or a tenant, or when all that a selection means are: those
// named, and everyone below them.
func (l *Ledger) Stopped(ctx context.Context, target agentid.Ref, s *Selection) ([]agentid.Ref, error) {
	var b strings.Builder
	b.WriteString(`WITH RECURSIVE down(ref, tenant, name) AS (
		SELECT 'agent:' || a.tenant || '/' || a.name, a.tenant, a.name FROM agents a WHERE a.tenant = ?`)
	args := []any{target.Tenant()}
	switch {
	case s != nil:
		b.WriteString(` AND a.state = 1 AND a.created <= ?`)
		args = s.where(&b, append(args, micros(s.Before)))
	case target.Type() == agentid.TypeAgent:
		b.WriteString(` AND a.name = ?`)
		args = append(args, target.Name())
	default:
		of := Selection{}
		switch target.Type() {
		case agentid.TypePrincipal:
			of.Principal = target
		case agentid.TypeAgentType:
			of.Type = target
		}
		args = of.where(&b, args)
	}
	b.WriteString(` UNION SELECT 'agent:' || a.tenant || '/' || a.name, a.tenant, a.name FROM down JOIN agents a ON a.parent = down.ref AND a.parent <> '')
		SELECT a.tenant, a.name FROM down JOIN agents a ON a.tenant = down.tenant AND a.name = down.name
		WHERE a.state = 1 AND (a.expires = 0 OR a.expires > ?) ORDER BY a.name`)
	var out []agentid.Ref
	err := rows(ctx, l.reader(), func(r *sql.Rows) error {
		var tenant, name string
		if err := r.Scan(&tenant, &name); err != nil {
			return readError(err)
		}
		ref, err := agentid.AgentRef(tenant, name)
		out = append(out, ref)
		return err
	}, b.String(), append(args, micros(l.now()))...)
	return out, err
}
