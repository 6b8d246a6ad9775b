package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// Withdrawal is why tokens are taken back together with what they rest on, and by whom.
type Withdrawal struct {
	Reason, Actor string
	Grace         time.Duration // how long a revoked edge outlives its token
}

// withdraw records, in the transaction that changes what tokens rest on, the intent to
// revoke each token that was issued to the agents which of selects. A token that is
// minted meanwhile is not recorded any more: see Issue.Basis.
func (l *Ledger) withdraw(ctx context.Context, tx *sqlitedb.Tx, w Withdrawal, of string, ref agentid.Ref) error {
	now := l.now()
	const live = ` FROM tokens WHERE agent IN (SELECT ref FROM down) AND revoked = 0 AND expires > ?3`
	args := []any{ref.Tenant(), ref.Name(), micros(now.Add(-w.Grace)), micros(now), w.Grace.Microseconds(), w.Reason, w.Actor}
	if _, err := tx.Exec(ctx, `INSERT INTO revocations (target, tenant, agent, reason, actor, expires, created, settled, zookie) `+
		of+`SELECT 'token:' || tenant || '/' || jti, tenant, agent, ?6, ?7, expires + ?5, ?4, 0, ''`+live, args...); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `UPDATE tokens SET revoked = ?4 WHERE (tenant, jti) IN (`+of+`SELECT tenant, jti`+live+`)`, args[:4]...)
	return err
}

// The agents whose tokens are withdrawn, by tenant and name: one agent; one with those
// that it bounds; a type's agents with those that they bound.
const (
	onlyAgent  = `WITH down(ref) AS (SELECT 'agent:' || ?1 || '/' || ?2) `
	boundAgent = `WITH RECURSIVE down(ref) AS (
		SELECT 'agent:' || ?1 || '/' || ?2
		UNION SELECT 'agent:' || a.tenant || '/' || a.name FROM down JOIN agents a ON a.parent = down.ref AND a.parent <> '' AND a.kind = 1) `
	boundType = `WITH RECURSIVE down(ref) AS (
		SELECT 'agent:' || tenant || '/' || name FROM agents WHERE type = 'agent_type:' || ?1 || '/' || ?2 AND state <> 2
		UNION SELECT 'agent:' || a.tenant || '/' || a.name FROM down JOIN agents a ON a.parent = down.ref AND a.parent <> '' AND a.kind = 1) `
)

// RotateKey gives an active agent another public key, and consumes the assertion that
// was made with the old one. The old key is never taken again by anyone. KindConflict
// key_in_use, also for the agent's own key; KindForbidden agent_retired.
//
// The tokens that are bound to the old key are withdrawn in the same transaction: their
// revocations are open when it returns.
func (l *Ledger) RotateKey(ctx context.Context, ref agentid.Ref, key json.RawMessage, assertion Assertion, w Withdrawal, records ...auditlog.Record) (Agent, error) {
	next := Agent{PublicKey: key}
	if err := next.setKey(); err != nil {
		return Agent{}, err
	}
	if err := assertion.check(); err != nil {
		return Agent{}, err
	}
	var out Agent
	err := l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		if err := l.useAssertion(ctx, tx, assertion); err != nil {
			return err
		}
		a, err := getAgent(ctx, tx.Query, ref)
		if err != nil {
			return err
		}
		if a.State != AgentActive {
			return agentid.Errorf(agentid.KindForbidden, "agent_retired", "the agent is retired")
		}
		used, err := exists(ctx, tx.Query, `SELECT 1 FROM agents WHERE thumbprint = ?1 UNION ALL SELECT 1 FROM agent_keys WHERE thumbprint = ?1 LIMIT 1`, next.Thumbprint)
		if err != nil {
			return err
		}
		if used {
			return keyInUse()
		}
		now := micros(l.now())
		if _, err := tx.Exec(ctx, `INSERT INTO agent_keys (thumbprint, agent, since) VALUES (?,?,?)`, a.Thumbprint, ref.String(), now); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE agents SET jwk = ?, thumbprint = ?, version = version + 1, updated = ? WHERE tenant = ? AND name = ?`,
			[]byte(next.PublicKey), next.Thumbprint, now, ref.Tenant(), ref.Name()); err != nil {
			return err
		}
		if err := l.withdraw(ctx, tx, w, onlyAgent, ref); err != nil {
			return err
		}
		out, err = getAgent(ctx, tx.Query, ref)
		return err
	})
	return out, err
}

// SetCeiling replaces the ceiling of an agent that is not retired. Whether the new one
// is narrower is the caller's to judge. The tokens of the agent, and of those that it
// bounds, are withdrawn in the same transaction: their revocations are open when it
// returns.
func (l *Ledger) SetCeiling(ctx context.Context, ref agentid.Ref, ceiling json.RawMessage, w Withdrawal, records ...auditlog.Record) error {
	if err := compactJSON("ceiling", &ceiling); err != nil {
		return err
	}
	return l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		res, err := tx.Exec(ctx, `UPDATE agents SET ceiling = ?, version = version + 1, updated = ? WHERE tenant = ? AND name = ? AND state <> 2`,
			notNil(ceiling), micros(l.now()), ref.Tenant(), ref.Name())
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n > 0 {
			return l.withdraw(ctx, tx, w, boundAgent, ref)
		}
		if _, err := getAgent(ctx, tx.Query, ref); err != nil {
			return err
		}
		return agentid.Errorf(agentid.KindConflict, "agent_retired", "the agent is retired")
	})
}

// subtree walks down from ?1, the text of a ref, which it includes.
const subtree = `WITH RECURSIVE down(ref, tenant, name) AS (
	SELECT 'agent:' || tenant || '/' || name, tenant, name FROM agents WHERE tenant = ?1 AND name = ?2
	UNION ALL
	SELECT 'agent:' || a.tenant || '/' || a.name, a.tenant, a.name FROM down JOIN agents a ON a.parent = down.ref AND a.parent <> '')
	`

// Subtree is an agent and its descendants, by depth and name, at most limit.
func (l *Ledger) Subtree(ctx context.Context, ref agentid.Ref, limit int) ([]Agent, error) {
	return readAgents(ctx, l.reader(), subtree+`SELECT `+agentColumns+` FROM agents WHERE (tenant, name) IN (SELECT tenant, name FROM down)
		ORDER BY depth, name LIMIT ?3`, ref.Tenant(), ref.Name(), limit)
}

// AgentsOf are a principal's agents, by depth and name, at most limit.
func (l *Ledger) AgentsOf(ctx context.Context, principal agentid.Ref, limit int) ([]Agent, error) {
	return readAgents(ctx, l.reader(), `SELECT `+agentColumns+` FROM agents WHERE principal = ? ORDER BY depth, name LIMIT ?`, principal.String(), limit)
}

// FrozenAgentsOf are a principal's active agents that are frozen, by name, at most
// limit, behind a name.
func (l *Ledger) FrozenAgentsOf(ctx context.Context, principal agentid.Ref, after string, limit int) ([]Agent, error) {
	return readAgents(ctx, l.reader(), `SELECT `+agentColumns+` FROM agents WHERE principal = ? AND name > ? AND state = 1
		AND EXISTS (SELECT 1 FROM freezes WHERE ref = 'agent:' || agents.tenant || '/' || agents.name) ORDER BY name LIMIT ?`,
		principal.String(), after, limit)
}

// RetireDescendants retires up to limit agents below one that is retired, in one
// transaction, and returns how many. They are dead already, by lineage: this gives their
// slots back.
func (l *Ledger) RetireDescendants(ctx context.Context, ref agentid.Ref, limit int) (n int64, err error) {
	err = l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		a, err := getAgent(ctx, tx.Query, ref)
		if err != nil || a.State != AgentRetired {
			return err
		}
		res, err := tx.Exec(ctx, `UPDATE agents SET state = 2, version = version + 1, updated = ?3 WHERE (tenant, name) IN (`+
			subtree+`SELECT tenant, name FROM agents WHERE (tenant, name) IN (SELECT tenant, name FROM down) AND state <> 2 LIMIT ?4)`,
			ref.Tenant(), ref.Name(), micros(l.now()), limit)
		if err == nil {
			n, err = res.RowsAffected()
		}
		return err
	})
	return n, err
}

// Ended are agents that are retired, or expired before a time, and whose edges were not
// reaped, at most limit of each.
func (l *Ledger) Ended(ctx context.Context, before time.Time, limit int) ([]Agent, error) {
	retired, err := readAgents(ctx, l.reader(), `SELECT `+agentColumns+` FROM agents WHERE state = 2 AND reaped = 0 AND updated < ? ORDER BY updated LIMIT ?`, micros(before), limit)
	if err != nil {
		return nil, err
	}
	expired, err := readAgents(ctx, l.reader(), `SELECT `+agentColumns+` FROM agents WHERE state = 1 AND reaped = 0 AND expires > 0 AND expires < ? ORDER BY expires LIMIT ?`, micros(before), limit)
	return append(retired, expired...), err
}

// Reaped notes that the edges of ended agents are gone from the graph.
func (l *Ledger) Reaped(ctx context.Context, refs ...agentid.Ref) error {
	return l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		for _, ref := range refs {
			if _, err := tx.Exec(ctx, `UPDATE agents SET reaped = 1 WHERE tenant = ? AND name = ?`, ref.Tenant(), ref.Name()); err != nil {
				return err
			}
		}
		return nil
	})
}

// LiveTokens counts the tokens that are neither expired nor revoked one by one, by agent:
// of one principal.
func (l *Ledger) LiveTokens(ctx context.Context, principal agentid.Ref) (map[agentid.Ref]int, error) {
	out := map[agentid.Ref]int{}
	err := rows(ctx, l.reader(), func(r *sql.Rows) error {
		var text string
		var n int
		if err := r.Scan(&text, &n); err != nil {
			return readError(err)
		}
		ref, err := agentid.ParseRefAs(agentid.TypeAgent, text)
		out[ref] = n
		return err
	}, `SELECT agent, count(*) FROM tokens WHERE principal = ? AND expires > ? AND revoked = 0 GROUP BY agent`, principal.String(), micros(l.now()))
	return out, err
}

// FreezesOf are the reasons why a tenant's objects are frozen, by ref: all of them.
func (l *Ledger) FreezesOf(ctx context.Context, tenant string) (map[string][]string, error) {
	out := map[string][]string{}
	err := rows(ctx, l.reader(), func(r *sql.Rows) error {
		var ref, reason string
		err := r.Scan(&ref, &reason)
		out[ref] = append(out[ref], reason)
		return err
	}, `SELECT ref, reason FROM freezes WHERE (ref >= 'agent:' || ?1 || '/' AND ref < 'agent:' || ?1 || '0')
		OR (ref >= 'principal:' || ?1 || '/' AND ref < 'principal:' || ?1 || '0')
		OR (ref >= 'agent_type:' || ?1 || '/' AND ref < 'agent_type:' || ?1 || '0') OR ref = 'tenant:' || ?1 ORDER BY ref, reason`, tenant)
	return out, err
}
