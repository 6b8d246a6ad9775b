package ledger

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// Classes of secrets that we give out.
const (
	classAdmin  = "admin"
	classClient = "client"
)

// SecretInfo is what may be shown of a secret that was given out.
type SecretInfo struct {
	ID      string
	Subject string // the administrator's name, or the service client's ref
	Created time.Time
}

// newSecret makes "agentid_<class>_<id>_<256 bits>". Only the SHA-256 of it is kept,
// which is enough for a secret that cannot be guessed.
func newSecret(class string) (id string, secret agentid.Secret, hash []byte, err error) {
	var b [8 + 32]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", agentid.Secret{}, nil, err
	}
	id = hex.EncodeToString(b[:8])
	text := secretPrefix(class) + id + "_" + base64.RawURLEncoding.EncodeToString(b[8:])
	sum := sha256.Sum256([]byte(text))
	return id, agentid.NewSecret(text), sum[:], nil
}

func secretPrefix(class string) string { return "agentid_" + class + "_" }

// addSecret inserts a new secret of subject inside a transaction.
func (l *Ledger) addSecret(ctx context.Context, tx *sqlitedb.Tx, class, subject string) (SecretInfo, agentid.Secret, error) {
	id, secret, hash, err := newSecret(class)
	if err != nil {
		return SecretInfo{}, agentid.Secret{}, err
	}
	now := micros(l.now())
	_, err = tx.Exec(ctx, `INSERT INTO secrets (id, class, subject, hash, created) VALUES (?,?,?,?,?)`, id, class, subject, hash, now)
	return SecretInfo{ID: id, Subject: subject, Created: fromMicros(now)}, secret, err
}

// checkSecret finds who a secret was given to, by the id in it, and compares the hash
// in constant time. Hashes are remembered while no secret is taken away or changed; the
// plain text is not. ok is false for anything that is not one of ours.
func (l *Ledger) checkSecret(ctx context.Context, class string, secret agentid.Secret) (info SecretInfo, ok bool, err error) {
	rest, ours := strings.CutPrefix(secret.Reveal(), secretPrefix(class))
	id, _, cut := strings.Cut(rest, "_")
	if !ours || !cut || len(secret.Reveal()) > 256 {
		return SecretInfo{}, false, nil
	}
	key := secretKey{class, strings.Clone(id)} // not the plain text that it is cut of
	known, err := l.secrets.Get(ctx, l.secrets.Now(), key, func(ctx context.Context) (knownSecret, error) {
		return l.readSecret(ctx, key)
	})
	if errors.Is(err, errNoSecret) {
		return SecretInfo{}, false, nil
	}
	if err != nil {
		return SecretInfo{}, false, err
	}
	sum := sha256.Sum256([]byte(secret.Reveal()))
	if subtle.ConstantTimeCompare(sum[:], known.hash) != 1 {
		return SecretInfo{}, false, nil
	}
	return known.info, true, nil
}

// secretKey is the public part of a secret.
type secretKey struct{ class, id string }

// knownSecret is what the ledger keeps of a secret: whose it is, and its hash.
type knownSecret struct {
	info SecretInfo
	hash []byte
}

// errNoSecret: no secret has the id. It is not remembered.
var errNoSecret = errors.New("no such secret")

func (l *Ledger) readSecret(ctx context.Context, key secretKey) (knownSecret, error) {
	known := knownSecret{info: SecretInfo{ID: key.id}}
	var created int64
	found, err := one(ctx, l.reader(), []any{&known.info.Subject, &known.hash, &created},
		`SELECT subject, hash, created FROM secrets WHERE id = ? AND class = ?`, key.id, key.class)
	if err == nil && !found {
		err = errNoSecret
	}
	known.info.Created = fromMicros(created)
	return known, err
}

// listSecrets lists a class, of one subject or of all ("").
func (l *Ledger) listSecrets(ctx context.Context, q query, class, subject string) ([]SecretInfo, error) {
	var out []SecretInfo
	err := rows(ctx, q, func(r *sql.Rows) error {
		var s SecretInfo
		var created int64
		err := r.Scan(&s.ID, &s.Subject, &created)
		s.Created = fromMicros(created)
		out = append(out, s)
		return err
	}, `SELECT id, subject, created FROM secrets WHERE class = ? AND (? = '' OR subject = ?) ORDER BY subject, id`, class, subject, subject)
	return out, err
}
