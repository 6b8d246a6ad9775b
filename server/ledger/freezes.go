package ledger

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// Freeze is one reason why something is frozen.
type Freeze struct {
	Reason string // "operator", "owner_lost"
	Actor  string // who froze it
	Since  time.Time
}

const maxReason = 128

// ReasonOwnerLost is why the agents of a frozen principal are frozen.
const ReasonOwnerLost = "owner_lost"

// AddFreeze adds a reason to what ref names (agent, principal, agent type, tenant,
// connector) and returns all reasons. It is there once, however often it is added.
// With a principal all of its agents are frozen for ReasonOwnerLost, in the same
// transaction: they stay so when the principal comes back.
func (l *Ledger) AddFreeze(ctx context.Context, ref agentid.Ref, reason, actor string, records ...auditlog.Record) ([]Freeze, error) {
	if ref.IsZero() || reason == "" || len(reason) > maxReason || len(actor) > maxSubject {
		return nil, agentid.Invalidf("reason", "want a ref and a reason of at most %d bytes", maxReason)
	}
	var left []Freeze
	err := l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		err := l.addFreeze(ctx, tx, ref, reason, actor)
		if err == nil {
			left, err = freezes(ctx, tx.Query, ref)
		}
		return err
	})
	return left, err
}

func (l *Ledger) addFreeze(ctx context.Context, tx *sqlitedb.Tx, ref agentid.Ref, reason, actor string) error {
	_, err := tx.Exec(ctx, `INSERT INTO freezes (ref, reason, actor, since) VALUES (?,?,?,?) ON CONFLICT DO NOTHING`,
		ref.String(), reason, actor, micros(l.now()))
	if err == nil && ref.Type() == agentid.TypePrincipal {
		_, err = tx.Exec(ctx, `INSERT INTO freezes (ref, reason, actor, since)
			SELECT 'agent:' || tenant || '/' || name, ?, ?, ? FROM agents WHERE principal = ? AND state <> 2 ON CONFLICT DO NOTHING`,
			ReasonOwnerLost, actor, micros(l.now()), ref.String())
	}
	return err
}

// RemoveFreeze takes a reason away and returns those that are left: only when there is
// none may the edge return. KindNotFound freeze_unknown when the reason is not there.
func (l *Ledger) RemoveFreeze(ctx context.Context, ref agentid.Ref, reason string, records ...auditlog.Record) ([]Freeze, error) {
	var left []Freeze
	err := l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		res, err := tx.Exec(ctx, `DELETE FROM freezes WHERE ref = ? AND reason = ?`, ref.String(), reason)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, agentid.Errorf(agentid.KindNotFound, "freeze_unknown", "it is not frozen for this reason"))
		}
		left, err = freezes(ctx, tx.Query, ref)
		return err
	})
	return left, err
}

// Freezes are the reasons why ref is frozen; none when it is not.
func (l *Ledger) Freezes(ctx context.Context, ref agentid.Ref) ([]Freeze, error) {
	return freezes(ctx, l.reader(), ref)
}

func freezes(ctx context.Context, q query, ref agentid.Ref) ([]Freeze, error) {
	var out []Freeze
	err := rows(ctx, q, func(r *sql.Rows) error {
		var f Freeze
		var since int64
		err := r.Scan(&f.Reason, &f.Actor, &since)
		f.Since = fromMicros(since)
		out = append(out, f)
		return err
	}, `SELECT reason, actor, since FROM freezes WHERE ref = ? ORDER BY reason`, ref.String())
	return out, err
}
