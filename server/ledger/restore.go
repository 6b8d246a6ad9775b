package ledger

import (
	"context"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// ReasonRestored is why agents are frozen after a restore from an older backup: what was
// taken away since is not known any more.
const ReasonRestored = "restored"

const (
	metaMarked    = "marked"    // the ledger is run with a mark beside it
	metaRestoring = "restoring" // a restore is begun and not ended
)

// HadMark reports whether the ledger was run with a mark before.
func (l *Ledger) HadMark(ctx context.Context) (bool, error) {
	v, err := l.meta(ctx, metaMarked)
	return len(v) > 0, err
}

// SetMarked notes that there is a mark from now on.
func (l *Ledger) SetMarked(ctx context.Context) error {
	return l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		return setMeta(ctx, tx, metaMarked, []byte("1"))
	})
}

// BeginRestore starts a new incarnation and freezes every agent for ReasonRestored, in
// one transaction. Tokens from before are refused from its return on. The floor starts
// anew: the graph may be older than it. Until EndRestore the graph may say otherwise.
func (l *Ledger) BeginRestore(ctx context.Context, records ...auditlog.Record) error {
	err := l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		if err := newIncarnation(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO freezes (ref, reason, actor, since)
			SELECT 'agent:' || tenant || '/' || name, ?, 'broker', ? FROM agents WHERE state <> 2 ON CONFLICT DO NOTHING`,
			ReasonRestored, micros(l.now())); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM meta WHERE name = ?`, metaFloorZookie); err != nil {
			return err
		}
		return setMeta(ctx, tx, metaRestoring, []byte("1"))
	})
	if err == nil {
		l.notifyChanged()
	}
	return err
}

// Restoring reports whether a restore is begun and not ended.
func (l *Ledger) Restoring(ctx context.Context) (bool, error) {
	v, err := l.meta(ctx, metaRestoring)
	return len(v) > 0, err
}

// EndRestore ends a restore with the zookie at which no agent was enabled in the graph.
func (l *Ledger) EndRestore(ctx context.Context, zookie agentid.Zookie) error {
	err := l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		if err := l.raiseFloor(ctx, tx, 0, zookie); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM meta WHERE name = ?`, metaRestoring)
		return err
	})
	if err == nil {
		l.notifyChanged()
	}
	return err
}

// FrozenTenant are the refs of one tenant that are frozen, but for agents.
func (l *Ledger) FrozenTenant(ctx context.Context, tenant string) ([]agentid.Ref, error) {
	all, err := l.FreezesOf(ctx, tenant)
	if err != nil {
		return nil, err
	}
	var out []agentid.Ref
	for text := range all {
		ref, err := agentid.ParseRef(text)
		if err != nil {
			return nil, err
		}
		if ref.Type() != agentid.TypeAgent {
			out = append(out, ref)
		}
	}
	return out, nil
}
