package ledger

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// How long the tokens of people live. A session ends with its last refresh token.
const (
	LoginTokenLife   = 10 * time.Minute
	RefreshTokenLife = 24 * time.Hour
	SessionLife      = 30 * 24 * time.Hour
)

// Prefixes of the tokens that people are given.
const (
	LoginTokenPrefix   = "agentid_login_" //nolint:gosec // a prefix
	refreshTokenPrefix = "agentid_refresh_"
)

// The kinds of login_tokens.
const (
	loginAccess  = 1
	loginRefresh = 2
)

// LoginSession is one sign-in of a person, with every token that followed from it.
type LoginSession struct {
	ID        string
	Tenant    string
	Principal agentid.Ref
	Client    string // client_id of the program
	Provider  string // name of the identity provider
	Created   time.Time
	Expires   time.Time
	// Upstream is the identity provider's refresh token, where it gave one. It rests sealed.
	Upstream agentid.Secret
}

// LoginTokens are the two tokens of one step of a session.
type LoginTokens struct {
	Session LoginSession
	Access  agentid.Secret
	Refresh agentid.Secret
	Expires time.Time // of Access
}

// errGrant is the one answer to a code or a refresh token that gives nothing.
func errGrant(reason, message string) error {
	return agentid.Errorf(agentid.KindInvalid, reason, "%s", message)
}

// RedeemFlow makes a session of an authorization code or an approved device code, once.
// session is given its content, decoded into spec, and says whose session it is; whatever
// it says, an authorization code is spent, and a device code when there is no error. A
// second use revokes the session that the first one made: KindInvalid code_reused.
// KindInvalid code_unknown for one that is not there.
func (l *Ledger) RedeemFlow(ctx context.Context, kind FlowKind, tenant string, handle agentid.Secret, spec any,
	session func() (LoginSession, error), record func(LoginSession) auditlog.Record,
) (LoginTokens, error) {
	var out LoginTokens
	var refusal error
	err := l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		out, refusal = LoginTokens{}, nil
		f, err := l.findFlow(ctx, tx.Query, kind, tenant, "hash", handleHash(handle.Reveal()))
		if agentid.KindOf(err) == agentid.KindNotFound && err != nil {
			refusal = errGrant("code_unknown", "the code is not known here, or has expired")
			return errUnchanged
		}
		if err != nil {
			return err
		}
		if f.spent != 0 {
			refusal = errGrant("code_reused", "the code was used before: its session is revoked")
			return l.revokeSession(ctx, tx, f.session)
		}
		if err := l.openFlow(f, spec); err != nil {
			return err
		}
		s, err := session()
		if err != nil {
			refusal = err
			if kind != FlowCode {
				return errUnchanged
			}
			_, err := tx.Exec(ctx, `UPDATE login_flows SET spent = 1 WHERE hash = ?`, f.hash)
			return err
		}
		if out, err = l.openSession(ctx, tx, s); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE login_flows SET spent = 1, session = ? WHERE hash = ?`, out.Session.ID, f.hash); err != nil {
			return err
		}
		return l.appendIn(ctx, tx, record(out.Session))
	})
	if refusal != nil && (err == nil || isUnchanged(err)) {
		return LoginTokens{}, refusal
	}
	if err != nil {
		return LoginTokens{}, err
	}
	return out, nil
}

// openSession makes a session with its first tokens.
func (l *Ledger) openSession(ctx context.Context, tx *sqlitedb.Tx, s LoginSession) (LoginTokens, error) {
	if s.Tenant == "" || s.Principal.IsZero() || s.Client == "" {
		return LoginTokens{}, fmt.Errorf("ledger: a session needs a tenant, a principal and a client")
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return LoginTokens{}, fmt.Errorf("ledger: %w", err)
	}
	s.ID, s.Created = hex.EncodeToString(id[:]), l.now().UTC()
	s.Expires = s.Created.Add(SessionLife)
	upstream, err := l.sealUpstream(s.ID, s.Upstream)
	if err != nil {
		return LoginTokens{}, err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO login_sessions (id, tenant, principal, client, provider, upstream, revoked, created, expires) VALUES (?,?,?,?,?,?,0,?,?)`,
		s.ID, s.Tenant, s.Principal.String(), s.Client, s.Provider, upstream, micros(s.Created), micros(s.Expires)); err != nil {
		return LoginTokens{}, err
	}
	return l.nextTokens(ctx, tx, s)
}

func (l *Ledger) sealUpstream(id string, token agentid.Secret) ([]byte, error) {
	if token.IsZero() {
		return []byte{}, nil
	}
	sealed, err := l.cfg.SealKey.Seal([]byte(token.Reveal()), "login_session", id)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return sealed, nil
}

// nextTokens gives a session its next pair of tokens.
func (l *Ledger) nextTokens(ctx context.Context, tx *sqlitedb.Tx, s LoginSession) (LoginTokens, error) {
	out := LoginTokens{Session: s}
	now := l.now().UTC()
	var err error
	if out.Access, err = NewHandle(LoginTokenPrefix); err != nil {
		return LoginTokens{}, err
	}
	if out.Refresh, err = NewHandle(refreshTokenPrefix); err != nil {
		return LoginTokens{}, err
	}
	end := func(life time.Duration) time.Time {
		if t := now.Add(life); t.Before(s.Expires) {
			return t
		}
		return s.Expires
	}
	out.Expires = end(LoginTokenLife)
	for _, t := range []struct {
		token   agentid.Secret
		kind    int
		expires time.Time
	}{{out.Access, loginAccess, out.Expires}, {out.Refresh, loginRefresh, end(RefreshTokenLife)}} {
		if _, err := tx.Exec(ctx, `INSERT INTO login_tokens (hash, session, kind, used, expires) VALUES (?,?,?,0,?)`,
			handleHash(t.token.Reveal()), s.ID, t.kind, micros(t.expires)); err != nil {
			return LoginTokens{}, err
		}
	}
	return out, nil
}

// RefreshSession exchanges a refresh token of a client for the next pair. One that was
// used before revokes its whole session, in the same transaction: KindInvalid
// refresh_token_reused. KindInvalid refresh_token_unknown for one that is not known, not
// this client's, expired, or of a session that is revoked or whose person is frozen.
func (l *Ledger) RefreshSession(ctx context.Context, tenant, client string, refresh agentid.Secret) (LoginTokens, error) {
	var out LoginTokens
	var refusal error
	err := l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		out, refusal = LoginTokens{}, nil
		hash := handleHash(refresh.Reveal())
		s, used, err := l.sessionOf(ctx, tx.Query, hash, loginRefresh)
		unknown := errGrant("refresh_token_unknown", "the refresh token is not known here, has expired, or is revoked")
		switch {
		case err != nil && agentid.KindOf(err) == agentid.KindUnauthenticated, err == nil && (s.Tenant != tenant || s.Client != client):
			refusal = unknown
			return errUnchanged
		case err != nil:
			return err
		case used:
			refusal = errGrant("refresh_token_reused", "the refresh token was used before: the session is revoked")
			return l.revokeSession(ctx, tx, s.ID)
		}
		if frozen, err := exists(ctx, tx.Query, `SELECT 1 FROM freezes WHERE ref = ?`, s.Principal.String()); err != nil || frozen {
			refusal = unknown
			if err == nil {
				err = errUnchanged
			}
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE login_tokens SET used = 1 WHERE hash = ?`, hash); err != nil {
			return err
		}
		out, err = l.nextTokens(ctx, tx, s)
		return err
	})
	if refusal != nil && (err == nil || isUnchanged(err)) {
		return LoginTokens{}, refusal
	}
	if err != nil {
		return LoginTokens{}, err
	}
	return out, nil
}

// LoginByToken finds the session of an access token: KindUnauthenticated
// login_token_invalid for one that is not good now, and when its person is frozen.
func (l *Ledger) LoginByToken(ctx context.Context, access agentid.Secret) (LoginSession, error) {
	s, _, err := l.sessionOf(ctx, l.reader(), handleHash(access.Reveal()), loginAccess)
	if err != nil {
		return LoginSession{}, err
	}
	frozen, err := exists(ctx, l.reader(), `SELECT 1 FROM freezes WHERE ref = ?`, s.Principal.String())
	if err == nil && frozen {
		err = agentid.Errorf(agentid.KindUnauthenticated, "login_token_invalid", "the person is disabled")
	}
	if err != nil {
		return LoginSession{}, err
	}
	return s, nil
}

// sessionOf finds the session of a token that has not expired.
func (l *Ledger) sessionOf(ctx context.Context, q query, hash []byte, kind int) (s LoginSession, used bool, err error) {
	var principal string
	var usedN, created, expires int64
	found, err := one(ctx, q, []any{&s.ID, &s.Tenant, &principal, &s.Client, &s.Provider, &created, &expires, &usedN},
		`SELECT s.id, s.tenant, s.principal, s.client, s.provider, s.created, s.expires, t.used FROM login_tokens t
		JOIN login_sessions s ON s.id = t.session WHERE t.hash = ? AND t.kind = ? AND t.expires > ?3 AND s.expires > ?3 AND s.revoked = 0`,
		hash, kind, micros(l.now()))
	if err == nil && !found {
		err = agentid.Errorf(agentid.KindUnauthenticated, "login_token_invalid", "the sign-in has ended, or the token is not one of ours")
	}
	if err != nil {
		return LoginSession{}, false, err
	}
	s.Created, s.Expires = fromMicros(created), fromMicros(expires)
	err = parseRefs([]string{principal}, &s.Principal)
	return s, usedN != 0, err
}

// RevokeSession ends a session with all of its tokens. It may be repeated.
func (l *Ledger) RevokeSession(ctx context.Context, id string, records ...auditlog.Record) error {
	return l.write(ctx, records, func(ctx context.Context, tx *sqlitedb.Tx) error { return l.revokeSession(ctx, tx, id) })
}

func (l *Ledger) revokeSession(ctx context.Context, tx *sqlitedb.Tx, id string) error {
	_, err := tx.Exec(ctx, `UPDATE login_sessions SET revoked = ?, upstream = x'' WHERE id = ? AND revoked = 0`, micros(l.now()), id)
	return err
}

// UpstreamSession is the latest session of a principal for which the identity provider
// gave a refresh token, opened: KindNotFound upstream_unknown.
func (l *Ledger) UpstreamSession(ctx context.Context, principal agentid.Ref) (LoginSession, error) {
	var s LoginSession
	var sealed []byte
	found, err := one(ctx, l.reader(), []any{&s.ID, &s.Tenant, &s.Client, &s.Provider, &sealed},
		`SELECT id, tenant, client, provider, upstream FROM login_sessions
		WHERE principal = ? AND upstream <> x'' AND revoked = 0 AND expires > ? ORDER BY created DESC LIMIT 1`, principal.String(), micros(l.now()))
	if err == nil && !found {
		err = agentid.Errorf(agentid.KindNotFound, "upstream_unknown", "nothing is kept to ask the identity provider with: the person signs in again, or the groups are given")
	}
	if err != nil {
		return LoginSession{}, err
	}
	plain, err := l.cfg.SealKey.Open(sealed, "login_session", s.ID)
	if err != nil {
		return LoginSession{}, fmt.Errorf("ledger: refresh token of session %s: %w", s.ID, err)
	}
	s.Principal, s.Upstream = principal, agentid.NewSecret(string(plain))
	return s, nil
}

// SetUpstream keeps the identity provider's next refresh token of a session, or none.
func (l *Ledger) SetUpstream(ctx context.Context, id string, token agentid.Secret) error {
	sealed, err := l.sealUpstream(id, token)
	if err != nil {
		return err
	}
	return l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE login_sessions SET upstream = ? WHERE id = ? AND revoked = 0`, sealed, id)
		return err
	})
}

// LoginSessions are a principal's sessions that are open, the latest first.
func (l *Ledger) LoginSessions(ctx context.Context, principal agentid.Ref) ([]LoginSession, error) {
	var out []LoginSession
	err := rows(ctx, l.reader(), func(r *sql.Rows) error {
		s := LoginSession{Principal: principal}
		var created, expires int64
		err := r.Scan(&s.ID, &s.Tenant, &s.Client, &s.Provider, &created, &expires)
		s.Created, s.Expires = fromMicros(created), fromMicros(expires)
		out = append(out, s)
		return err
	}, `SELECT id, tenant, client, provider, created, expires FROM login_sessions
		WHERE principal = ? AND revoked = 0 AND expires > ? ORDER BY created DESC LIMIT 1000`, principal.String(), micros(l.now()))
	return out, err
}
