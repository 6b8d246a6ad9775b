package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Revocation is something that is taken away: begun, and settled once the graph says so.
type Revocation struct {
	Epoch   agentid.Epoch
	Target  agentid.Ref
	Filter  *Selection  // what is meant of the target, a tenant; nil: the target itself
	Agent   agentid.Ref // whose token the target is; may be zero
	Reason  string
	Actor   string
	Expires time.Time // when the edge may go; zero: never
	Created time.Time
	Settled time.Time      // zero while it is open
	Zookie  agentid.Zookie // of the edge; empty while it is open
}

const revocationColumns = `epoch, target, agent, reason, actor, expires, created, settled, zookie, filter`

// BeginRevocation records the intent under the next epoch. Epochs only grow and are
// never given out twice. From its return on the intent survives a crash: until it is
// settled it is among OpenRevocations, to be replayed.
func (l *Ledger) BeginRevocation(ctx context.Context, r Revocation, records ...auditlog.Record) (Revocation, error) {
	return l.beginWith(ctx, r, records, nil)
}

// BeginFreeze is BeginRevocation and AddFreeze in one transaction: from its return on the
// target is frozen for the reason, whatever happens to the process.
func (l *Ledger) BeginFreeze(ctx context.Context, r Revocation, records ...auditlog.Record) (Revocation, error) {
	if r.Reason == "" {
		return Revocation{}, agentid.Invalidf("reason", "is required")
	}
	return l.beginWith(ctx, r, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		return l.addFreeze(ctx, tx, r.Target, r.Reason, r.Actor)
	})
}

// BeginRetire is BeginRevocation and RetireAgent in one transaction.
func (l *Ledger) BeginRetire(ctx context.Context, r Revocation, records ...auditlog.Record) (Revocation, error) {
	return l.beginWith(ctx, r, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		if err := l.retire(ctx, tx, r.Target); !errors.Is(err, errUnchanged) {
			return err
		}
		return nil
	})
}

// beginWith records an intent, and in the same transaction what also does.
func (l *Ledger) beginWith(ctx context.Context, r Revocation, records []auditlog.Record, also func(ctx context.Context, tx *sqlitedb.Tx) error) (Revocation, error) {
	if r.Target.IsZero() || len(r.Actor) > maxSubject {
		return Revocation{}, agentid.Invalidf("target", "want a target, and a short actor")
	}
	if len(r.Reason) > maxReason {
		return Revocation{}, agentid.Invalidf("reason", "is longer than %d bytes", maxReason)
	}
	r.Created, r.Settled, r.Zookie = l.now().UTC().Truncate(time.Microsecond), time.Time{}, ""
	filter, err := r.Filter.text(r.Created)
	if err != nil {
		return Revocation{}, err
	}
	err = l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		res, err := tx.Exec(ctx, `INSERT INTO revocations (target, tenant, agent, reason, actor, expires, created, settled, zookie, filter) VALUES (?,?,?,?,?,?,?,0,'',?)`,
			r.Target.String(), r.Target.Tenant(), r.Agent.String(), r.Reason, r.Actor, micros(r.Expires), micros(r.Created), filter)
		if err != nil {
			return err
		}
		epoch, err := res.LastInsertId()
		if err != nil {
			return err
		}
		r.Epoch = agentid.Epoch(epoch)
		if also != nil {
			return also(ctx, tx)
		}
		if r.Target.Type() != agentid.TypeToken {
			return nil
		}
		_, err = tx.Exec(ctx, `UPDATE tokens SET revoked = ? WHERE tenant = ? AND jti = ? AND revoked = 0`,
			micros(r.Created), r.Target.Tenant(), r.Target.Name())
		return err
	})
	if err != nil {
		return Revocation{}, err
	}
	return r, nil
}

// SettleRevocation ends an intent with the zookie at which the graph was seen to say
// it, and raises the floor. It may be repeated. KindNotFound revocation_unknown.
func (l *Ledger) SettleRevocation(ctx context.Context, epoch agentid.Epoch, zookie agentid.Zookie, records ...auditlog.Record) error {
	return l.SettleRevocations(ctx, []agentid.Epoch{epoch}, zookie, records...)
}

// SettleRevocations is SettleRevocation for several intents that one write fulfilled, in
// one transaction.
func (l *Ledger) SettleRevocations(ctx context.Context, epochs []agentid.Epoch, zookie agentid.Zookie, records ...auditlog.Record) error {
	if zookie == "" {
		return agentid.Invalidf("zookie", "must not be empty")
	}
	err := l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		highest := agentid.Epoch(0)
		for _, epoch := range epochs {
			settled, err := l.settleOne(ctx, tx, epoch, zookie)
			if err != nil {
				return err
			}
			if settled {
				highest = max(highest, epoch)
			}
		}
		if highest == 0 {
			return errUnchanged
		}
		tx.OnCommit(l.notifyChanged)
		return l.raiseFloor(ctx, tx, highest, zookie)
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// settleOne says whether the intent was open.
func (l *Ledger) settleOne(ctx context.Context, tx *sqlitedb.Tx, epoch agentid.Epoch, zookie agentid.Zookie) (bool, error) {
	var settled int64
	found, err := one(ctx, tx.Query, []any{&settled}, `SELECT settled FROM revocations WHERE epoch = ?`, epoch)
	switch {
	case err != nil:
		return false, err
	case !found:
		return false, agentid.Errorf(agentid.KindNotFound, "revocation_unknown", "there is no such revocation")
	case settled != 0:
		return false, nil
	}
	_, err = tx.Exec(ctx, `UPDATE revocations SET settled = ?, zookie = ? WHERE epoch = ?`, micros(l.now()), string(zookie), epoch)
	return true, err
}

// raiseFloor keeps the later zookie and the higher epoch, each for itself: revocations
// settle in any order.
func (l *Ledger) raiseFloor(ctx context.Context, tx *sqlitedb.Tx, epoch agentid.Epoch, zookie agentid.Zookie) error {
	old, err := getMeta(ctx, tx.Query, metaFloorZookie)
	if err != nil {
		return err
	}
	newer := len(old) == 0
	if !newer {
		if newer, err = l.cfg.Newer(zookie, agentid.Zookie(old)); err != nil {
			return err
		}
	}
	if newer {
		if err := setMeta(ctx, tx, metaFloorZookie, []byte(zookie)); err != nil {
			return err
		}
	}
	high, err := getMetaInt(ctx, tx.Query, metaFloorEpoch)
	if err != nil || high >= int64(epoch) {
		return err
	}
	return setMetaInt(ctx, tx, metaFloorEpoch, int64(epoch))
}

// OpenRevocations are the intents that are not settled, oldest first.
func (l *Ledger) OpenRevocations(ctx context.Context) ([]Revocation, error) {
	return l.readRevocations(ctx, `SELECT `+revocationColumns+` FROM revocations WHERE settled = 0 ORDER BY epoch`)
}

// RevocationOpen reports whether an intent is begun and not settled.
func (l *Ledger) RevocationOpen(ctx context.Context, epoch agentid.Epoch) (bool, error) {
	return exists(ctx, l.reader(), `SELECT 1 FROM revocations WHERE epoch = ? AND settled = 0`, epoch)
}

// Revocations lists a tenant's revocations after an epoch, oldest first. Limit is at
// most 1000, default 100.
func (l *Ledger) Revocations(ctx context.Context, tenant string, after agentid.Epoch, limit int) ([]Revocation, error) {
	n, err := Page{Limit: limit}.limit()
	if err != nil {
		return nil, err
	}
	return l.readRevocations(ctx, `SELECT `+revocationColumns+` FROM revocations WHERE tenant = ? AND epoch > ? ORDER BY epoch LIMIT ?`, tenant, after, n)
}

// Floor is what no decision may be older than: the latest zookie and highest epoch of
// the settled revocations, empty and 0 before the first; and the incarnation.
func (l *Ledger) Floor(ctx context.Context) (agentid.Zookie, agentid.Epoch, string, error) {
	var zookie, incarnation []byte
	var epoch int64
	_, err := one(ctx, l.reader(), []any{&zookie, &epoch, &incarnation}, `SELECT
		coalesce((SELECT value FROM meta WHERE name = '`+metaFloorZookie+`'), x''),
		CAST(coalesce((SELECT value FROM meta WHERE name = '`+metaFloorEpoch+`'), x'30') AS INTEGER),
		(SELECT value FROM meta WHERE name = '`+metaIncarnation+`')`)
	return agentid.Zookie(zookie), agentid.Epoch(epoch), string(incarnation), err
}

// Newer says whether zookie a is of a later revision than b.
func (l *Ledger) Newer(a, b agentid.Zookie) (bool, error) { return l.cfg.Newer(a, b) }

// State is what gateways begin with: the last epoch, the floor, the incarnation, and what
// is denied: every open intent on one target, and every token whose revoked edge has not run out.
func (l *Ledger) State(ctx context.Context) (wire.State, error) {
	floor, _, incarnation, err := l.Floor(ctx)
	if err != nil {
		return wire.State{}, err
	}
	out := wire.State{Floor: floor, Incarnation: incarnation}
	if out.Epoch, err = l.Epoch(ctx); err != nil {
		return out, err
	}
	err = rows(ctx, l.reader(), func(row *sql.Rows) error {
		var d wire.Denial
		var target string
		var expires int64
		if err := row.Scan(&d.Epoch, &target, &expires); err != nil {
			return readError(err)
		}
		d.Until = fromMicros(expires)
		err := parseRefs([]string{target}, &d.Target)
		out.Denials = append(out.Denials, d)
		return err
	}, `SELECT epoch, target, expires FROM revocations WHERE (settled = 0 AND filter = '') OR (expires > ? AND target >= 'token:' AND target < 'token;') ORDER BY epoch`, micros(l.now()))
	return out, err
}

// Epoch is the last epoch that was given out, 0 before the first.
func (l *Ledger) Epoch(ctx context.Context) (agentid.Epoch, error) {
	var epoch agentid.Epoch
	_, err := one(ctx, l.reader(), []any{&epoch}, `SELECT seq FROM sqlite_sequence WHERE name = 'revocations'`)
	return epoch, err
}

func (l *Ledger) readRevocations(ctx context.Context, text string, args ...any) ([]Revocation, error) {
	var out []Revocation
	err := rows(ctx, l.reader(), func(row *sql.Rows) error {
		var r Revocation
		var target, agent, filter string
		var expires, created, settled int64
		if err := row.Scan(&r.Epoch, &target, &agent, &r.Reason, &r.Actor, &expires, &created, &settled, &r.Zookie, &filter); err != nil {
			return readError(err)
		}
		if filter != "" {
			if err := json.Unmarshal([]byte(filter), &r.Filter); err != nil {
				return fmt.Errorf("revocation %d: %w", r.Epoch, err)
			}
		}
		r.Expires, r.Created, r.Settled = fromMicros(expires), fromMicros(created), fromMicros(settled)
		err := parseRefs([]string{target, agent}, &r.Target, &r.Agent)
		out = append(out, r)
		return err
	}, text, args...)
	return out, err
}
