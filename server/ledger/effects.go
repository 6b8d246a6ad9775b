package ledger

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/sqlitedb"
	"github.com/agentid-dev/agentid/internal/wire"
)

// An upstream remembers an idempotency key for 24 hours or a little more. A key is taken
// for a retry up to Retention, while the upstream surely replays, and is free again after
// ForgetAfter, when it surely does not. In between the key is refused.
const (
	Retention   = 20 * time.Hour
	ForgetAfter = 26 * time.Hour
)

// Bounds of what a client chooses.
const (
	maxIdempotencyKey = 255
	maxHoldKey        = 1024
	maxDigest         = 256
)

// effectState is where an effect stands. The zero effectState is none.
type effectState int

const (
	inFlight effectState = iota + 1
	done
	released // it had no effect: key, use and hold were given back
	unknown  // it may have happened: the hold stands until due
	expired  // it was unknown at its deadline: by now the upstream's facts tell
)

// effect is one row of effects.
type effect struct {
	seq             int64
	nonce           []byte
	of              int64 // the owner, when this is a retry
	token           string
	uses            uses // what it took, to be given back
	digest, holdKey string
	amount          int64
	state           effectState
	stands, open    bool
	attempt         int64
	request         string
	begin           int64
	due             sql.NullInt64
	unchecked       bool // not stored: see wire.Reservation
	created         int64
}

const effectColumns = `seq, nonce, of, token, uses, digest, hold_key, hold_amount, state, stands, open, attempt, request, begin, due, created`

func (e *effect) id() string { return reservationID(e.seq, e.nonce) }

var _ wire.Effects = (*Ledger)(nil)

// Reserve implements wire.Effects.
func (l *Ledger) Reserve(ctx context.Context, r wire.Reserve) (wire.Reservation, error) {
	if err := l.checkReserve(&r); err != nil {
		return wire.Reservation{}, err
	}
	begin, err := auditlog.Prepare(r.Record, l.now())
	if err != nil {
		return wire.Reservation{}, err
	}
	e := effect{
		token: r.Token.String(), uses: usesOf(r.Uses), digest: r.RequestDigest, holdKey: r.HoldKey, amount: r.HoldAmount,
		state: inFlight, stands: true, open: true, request: r.Record.Request,
		due: sql.NullInt64{Int64: micros(r.Deadline), Valid: true}, created: micros(l.now()), nonce: make([]byte, 8),
	}
	if _, err := rand.Read(e.nonce); err != nil {
		return wire.Reservation{}, err
	}
	var idem []byte
	if r.IdempotencyKey != "" {
		idem = l.upstreamKey(r.Agent, r.IdempotencyKey)
	}
	var ahead []wire.Ahead
	err = l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		var err error
		if e.begin, err = l.log.Add(ctx, tx, begin); err != nil {
			return err
		}
		if err = l.reserve(ctx, tx, &e, idem, r.Uses); err != nil {
			return err
		}
		ahead = l.holds.stand(standing{seq: e.seq, id: e.id(), amount: e.amount}, e.holdKey)
		flight := flight{seq: e.seq, holdKey: e.holdKey, ahead: len(ahead), request: e.request, owner: e.of == 0}
		tx.OnCommit(func() { l.holds.add(e.id(), flight) })
		return nil
	})
	if err != nil {
		if e.seq != 0 { // what stood there for the others does not
			l.holds.resolved(e.id(), e.holdKey)
		}
		return wire.Reservation{}, err
	}
	return wire.Reservation{ID: e.id(), Retry: e.of != 0, Unchecked: e.unchecked, UpstreamKey: hex.EncodeToString(idem), Ahead: ahead}, nil
}

// reserve takes everything inside the transaction and fills in e. An error takes all
// of it back.
func (l *Ledger) reserve(ctx context.Context, tx *sqlitedb.Tx, e *effect, idem []byte, counts []wire.Use) error {
	// Nearly every key is new: the row itself tells when one is not.
	inserted, err := insertEffect(ctx, tx, e, idem)
	if err != nil {
		return err
	}
	if !inserted {
		if retry, err := l.bind(ctx, tx, e, idem); err != nil || retry {
			return err
		}
		if _, err := insertEffect(ctx, tx, e, idem); err != nil {
			return err
		}
	}
	for i, use := range counts {
		if err := consumeUse(ctx, tx, use, i == 0, e.created); err != nil {
			return err
		}
	}
	return nil
}

// bind looks up who has the idempotency key. It reports a retry, for which e is inserted
// as an attempt of the effect that owns the key; else the key is free now, and e may own it.
func (l *Ledger) bind(ctx context.Context, tx *sqlitedb.Tx, e *effect, idem []byte) (retry bool, err error) {
	owner, found, err := readEffect(ctx, tx.Query, `SELECT `+effectColumns+` FROM effects WHERE idem = ?`, idem)
	if err != nil || !found {
		return false, err
	}
	age := time.Duration(e.created-owner.created) * time.Microsecond
	ended := owner.state != inFlight && owner.state != unknown
	switch {
	case ended && age >= ForgetAfter:
		return false, freeKey(ctx, tx, owner.seq)
	case ended && age >= Retention:
		return false, agentid.Errorf(agentid.KindConflict, "idempotency_key_expired",
			"the key was used some 20 hours ago; begin anew with another key").WithField("idempotency_key")
	case owner.digest != e.digest:
		return false, agentid.Errorf(agentid.KindConflict, "idempotency_key_reused", "the key was used for another request").WithField("idempotency_key")
	case owner.state == inFlight:
		return false, agentid.Errorf(agentid.KindConflict, "idempotency_in_progress", "a request with this key is under way").WithField("idempotency_key")
	case owner.state == expired:
		return false, freeKey(ctx, tx, owner.seq)
	case owner.state != done && owner.state != unknown:
		return false, fmt.Errorf("effect %d has state %d", owner.seq, owner.state)
	}
	e.of, e.stands, e.holdKey, e.amount, e.uses = owner.seq, false, "", 0, nil
	e.unchecked = owner.open
	if _, err := insertEffect(ctx, tx, e, nil); err != nil {
		return false, err
	}
	if owner.state == unknown {
		_, err = tx.Exec(ctx, `UPDATE effects SET state = ?, attempt = ?, due = max(due, ?) WHERE seq = ?`, inFlight, e.seq, e.due, owner.seq)
	}
	return true, err
}

func freeKey(ctx context.Context, tx *sqlitedb.Tx, seq int64) error {
	_, err := tx.Exec(ctx, `UPDATE effects SET idem = NULL WHERE seq = ?`, seq)
	return err
}

// insertEffect reports false, and has inserted nothing, when another effect has the key.
func insertEffect(ctx context.Context, tx *sqlitedb.Tx, e *effect, idem []byte) (bool, error) {
	var key any // a nil []byte would be an empty blob
	if idem != nil {
		key = idem
	}
	res, err := tx.Exec(ctx, `INSERT INTO effects (nonce, of, token, uses, idem, digest, hold_key, hold_amount, state, stands, open, attempt, request, begin, due, created)
		VALUES (?,?,?,?,?,?,?,?,?,?,?,0,?,?,?,?) ON CONFLICT (idem) WHERE idem IS NOT NULL DO NOTHING`,
		e.nonce, e.of, e.token, e.uses, key, e.digest, e.holdKey, e.amount, int64(e.state), e.stands, e.open, e.request, e.begin, e.due, e.created)
	if err != nil {
		return false, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return false, err
	}
	e.seq, err = res.LastInsertId()
	return err == nil, err
}

func readEffect(ctx context.Context, q query, text string, args ...any) (e effect, found bool, err error) {
	found, err = one(ctx, q, []any{
		&e.seq, &e.nonce, &e.of, &e.token, &e.uses, &e.digest, &e.holdKey, &e.amount,
		&e.state, &e.stands, &e.open, &e.attempt, &e.request, &e.begin, &e.due, &e.created,
	}, text, args...)
	return e, found, err
}

func (l *Ledger) checkReserve(r *wire.Reserve) error {
	tenant := r.Agent.Tenant()
	if err := checkRef("agent", r.Agent, agentid.TypeAgent); err != nil {
		return err
	}
	if err := checkRef("token", r.Token, agentid.TypeToken); err != nil {
		return err
	}
	if err := checkUses(tenant, r.Uses); err != nil {
		return err
	}
	switch {
	case r.Token.Tenant() != tenant:
		return agentid.Invalidf("token", "belongs to another tenant")
	case len(r.IdempotencyKey) > maxIdempotencyKey:
		return agentid.Invalidf("idempotency_key", "is longer than %d bytes", maxIdempotencyKey)
	case r.IdempotencyKey != "" && r.RequestDigest == "", len(r.RequestDigest) > maxDigest:
		return agentid.Invalidf("request_digest", "want the digest that the key is bound to")
	case r.HoldKey != "" && (r.HoldAmount <= 0 || r.HoldAmount > 1<<53):
		return agentid.Invalidf("amount", "want 1 to 2^53 minor units")
	case r.HoldKey == "" && r.HoldAmount != 0, len(r.HoldKey) > maxHoldKey:
		return agentid.Invalidf("hold_key", "want a key of at most %d bytes", maxHoldKey)
	case r.HoldKey != "" && !strings.HasPrefix(r.HoldKey, tenant+"/"):
		return agentid.Invalidf("hold_key", "belongs to another tenant")
	case !r.Deadline.After(l.now()):
		return agentid.Invalidf("deadline", "must be in the future")
	case r.Record.Phase != auditlog.Begin || r.Record.Request == "" || r.Record.Tenant != tenant:
		return agentid.Errorf(agentid.KindInternal, "audit_record_invalid", "want the begin of a request of the agent's tenant")
	}
	return nil
}

// upstreamKey is a keyed hash over tenant, agent and key, each with its length, so that
// no agent can name another's key.
func (l *Ledger) upstreamKey(agent agentid.Ref, key string) []byte {
	mac := hmac.New(sha256.New, l.hmacKey)
	for _, part := range []string{"idempotency", agent.Tenant(), agent.Name(), key} {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(part)))
		mac.Write(n[:])
		mac.Write([]byte(part))
	}
	return mac.Sum(nil)
}

func reservationID(seq int64, nonce []byte) string {
	return "r" + strconv.FormatInt(seq, 10) + "-" + hex.EncodeToString(nonce)
}

// findReservation reads the effect that id names. An id with a wrong nonce names none.
func findReservation(ctx context.Context, q query, id string) (effect, error) {
	digits, _, _ := strings.Cut(strings.TrimPrefix(id, "r"), "-")
	if seq, err := strconv.ParseInt(digits, 10, 64); err == nil {
		e, found, err := readEffect(ctx, q, `SELECT `+effectColumns+` FROM effects WHERE seq = ?`, seq)
		if err != nil {
			return effect{}, err
		}
		if found && hmac.Equal([]byte(e.id()), []byte(id)) {
			return e, nil
		}
	}
	return effect{}, errReservationUnknown
}

var errReservationUnknown = agentid.Errorf(agentid.KindNotFound, "reservation_unknown", "there is no such reservation in flight")
