package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// Assertion is a client assertion (RFC 7523), which may be used once. The zero Assertion is
// none, and is refused.
type Assertion struct {
	Client  agentid.Ref // who made it
	ID      string      // its jti
	Expires time.Time   // how long it is remembered
	// Holder is the thumbprint of the key that came with it, where that key may bring it
	// again: a workload's token is handed out by a platform that repeats itself. Another key
	// is refused.
	Holder string
	// Once: with a Holder, and used once all the same.
	Once bool
	// Reusable: nothing is remembered. An SVID and a certificate may be shown again by design.
	Reusable bool
}

func (a Assertion) check() error {
	if a.Client.IsZero() || !a.Reusable && (a.ID == "" || a.Expires.IsZero()) {
		return agentid.Invalidf("assertion", "want a client, an id and an expiry")
	}
	return nil
}

// UseAssertion consumes an assertion that authenticates something other than a token
// request: KindUnauthenticated assertion_replayed when it was used before.
func (l *Ledger) UseAssertion(ctx context.Context, a Assertion, records ...auditlog.Record) error {
	if err := a.check(); err != nil {
		return err
	}
	return l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error { return l.useAssertion(ctx, tx, a) })
}

// assertionMargin keeps an assertion beyond its expiry, for clocks that differ.
const assertionMargin = 5 * time.Minute

func (l *Ledger) useAssertion(ctx context.Context, tx *sqlitedb.Tx, a Assertion) error {
	if a.Reusable {
		return nil
	}
	hash := sha256.Sum256([]byte(a.ID))
	_, err := tx.Exec(ctx, `INSERT INTO assertions (client, hash, expires, holder, used) VALUES (?,?,?,?,?)`,
		a.Client.String(), hash[:], micros(a.Expires.Add(assertionMargin)), a.Holder, a.Once)
	if !sqlitedb.IsUnique(err) {
		return err
	}
	if a.Holder == "" {
		return replayed()
	}
	res, err := tx.Exec(ctx, `UPDATE assertions SET used = max(used, ?4) WHERE client = ?1 AND hash = ?2 AND holder = ?3 AND (used = 0 OR ?4 = 0)`,
		a.Client.String(), hash[:], a.Holder, a.Once)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, replayed())
	}
	return nil
}

func replayed() error {
	return agentid.Errorf(agentid.KindUnauthenticated, "assertion_replayed", "the client assertion was used before")
}
