package ledger

import (
	"context"
	"errors"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// AddClientSecret makes a secret with which a connector's service authenticates at
// introspection. Its client id is the connector's ref. A client may have several, so
// that one can be exchanged without a gap. KindNotFound connector_unknown.
func (l *Ledger) AddClientSecret(ctx context.Context, connector agentid.Ref, records ...auditlog.Record) (SecretInfo, agentid.Secret, error) {
	if err := checkRef("connector", connector, agentid.TypeConnector); err != nil {
		return SecretInfo{}, agentid.Secret{}, err
	}
	var info SecretInfo
	var secret agentid.Secret
	err := l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		ok, err := exists(ctx, tx.Query, connectors.table.exists, connector.Tenant(), connector.Name())
		if err != nil || !ok {
			return errors.Join(err, ifNot(ok, connectors.unknown()))
		}
		info, secret, err = l.addSecret(ctx, tx, classClient, connector.String())
		return err
	})
	if err != nil {
		return SecretInfo{}, agentid.Secret{}, err
	}
	return info, secret, nil
}

// AuthenticateClient checks a service client's secret: KindUnauthenticated
// client_secret_invalid for any that is not a current one of this client.
func (l *Ledger) AuthenticateClient(ctx context.Context, connector agentid.Ref, secret agentid.Secret) error {
	info, ok, err := l.checkSecret(ctx, classClient, secret)
	if err != nil {
		return err
	}
	if !ok || connector.IsZero() || info.Subject != connector.String() {
		return agentid.Errorf(agentid.KindUnauthenticated, "client_secret_invalid", "the client's secret is not valid")
	}
	return nil
}

// ClientSecrets lists the secrets of a service client.
func (l *Ledger) ClientSecrets(ctx context.Context, connector agentid.Ref) ([]SecretInfo, error) {
	if err := checkRef("connector", connector, agentid.TypeConnector); err != nil {
		return nil, err
	}
	return l.listSecrets(ctx, l.reader(), classClient, connector.String())
}

// DeleteClientSecret takes one secret away: KindNotFound client_secret_unknown.
func (l *Ledger) DeleteClientSecret(ctx context.Context, connector agentid.Ref, id string, records ...auditlog.Record) error {
	return l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		res, err := tx.Exec(ctx, `DELETE FROM secrets WHERE id = ? AND class = ? AND subject = ?`, id, classClient, connector.String())
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, agentid.Errorf(agentid.KindNotFound, "client_secret_unknown", "the client has no such secret"))
		}
		return nil
	})
}
