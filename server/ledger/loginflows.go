package ledger

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// FlowKind says what a flow is. The zero FlowKind is refused.
type FlowKind int

// The kinds of flows.
const (
	FlowRequest    FlowKind = iota + 1 // a person is on the way to an identity provider
	FlowCode                           // an authorization code (RFC 6749 section 4.1.2)
	FlowDeviceCode                     // a device code with its user code (RFC 8628)
)

// errFlow is for a flow that is not there, has expired, or is another tenant's.
var errFlow = agentid.Errorf(agentid.KindNotFound, "flow_unknown", "there is no such sign-in under way, or it has expired")

// NewHandle makes a secret of 256 bits that a flow or a token is known by.
func NewHandle(prefix string) (agentid.Secret, error) {
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil {
		return agentid.Secret{}, fmt.Errorf("ledger: %w", err)
	}
	return agentid.NewSecret(prefix + base64.RawURLEncoding.EncodeToString(b[:])), nil
}

func handleHash(handle string) []byte {
	sum := sha256.Sum256([]byte(handle))
	return sum[:]
}

// PutFlow keeps spec, sealed, under a handle until it expires. alias, where it is not
// empty, finds it too; KindConflict flow_exists when another one has it.
func (l *Ledger) PutFlow(ctx context.Context, kind FlowKind, tenant string, handle agentid.Secret, alias string, expires time.Time, spec any) error {
	if kind == 0 || tenant == "" || handle.IsZero() || expires.IsZero() {
		return errors.New("ledger: a flow needs a kind, a tenant, a handle and an expiry")
	}
	hash := handleHash(handle.Reveal())
	sealed, err := l.sealFlow(hash, spec)
	if err != nil {
		return err
	}
	var other any
	if alias != "" {
		other = handleHash(tenant + " " + alias)
	}
	return l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO login_flows (hash, kind, tenant, alias, sealed, session, spent, expires) VALUES (?,?,?,?,?,'',0,?)`,
			hash, kind, tenant, other, sealed, micros(expires))
		if sqlitedb.IsUnique(err) {
			return agentid.Errorf(agentid.KindConflict, "flow_exists", "another sign-in has this code")
		}
		return err
	})
}

func (l *Ledger) sealFlow(hash []byte, spec any) ([]byte, error) {
	plain, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("ledger: encode a flow: %w", err)
	}
	sealed, err := l.cfg.SealKey.Seal(plain, "login_flow", hex.EncodeToString(hash))
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return sealed, nil
}

// flowRow is one row of login_flows.
type flowRow struct {
	hash, sealed []byte
	session      string
	spent        int64
}

// findFlow reads a flow that has not expired; errFlow otherwise.
func (l *Ledger) findFlow(ctx context.Context, q query, kind FlowKind, tenant, column string, hash []byte) (flowRow, error) {
	var f flowRow
	found, err := one(ctx, q, []any{&f.hash, &f.sealed, &f.session, &f.spent},
		`SELECT hash, sealed, session, spent FROM login_flows WHERE `+column+` = ? AND kind = ? AND tenant = ? AND expires > ?`,
		hash, kind, tenant, micros(l.now()))
	if err == nil && !found {
		err = errFlow
	}
	return f, err
}

func (l *Ledger) openFlow(f flowRow, into any) error {
	plain, err := l.cfg.SealKey.Open(f.sealed, "login_flow", hex.EncodeToString(f.hash))
	if err != nil {
		return fmt.Errorf("ledger: open a flow: %w", err)
	}
	if err := json.Unmarshal(plain, into); err != nil {
		return fmt.Errorf("ledger: decode a flow: %w", err)
	}
	return nil
}

// TakeFlow reads a flow and forgets it, so that it is used once. KindNotFound
// flow_unknown.
func (l *Ledger) TakeFlow(ctx context.Context, kind FlowKind, tenant string, handle agentid.Secret, into any) error {
	var f flowRow
	err := l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		var err error
		if f, err = l.findFlow(ctx, tx.Query, kind, tenant, "hash", handleHash(handle.Reveal())); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM login_flows WHERE hash = ?`, f.hash)
		return err
	})
	if err != nil {
		return err
	}
	return l.openFlow(f, into)
}

// PeekFlow reads a flow and leaves it. KindNotFound flow_unknown.
func (l *Ledger) PeekFlow(ctx context.Context, kind FlowKind, tenant string, handle agentid.Secret, into any) error {
	f, err := l.findFlow(ctx, l.reader(), kind, tenant, "hash", handleHash(handle.Reveal()))
	if err != nil {
		return err
	}
	return l.openFlow(f, into)
}

// PeekFlowAlias is PeekFlow by the alias.
func (l *Ledger) PeekFlowAlias(ctx context.Context, kind FlowKind, tenant, alias string, into any) error {
	f, err := l.findFlow(ctx, l.reader(), kind, tenant, "alias", handleHash(tenant+" "+alias))
	if err != nil {
		return err
	}
	return l.openFlow(f, into)
}

// ChangeFlow changes a flow's content, by its alias or, without one, by its handle. change
// gets the content decoded into spec, and changes that; its error changes nothing.
func (l *Ledger) ChangeFlow(ctx context.Context, kind FlowKind, tenant string, handle agentid.Secret, alias string, spec any, change func() error) error {
	column, hash := "hash", handleHash(handle.Reveal())
	if alias != "" {
		column, hash = "alias", handleHash(tenant+" "+alias)
	}
	return l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		f, err := l.findFlow(ctx, tx.Query, kind, tenant, column, hash)
		if err != nil {
			return err
		}
		if f.spent != 0 {
			return errFlow
		}
		if err := l.openFlow(f, spec); err != nil {
			return err
		}
		if err := change(); err != nil {
			return err
		}
		sealed, err := l.sealFlow(f.hash, spec)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE login_flows SET sealed = ? WHERE hash = ?`, sealed, f.hash)
		return err
	})
}

// isUnchanged reports a transaction that had nothing to do.
func isUnchanged(err error) bool { return errors.Is(err, errUnchanged) }
