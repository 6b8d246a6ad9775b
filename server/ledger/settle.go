package ledger

import (
	"context"
	"errors"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Settle implements wire.Effects. It goes on when the caller's context ends: the client
// may be gone, the effect is not. An outcome that was unknown, or was swept, may still
// become Done or Released; then the finish is written again with what is known now.
func (l *Ledger) Settle(ctx context.Context, s wire.Settlement) error {
	if s.Outcome < wire.Done || s.Outcome > wire.Unknown {
		return agentid.Invalidf("outcome", "want done, released or unknown")
	}
	ctx = context.WithoutCancel(ctx)
	flight, known := l.holds.flight(s.ID)
	request := flight.request
	if !known {
		e, err := findReservation(ctx, l.reader(), s.ID) // its request never changes
		if err != nil {
			return err
		}
		request = e.request
	}
	if s.Record.Request == "" {
		s.Record.Request = request
	}
	if s.Record.Phase != auditlog.Finish || s.Record.Request != request {
		return agentid.Errorf(agentid.KindInternal, "audit_record_invalid", "want the finish of the request that was reserved")
	}
	err := l.write(ctx, []auditlog.Record{s.Record}, func(ctx context.Context, tx *sqlitedb.Tx) error {
		if known && flight.owner && s.Outcome == wire.Done {
			if plain, err := l.finishFlight(ctx, tx, s.ID, flight); err != nil || plain {
				return err
			}
		}
		e, err := findReservation(ctx, tx.Query, s.ID)
		if err != nil {
			return err
		}
		if e.of != 0 {
			return l.settleRetry(ctx, tx, e, s.Outcome)
		}
		return l.settleOwner(ctx, tx, e, s.Outcome)
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// finishFlight settles as done what stands as it was reserved, which is what nearly every
// effect comes to: its row is not read back. It reports false, and has changed nothing, when
// something happened to it meanwhile. A flight is known by its whole id, nonce and all.
func (l *Ledger) finishFlight(ctx context.Context, tx *sqlitedb.Tx, id string, f flight) (bool, error) {
	res, err := tx.Exec(ctx, `UPDATE effects SET state = ?, stands = 0, open = 0, due = NULL
		WHERE seq = ? AND of = 0 AND state = ? AND attempt = 0 AND open = 1`, int64(done), f.seq, int64(inFlight))
	if err != nil {
		return false, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return false, err
	}
	tx.OnCommit(func() { l.holds.resolved(id, f.holdKey) })
	return true, nil
}

// settleOwner settles the attempt that took the use and the hold.
func (l *Ledger) settleOwner(ctx context.Context, tx *sqlitedb.Tx, e effect, outcome wire.Outcome) error {
	final := e.state == done || e.state == released
	switch {
	case !e.open && (final || outcome == wire.Unknown):
		return errUnchanged // said already
	case final, outcome == wire.Unknown && e.attempt != 0,
		outcome == wire.Released && e.attempt != 0: // a retry of it is under way and may have the effect
		return l.closeRow(ctx, tx, e)
	case outcome == wire.Done:
		return l.finish(ctx, tx, e, done)
	case outcome == wire.Unknown:
		return l.leaveUnknown(ctx, tx, e)
	}
	if err := freeKey(ctx, tx, e.seq); err != nil {
		return err
	}
	if err := giveBack(ctx, tx, e.uses); err != nil {
		return err
	}
	return l.finish(ctx, tx, e, released)
}

// settleRetry settles a later attempt. It can show that the effect was had, but not
// that the first attempt had none.
func (l *Ledger) settleRetry(ctx context.Context, tx *sqlitedb.Tx, e effect, outcome wire.Outcome) error {
	if !e.open {
		return errUnchanged
	}
	if err := l.closeRow(ctx, tx, e); err != nil {
		return err
	}
	owner, found, err := readEffect(ctx, tx.Query, `SELECT `+effectColumns+` FROM effects WHERE seq = ?`, e.of)
	if err != nil || !found || owner.state == done || owner.state == released {
		return err
	}
	if outcome == wire.Done {
		return l.confirm(ctx, tx, owner)
	}
	if owner.attempt == e.seq {
		_, err = tx.Exec(ctx, `UPDATE effects SET state = ?, attempt = 0 WHERE seq = ?`, unknown, owner.seq)
	}
	return err
}

// finish resolves an effect and its hold.
func (l *Ledger) finish(ctx context.Context, tx *sqlitedb.Tx, e effect, state effectState) error {
	_, err := tx.Exec(ctx, `UPDATE effects SET state = ?, stands = 0, open = 0, attempt = 0, due = NULL WHERE seq = ?`, state, e.seq)
	tx.OnCommit(func() { l.holds.resolved(e.id(), e.holdKey) })
	return err
}

// confirm resolves an effect that a retry showed to be had. If nobody closed the first
// attempt's audit entry, which a crash left open, it stays due for that.
func (l *Ledger) confirm(ctx context.Context, tx *sqlitedb.Tx, owner effect) error {
	_, err := tx.Exec(ctx, `UPDATE effects SET state = ?, stands = 0, attempt = 0, due = CASE WHEN open = 1 THEN due END WHERE seq = ?`, done, owner.seq)
	tx.OnCommit(func() { l.holds.resolved(owner.id(), owner.holdKey) })
	return err
}

// leaveUnknown ends an owner's attempt; the hold stands until it is due.
func (l *Ledger) leaveUnknown(ctx context.Context, tx *sqlitedb.Tx, e effect) error {
	_, err := tx.Exec(ctx, `UPDATE effects SET state = ?, open = 0 WHERE seq = ?`, unknown, e.seq)
	tx.OnCommit(func() { l.holds.ended(e.id()) })
	return err
}

// closeRow notes that the attempt's audit finish is written, and changes no more.
func (l *Ledger) closeRow(ctx context.Context, tx *sqlitedb.Tx, e effect) error {
	_, err := tx.Exec(ctx, `UPDATE effects SET open = 0, due = CASE WHEN of = 0 AND stands = 1 THEN due END WHERE seq = ?`, e.seq)
	tx.OnCommit(func() { l.holds.ended(e.id()) })
	return err
}
