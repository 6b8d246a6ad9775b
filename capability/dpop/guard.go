package dpop

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/agentid-dev/agentid"
)

// Defaults of a Guard.
const (
	DefaultNoncePeriod = time.Minute
	DefaultMaxProofs   = 1 << 19
)

// GuardConfig sizes a Guard. Now is required; zero fields take their defaults.
type GuardConfig struct {
	// NoncePeriod is how long one nonce is given out. It is accepted for that long
	// again afterwards.
	NoncePeriod time.Duration
	// MaxProofs is how many proofs are remembered at once, at about 50 bytes each.
	MaxProofs int
	Now       func() time.Time
}

// Guard gives out nonces and remembers proofs, for one process. Because a proof
// needs a nonce of this very Guard, no other process has to know what was seen
// here, and nothing needs to be remembered longer than a nonce is accepted.
//
// Nonces are the number of their period with an HMAC under a key that is made at
// the start and leaves the process never. Periods are counted on the monotonic clock
// and never go back, so that a clock step revives no proof.
type Guard struct {
	cfg    GuardConfig
	secret [32]byte
	start  time.Time

	mu     sync.Mutex
	period int64 // the latest seen
	seen   map[int64]map[[16]byte]struct{}
	count  int
}

// NewGuard makes a Guard with a fresh secret.
func NewGuard(cfg GuardConfig) (*Guard, error) {
	if cfg.Now == nil {
		return nil, agentid.Invalidf("now", "is required")
	}
	if cfg.NoncePeriod < 0 || cfg.MaxProofs < 0 {
		return nil, agentid.Invalidf("guard", "want a positive period and size")
	}
	if cfg.NoncePeriod == 0 {
		cfg.NoncePeriod = DefaultNoncePeriod
	}
	if cfg.MaxProofs == 0 {
		cfg.MaxProofs = DefaultMaxProofs
	}
	g := &Guard{cfg: cfg, start: cfg.Now(), seen: map[int64]map[[16]byte]struct{}{}}
	_, _ = rand.Read(g.secret[:]) // crypto/rand.Read never fails; it ends the process
	return g, nil
}

// Nonce is the value of the DPoP-Nonce header for any response now.
func (g *Guard) Nonce() string {
	g.mu.Lock()
	period := g.advance()
	g.mu.Unlock()
	return g.nonce(period)
}

// Check lets a verified proof pass once. A nonce that is absent, too old or of
// another process is KindUnauthenticated, reason use_dpop_nonce: the caller sends
// Nonce along and the client tries again. A proof seen before is reason
// invalid_dpop_proof, field jti. When the memory is full nothing is forgotten early:
// KindUnavailable, reason dpop_replay_full, retry within a nonce period.
func (g *Guard) Check(p Proof) error { return g.check(p, true) }

// Fresh is Check without remembering p: for whoever must decide in between whether p is
// to take a place of the memory, which all callers share. Check it afterwards.
func (g *Guard) Fresh(p Proof) error { return g.check(p, false) }

func (g *Guard) check(p Proof, remember bool) error {
	if p.JKT == "" || p.ID == "" {
		return invalid("jti")
	}
	period, ok := g.periodOf(p.Nonce)
	key := proofKey(p)
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.advance()
	if !ok || period > now || period < now-1 {
		return &agentid.Error{
			Kind: agentid.KindUnauthenticated, Reason: ReasonUseNonce, Field: "nonce",
			Message: "the DPoP proof needs the nonce of the DPoP-Nonce header",
		}
	}
	if _, seen := g.seen[period][key]; seen {
		return invalid("jti")
	}
	if !remember {
		return nil
	}
	if g.count >= g.cfg.MaxProofs {
		return agentid.Unavailable("dpop_replay_full", errors.New("dpop: too many proofs to remember"))
	}
	if g.seen[period] == nil {
		g.seen[period] = map[[16]byte]struct{}{}
	}
	g.seen[period][key] = struct{}{}
	g.count++
	return nil
}

// advance moves to the present period and drops what no nonce can bring back.
func (g *Guard) advance() int64 {
	if now := int64(g.cfg.Now().Sub(g.start) / g.cfg.NoncePeriod); now > g.period {
		g.period = now
		for period, proofs := range g.seen {
			if period < now-1 {
				g.count -= len(proofs)
				delete(g.seen, period)
			}
		}
	}
	return g.period
}

const macBytes = 16

func (g *Guard) nonce(period int64) string {
	raw := binary.BigEndian.AppendUint64(make([]byte, 0, 8+macBytes), uint64(period))
	mac := hmac.New(sha256.New, g.secret[:])
	_, _ = mac.Write(raw)
	return base64.RawURLEncoding.EncodeToString(append(raw, mac.Sum(nil)[:macBytes]...))
}

func (g *Guard) periodOf(nonce string) (int64, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(raw) != 8+macBytes {
		return 0, false
	}
	period := int64(binary.BigEndian.Uint64(raw))
	return period, period >= 0 && same(g.nonce(period), nonce)
}

// proofKey is what a proof is remembered by: its key and its id. The thumbprint has
// one length, so the two cannot be mixed up.
func proofKey(p Proof) [16]byte {
	sum := sha256.Sum256([]byte(p.JKT + "." + p.ID))
	return [16]byte(sum[:16])
}
