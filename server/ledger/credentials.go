package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// CredentialInfo is what may be shown of an upstream credential.
type CredentialInfo struct {
	Connector agentid.Ref
	Set       bool
	Version   int64 // grows with every PutCredential
	Updated   time.Time
}

const maxCredential = 64 << 10

// PutCredential seals the credential that a connector uses upstream, in place of the
// one that was there. KindNotFound connector_unknown.
func (l *Ledger) PutCredential(ctx context.Context, connector agentid.Ref, credential agentid.Secret, records ...auditlog.Record) error {
	if err := checkRef("connector", connector, agentid.TypeConnector); err != nil {
		return err
	}
	if n := len(credential.Reveal()); n == 0 || n > maxCredential {
		return agentid.Invalidf("credential", "want 1 to %d bytes", maxCredential)
	}
	sealed, err := l.cfg.SealKey.Seal([]byte(credential.Reveal()), "credential", connector.Tenant(), connector.Name())
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		if ok, err := exists(ctx, tx.Query, connectors.table.exists, connector.Tenant(), connector.Name()); err != nil || !ok {
			return errors.Join(err, ifNot(ok, connectors.unknown()))
		}
		_, err := tx.Exec(ctx, `INSERT INTO credentials (tenant, name, sealed, version, updated) VALUES (?,?,?,1,?)
			ON CONFLICT (tenant, name) DO UPDATE SET sealed = excluded.sealed, version = version + 1, updated = excluded.updated`,
			connector.Tenant(), connector.Name(), sealed, micros(l.now()))
		if err != nil {
			return err
		}
		return l.changeOf(connector)(ctx, tx)
	})
}

// DeleteCredential takes a connector's credential away: KindNotFound credential_unknown.
func (l *Ledger) DeleteCredential(ctx context.Context, connector agentid.Ref, records ...auditlog.Record) error {
	return l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		res, err := tx.Exec(ctx, `DELETE FROM credentials WHERE tenant = ? AND name = ?`, connector.Tenant(), connector.Name())
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, agentid.Errorf(agentid.KindNotFound, "credential_unknown", "the connector has no credential"))
		}
		return l.changeOf(connector)(ctx, tx)
	})
}

// Credential tells whether a connector has a credential, and since when.
func (l *Ledger) Credential(ctx context.Context, connector agentid.Ref) (CredentialInfo, error) {
	info := CredentialInfo{Connector: connector}
	var updated int64
	var err error
	info.Set, err = one(ctx, l.reader(), []any{&info.Version, &updated},
		`SELECT version, updated FROM credentials WHERE tenant = ? AND name = ?`, connector.Tenant(), connector.Name())
	info.Updated = fromMicros(updated)
	return info, err
}

func (l *Ledger) openCredential(tenant, name string, sealed []byte) (agentid.Secret, error) {
	if len(sealed) == 0 {
		return agentid.Secret{}, nil
	}
	plain, err := l.cfg.SealKey.Open(sealed, "credential", tenant, name)
	if err != nil {
		return agentid.Secret{}, fmt.Errorf("credential of connector %s/%s: %w", tenant, name, err)
	}
	return agentid.NewSecret(string(plain)), nil
}

// ifNot is err unless ok.
func ifNot(ok bool, err error) error {
	if ok {
		return nil
	}
	return err
}
