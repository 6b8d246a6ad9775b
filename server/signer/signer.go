// Package signer holds the keys that sign capability tokens and their rotation:
// staged → active → retired. A staged key is published before it signs, so that every
// verifier's cached key set knows it; a retired key stays published until the last
// token that it can have signed has expired.
//
// It owns the life of keys, and keeps the current view in memory. Where keys rest, and
// sealed with what, is the ledger's.
package signer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
)

// Store keeps signing keys. Every error means that nothing was changed, or that it is
// not known whether it was: the view is read again before a key is used.
type Store interface {
	// SigningKeys are all keys that are not gone.
	SigningKeys(ctx context.Context) ([]Key, error)
	// AddSigningKey stores a new key.
	AddSigningKey(ctx context.Context, key Key) error
	// SetSigningKeys changes the states and times of keys, all or none.
	SetSigningKeys(ctx context.Context, infos ...Info) error
}

// Config configures New.
type Config struct {
	Store Store
	// TokenLifetime is the longest life of a token, with skew: how long a retired key
	// stays published. Required.
	TokenLifetime time.Duration
	// PublishBefore is how long a key is published before it may sign: the key set's
	// max-age. Required.
	PublishBefore time.Duration
	Now           func() time.Time // default: time.Now
}

// Signer gives the active key to the mint and the key set to everyone.
type Signer struct {
	cfg  Config
	mu   sync.Mutex // one rotation step at a time
	view atomic.Pointer[ring]
}

// New loads the keys. If there is none at all it makes one for EdDSA and activates it:
// nobody can hold an older key set yet.
func New(ctx context.Context, cfg Config) (*Signer, error) {
	if cfg.Store == nil || cfg.TokenLifetime <= 0 || cfg.PublishBefore <= 0 {
		return nil, errors.New("signer: store, token lifetime and publish-before are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Signer{cfg: cfg}
	if err := s.Reload(ctx); err != nil {
		return nil, err
	}
	if s.view.Load().active == nil && len(s.view.Load().infos) == 0 {
		info, err := s.Stage(ctx, AlgorithmEdDSA)
		if err != nil {
			return nil, err
		}
		if err := s.Activate(ctx, info.ID); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Reload reads the keys again. On an error the view that was there stays.
func (s *Signer) Reload(ctx context.Context) error {
	keys, err := s.cfg.Store.SigningKeys(ctx)
	if err != nil {
		return fmt.Errorf("load signing keys: %w", err)
	}
	r, err := newRing(keys, s.cfg.Now())
	if err != nil {
		return err
	}
	s.view.Store(r)
	return nil
}

// Active is the key to sign with: KindUnavailable "signing_key_unavailable" if none is
// active.
func (s *Signer) Active() (jose.SigningKey, error) {
	if k := s.view.Load().active; k != nil {
		return *k, nil
	}
	return jose.SigningKey{}, agentid.Unavailable("signing_key_unavailable", errors.New("no signing key is active"))
}

// JWKS is the published key set: public halves only.
func (s *Signer) JWKS() jose.JSONWebKeySet {
	v, now := s.view.Load(), s.cfg.Now()
	set := jose.JSONWebKeySet{Keys: make([]jose.JSONWebKey, 0, len(v.public))}
	for i, k := range v.public {
		if v.infos[i].published(now) {
			set.Keys = append(set.Keys, k)
		}
	}
	return set
}

// Key is the public key of a kid, matched exactly. KindUnauthenticated "token_key" if
// it is not published, or is staged: such a key has signed nothing.
func (s *Signer) Key(kid string) (jose.JSONWebKey, error) {
	v, now := s.view.Load(), s.cfg.Now()
	for i, info := range v.infos {
		if info.ID == kid && info.State != StateStaged && info.published(now) {
			return v.public[i], nil
		}
	}
	return jose.JSONWebKey{}, agentid.Errorf(agentid.KindUnauthenticated, "token_key", "the signing key is not known")
}

// Keys describes the keys that are published, oldest first.
func (s *Signer) Keys() []Info {
	infos := slices.Clone(s.view.Load().infos)
	slices.SortFunc(infos, func(a, b Info) int { return a.StagedAt.Compare(b.StagedAt) })
	return infos
}

// Stage makes and publishes a key that does not sign yet.
func (s *Signer) Stage(ctx context.Context, algorithm string) (Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, err := generate(algorithm, s.cfg.Now())
	if err != nil {
		return Info{}, err
	}
	if err := s.cfg.Store.AddSigningKey(ctx, key); err != nil {
		return Info{}, fmt.Errorf("store a signing key: %w", err)
	}
	return key.Info, s.Reload(ctx)
}

// Activate makes a staged key the one that signs and retires the one that did. It
// refuses with KindConflict "key_too_young" while verifiers may hold a key set without
// the new key, unless no key is active.
func (s *Signer) Activate(ctx context.Context, kid string) error {
	return s.activate(ctx, kid, s.cfg.PublishBefore)
}

// ActivateNow is Activate without the wait, for when the active key has leaked: tokens
// are refused by verifiers that do not fetch the key set again for an unknown kid.
func (s *Signer) ActivateNow(ctx context.Context, kid string) error {
	return s.activate(ctx, kid, 0)
}

func (s *Signer) activate(ctx context.Context, kid string, publishBefore time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next, err := s.find(kid, StateStaged)
	if err != nil {
		return err
	}
	now := s.cfg.Now()
	changes := []Info{}
	for _, info := range s.view.Load().infos {
		if info.State != StateActive {
			continue
		}
		if ready := next.StagedAt.Add(publishBefore); now.Before(ready) {
			return agentid.Errorf(agentid.KindConflict, "key_too_young",
				"verifiers may not know the key before %s", ready.UTC().Format(time.RFC3339))
		}
		changes = append(changes, s.retired(info, now, s.cfg.TokenLifetime))
	}
	next.State, next.ActivatedAt = StateActive, now
	if err := s.cfg.Store.SetSigningKeys(ctx, append(changes, next)...); err != nil {
		return fmt.Errorf("activate a signing key: %w", err)
	}
	return s.Reload(ctx)
}

// Retire withdraws a staged key, and one that is retired at once: tokens that it signed
// are refused from now on. It is the answer to a key that leaked. The active key cannot
// be retired: activate another one first (KindConflict "key_active").
func (s *Signer) Retire(ctx context.Context, kid string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := s.find(kid, StateStaged, StateRetired)
	if err != nil {
		return err
	}
	if err := s.cfg.Store.SetSigningKeys(ctx, s.retired(info, s.cfg.Now(), 0)); err != nil {
		return fmt.Errorf("retire a signing key: %w", err)
	}
	return s.Reload(ctx)
}

func (s *Signer) retired(info Info, now time.Time, published time.Duration) Info {
	info.State, info.PublishedUntil = StateRetired, now.Add(published)
	if info.RetiredAt.IsZero() {
		info.RetiredAt = now
	}
	return info
}

func (s *Signer) find(kid string, states ...State) (Info, error) {
	for _, info := range s.view.Load().infos {
		if info.ID != kid || !info.published(s.cfg.Now()) {
			continue
		}
		if slices.Contains(states, info.State) {
			return info, nil
		}
		return Info{}, agentid.Errorf(agentid.KindConflict, "key_"+info.State.String(), "the key is %s", info.State)
	}
	return Info{}, agentid.Errorf(agentid.KindNotFound, "key_unknown", "no such signing key")
}

func (i Info) published(now time.Time) bool {
	return i.State != StateRetired || now.Before(i.PublishedUntil)
}
