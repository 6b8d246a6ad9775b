package ledger

import (
	"context"
	"errors"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// BootstrapAdmin makes the first administrator's credential. It is returned once and
// cannot be read again. KindConflict already_bootstrapped when there is any.
func (l *Ledger) BootstrapAdmin(ctx context.Context, name string, records ...auditlog.Record) (SecretInfo, agentid.Secret, error) {
	return l.addAdmin(ctx, name, true, records)
}

// AddAdmin makes a credential for a further administrator, or a second one for a known
// name, so that a credential can be exchanged without a gap.
func (l *Ledger) AddAdmin(ctx context.Context, name string, records ...auditlog.Record) (SecretInfo, agentid.Secret, error) {
	return l.addAdmin(ctx, name, false, records)
}

func (l *Ledger) addAdmin(ctx context.Context, name string, first bool, records []auditlog.Record) (SecretInfo, agentid.Secret, error) {
	if name == "" || len(name) > maxReason {
		return SecretInfo{}, agentid.Secret{}, agentid.Invalidf("name", "want 1 to %d bytes", maxReason)
	}
	var info SecretInfo
	var secret agentid.Secret
	err := l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		if first {
			if some, err := exists(ctx, tx.Query, `SELECT 1 FROM secrets WHERE class = ? LIMIT 1`, classAdmin); err != nil {
				return err
			} else if some {
				return agentid.Errorf(agentid.KindConflict, "already_bootstrapped", "there is an administrator already")
			}
		}
		var err error
		info, secret, err = l.addSecret(ctx, tx, classAdmin, name)
		return err
	})
	if err != nil {
		return SecretInfo{}, agentid.Secret{}, err
	}
	return info, secret, nil
}

// AuthenticateAdmin finds who a credential belongs to: KindUnauthenticated
// admin_credential_invalid for any that is not current.
func (l *Ledger) AuthenticateAdmin(ctx context.Context, credential agentid.Secret) (SecretInfo, error) {
	info, ok, err := l.checkSecret(ctx, classAdmin, credential)
	if err == nil && !ok {
		err = agentid.Errorf(agentid.KindUnauthenticated, "admin_credential_invalid", "the administrator's credential is not valid")
	}
	if err != nil {
		return SecretInfo{}, err
	}
	return info, nil
}

// Admins lists the credentials of administrators.
func (l *Ledger) Admins(ctx context.Context) ([]SecretInfo, error) {
	return l.listSecrets(ctx, l.reader(), classAdmin, "")
}

// RotateAdmin exchanges the credential with this id for a new one, in one step.
// KindNotFound admin_unknown.
func (l *Ledger) RotateAdmin(ctx context.Context, id string, records ...auditlog.Record) (SecretInfo, agentid.Secret, error) {
	var info SecretInfo
	var secret agentid.Secret
	err := l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		var name string
		found, err := one(ctx, tx.Query, []any{&name}, `SELECT subject FROM secrets WHERE id = ? AND class = ?`, id, classAdmin)
		if err != nil || !found {
			return errors.Join(err, ifNot(found, errAdminUnknown))
		}
		if _, err := tx.Exec(ctx, `DELETE FROM secrets WHERE id = ?`, id); err != nil {
			return err
		}
		info, secret, err = l.addSecret(ctx, tx, classAdmin, name)
		return err
	})
	if err != nil {
		return SecretInfo{}, agentid.Secret{}, err
	}
	return info, secret, nil
}

// DeleteAdmin takes a credential away. The last one stays: KindConflict last_admin.
func (l *Ledger) DeleteAdmin(ctx context.Context, id string, records ...auditlog.Record) error {
	return l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error {
		all, err := l.listSecrets(ctx, tx.Query, classAdmin, "")
		if err != nil {
			return err
		}
		for _, a := range all {
			if a.ID != id {
				continue
			}
			if len(all) == 1 {
				return agentid.Errorf(agentid.KindConflict, "last_admin", "the last administrator cannot be deleted")
			}
			_, err := tx.Exec(ctx, `DELETE FROM secrets WHERE id = ?`, id)
			return err
		}
		return errAdminUnknown
	})
}

var errAdminUnknown = agentid.Errorf(agentid.KindNotFound, "admin_unknown", "there is no such credential")
