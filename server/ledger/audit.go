package ledger

import (
	"context"

	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
	"github.com/agentid-dev/agentid/internal/wire"
)

var _ wire.Audit = (*Ledger)(nil)

// Append implements wire.Audit.
func (l *Ledger) Append(ctx context.Context, record auditlog.Record, d wire.Durability) error {
	return l.log.Append(ctx, d != wire.Relaxed, record)
}

// Audit is the log, to be queried and followed.
func (l *Ledger) Audit() *auditlog.Log { return l.log }

// appendIn appends records inside a transaction whose outcome decides what they say.
func (l *Ledger) appendIn(ctx context.Context, tx *sqlitedb.Tx, records ...auditlog.Record) error {
	entries, err := l.log.PrepareAll(records...)
	if err != nil {
		return err
	}
	_, err = l.log.Add(ctx, tx, entries...)
	return err
}
