package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
	"github.com/agentid-dev/agentid/server/signer"
)

var _ signer.Store = (*Ledger)(nil)

// SigningKeys implements signer.Store: all keys, oldest first, private halves opened.
func (l *Ledger) SigningKeys(ctx context.Context) ([]signer.Key, error) {
	var out []signer.Key
	err := rows(ctx, l.reader(), func(r *sql.Rows) error {
		var k signer.Key
		var staged, activated, retired, until int64
		var sealed []byte
		if err := r.Scan(&k.ID, &k.Algorithm, &k.State, &staged, &activated, &retired, &until, &sealed); err != nil {
			return readError(err)
		}
		k.StagedAt, k.ActivatedAt = fromMicros(staged), fromMicros(activated)
		k.RetiredAt, k.PublishedUntil = fromMicros(retired), fromMicros(until)
		plain, err := l.cfg.SealKey.Open(sealed, "signing_key", k.ID, k.Algorithm)
		if err != nil {
			return fmt.Errorf("signing key %s: %w", k.ID, err)
		}
		k.Private = agentid.NewSecret(string(plain))
		out = append(out, k)
		return nil
	}, `SELECT kid, algorithm, state, staged, activated, retired, published_until, sealed FROM signing_keys ORDER BY staged, kid`)
	return out, err
}

// AddSigningKey implements signer.Store: it seals and stores a new key. KindConflict
// key_exists for a known kid, key_active when its algorithm has an active one already.
func (l *Ledger) AddSigningKey(ctx context.Context, k signer.Key) error {
	if k.ID == "" || k.Algorithm == "" || k.State < signer.StateStaged || k.State > signer.StateRetired || k.Private.IsZero() {
		return agentid.Invalidf("signing_key", "want an id, an algorithm, a state and a private half")
	}
	sealed, err := l.cfg.SealKey.Seal([]byte(k.Private.Reveal()), "signing_key", k.ID, k.Algorithm)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO signing_keys (kid, algorithm, state, staged, activated, retired, published_until, sealed) VALUES (?,?,?,?,?,?,?,?)`,
			k.ID, k.Algorithm, k.State, micros(k.StagedAt), micros(k.ActivatedAt), micros(k.RetiredAt), micros(k.PublishedUntil), sealed)
		if sqlitedb.IsUnique(err) {
			return agentid.Errorf(agentid.KindConflict, "key_exists", "the key is there, or another is active")
		}
		tx.OnCommit(l.notifyChanged)
		return err
	})
}

// SetSigningKeys implements signer.Store: all changes or none. A key's state only moves
// forward (KindConflict key_state), and one key of an algorithm is active at most
// (KindConflict key_active).
func (l *Ledger) SetSigningKeys(ctx context.Context, infos ...signer.Info) error {
	infos = slices.Clone(infos)
	slices.SortStableFunc(infos, func(a, b signer.Info) int { return int(b.State) - int(a.State) }) // retire before activating
	return l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		for _, k := range infos {
			res, err := tx.Exec(ctx, `UPDATE signing_keys SET state = ?, staged = ?, activated = ?, retired = ?, published_until = ?
				WHERE kid = ? AND algorithm = ? AND state <= ?`,
				k.State, micros(k.StagedAt), micros(k.ActivatedAt), micros(k.RetiredAt), micros(k.PublishedUntil), k.ID, k.Algorithm, k.State)
			if sqlitedb.IsUnique(err) {
				return agentid.Errorf(agentid.KindConflict, "key_active", "another key of this algorithm is active")
			}
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil || n == 0 || k.State < signer.StateStaged || k.State > signer.StateRetired {
				return agentid.Errorf(agentid.KindConflict, "key_state", "the key is unknown, or its state cannot go back")
			}
		}
		tx.OnCommit(l.notifyChanged)
		return nil
	})
}
