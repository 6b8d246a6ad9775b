package ledger

import (
	"context"
	"database/sql"
	"time"

	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

const (
	sweepBatch = 100
	purgeBatch = 500
	purgeEvery = time.Minute
	// tokenMargin keeps a token in the index beyond its expiry, for clocks that differ.
	tokenMargin = 10 * time.Minute
	// usesKept is how long a count is kept after its first use: longer than any token lives.
	usesKept = 25 * time.Hour
)

// recoverEffects makes what was in flight at a crash unknown: its hold stands and its
// audit entry is open until it is due. It reads what is unresolved only.
func (l *Ledger) recoverEffects(ctx context.Context) error {
	return l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE effects SET state = ?, attempt = 0 WHERE due IS NOT NULL AND state = ? AND of = 0`, unknown, inFlight)
		return err
	})
}

func (l *Ledger) sweepLoop(ctx context.Context) {
	defer close(l.stopped)
	if l.cfg.SweepEvery < 0 {
		return
	}
	ticker := time.NewTicker(l.cfg.SweepEvery)
	defer ticker.Stop()
	var purged time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if _, err := l.Sweep(ctx); err != nil && ctx.Err() == nil {
			l.cfg.Logger.ErrorContext(ctx, "effects that are due could not be resolved; they are tried again", "error", err)
		}
		if now := l.now(); now.Sub(purged) >= purgeEvery || now.Before(purged) {
			purged = now
			if _, err := l.Purge(ctx); err != nil && ctx.Err() == nil {
				l.cfg.Logger.ErrorContext(ctx, "expired rows could not be purged; they are tried again", "error", err)
			}
		}
	}
}

// Sweep resolves every effect that is due and was not settled: its hold goes, and an
// audit entry that is still open gets its finish, "outcome_unknown". It returns how
// many there were.
func (l *Ledger) Sweep(ctx context.Context) (int, error) {
	if err := l.keepDeadlines(ctx); err != nil {
		return 0, err
	}
	total := 0
	for {
		due, err := l.due(ctx)
		if err != nil || len(due) == 0 {
			return total, err
		}
		err = l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
			for _, seq := range due {
				if err := l.sweepOne(ctx, tx, seq); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return total, err
		}
		total += len(due)
	}
}

func (l *Ledger) due(ctx context.Context) ([]int64, error) {
	var out []int64
	err := rows(ctx, l.reader(), func(r *sql.Rows) error {
		var seq int64
		err := r.Scan(&seq)
		out = append(out, seq)
		return err
	}, `SELECT seq FROM effects WHERE due <= ? ORDER BY due LIMIT ?`, micros(l.now()), sweepBatch)
	return out, err
}

func (l *Ledger) sweepOne(ctx context.Context, tx *sqlitedb.Tx, seq int64) error {
	e, found, err := readEffect(ctx, tx.Query, `SELECT `+effectColumns+` FROM effects WHERE seq = ?`, seq)
	if err != nil || !found || !e.due.Valid || e.due.Int64 > micros(l.now()) {
		return err // settled in between
	}
	if e.open {
		if err := l.finishUnknown(ctx, tx, e.begin); err != nil {
			return err
		}
	}
	state := e.state
	if state == inFlight || state == unknown {
		state = expired
	}
	return l.finish(ctx, tx, e, state)
}

// finishUnknown closes the audit entry that was begun at a position of the log.
func (l *Ledger) finishUnknown(ctx context.Context, tx *sqlitedb.Tx, begin int64) error {
	var encoded []byte
	if err := tx.QueryRow(ctx, `SELECT record FROM audit WHERE seq = ?`, begin).Scan(&encoded); err != nil {
		return err
	}
	r, err := auditlog.Decode(encoded)
	if err != nil {
		return err
	}
	entry, err := auditlog.FinishUnknown(r, l.now())
	if err != nil {
		return err
	}
	_, err = l.log.Add(ctx, tx, entry)
	return err
}

// Purge deletes rows that no longer mean anything, in small transactions, and returns
// how many: expired tokens, assertions and enrolments, counts and idempotency keys past their time,
// and signing keys that are no longer published. The audit log is never purged.
func (l *Ledger) Purge(ctx context.Context) (int64, error) {
	now := l.now()
	var total int64
	for _, p := range []struct {
		text   string
		before time.Time
	}{
		{`DELETE FROM tokens WHERE (tenant, jti) IN (SELECT tenant, jti FROM tokens WHERE expires < ? LIMIT ?)`, now.Add(-tokenMargin)},
		{`DELETE FROM assertions WHERE (client, hash) IN (SELECT client, hash FROM assertions WHERE expires < ? LIMIT ?)`, now},
		{`DELETE FROM enrolments WHERE (tenant, name) IN (SELECT tenant, name FROM enrolments WHERE expires < ? LIMIT ?)`, now.Add(-tokenMargin)},
		{`DELETE FROM uses WHERE (token, capability) IN (SELECT token, capability FROM uses WHERE since < ? LIMIT ?)`, now.Add(-usesKept)},
		// Rows are in the order of their times, so only the oldest are looked at.
		{`DELETE FROM effects WHERE due IS NULL AND seq IN (SELECT seq FROM effects ORDER BY seq LIMIT ?2) AND created < ?1`, now.Add(-ForgetAfter)},
		{`DELETE FROM login_flows WHERE hash IN (SELECT hash FROM login_flows WHERE expires < ? LIMIT ?)`, now},
		{`DELETE FROM login_tokens WHERE hash IN (SELECT hash FROM login_tokens WHERE expires < ? LIMIT ?)`, now},
		{`DELETE FROM login_sessions WHERE id IN (SELECT id FROM login_sessions WHERE expires < ? LIMIT ?)`, now},
		{`DELETE FROM signing_keys WHERE state = 3 AND published_until < ? AND ? > 0`, now.Add(-tokenMargin)},
	} {
		for {
			n, err := l.purge(ctx, p.text, micros(p.before))
			total += n
			if err != nil {
				return total, err
			}
			if n < purgeBatch {
				break
			}
		}
	}
	return total, nil
}

func (l *Ledger) purge(ctx context.Context, text string, before int64) (n int64, err error) {
	err = l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		res, err := tx.Exec(ctx, text, before, purgeBatch)
		if err == nil {
			n, err = res.RowsAffected()
		}
		return err
	})
	return n, err
}
