package ledger

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// Assertion is a client assertion (RFC 7523), which may be used once.
type Assertion struct {
	Client  agentid.Ref
	ID      string    // its jti
	Expires time.Time // how long it is remembered
}

func (a Assertion) check() error {
	if a.Client.IsZero() || a.ID == "" || a.Expires.IsZero() {
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
	hash := sha256.Sum256([]byte(a.ID))
	_, err := tx.Exec(ctx, `INSERT INTO assertions (client, hash, expires) VALUES (?,?,?)`,
		a.Client.String(), hash[:], micros(a.Expires.Add(assertionMargin)))
	if sqlitedb.IsUnique(err) {
		return agentid.Errorf(agentid.KindUnauthenticated, "assertion_replayed", "the client assertion was used before")
	}
	return err
}
