package capability

import (
	"context"
	"crypto"
	"crypto/sha256"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// verified keeps what tokens say whose signature was checked, by the SHA-256 of the
// whole token. It holds no refusal and decides nothing that can change: the key source is
// asked for the key at every use, so a retired or replaced key ends its tokens at once,
// and audience, time, binding and revocation are looked at by the callers as ever. It
// keeps two generations of at most size/2 each; the older is dropped when the newer is
// full. A nil *verified keeps nothing.
type verified struct {
	half int

	mu           sync.Mutex
	newer, older map[[sha256.Size]byte]verifiedToken
}

// verifiedToken is shared by all its users, who must not change it.
type verifiedToken struct {
	token       *Token
	issuer, kid string
	key         jose.JSONWebKey
}

func newVerified(size int) *verified {
	if size <= 0 {
		return nil
	}
	return &verified{half: max(1, size/2), newer: map[[sha256.Size]byte]verifiedToken{}}
}

// find gives a token that was verified with the key that the source gives
// now.
func (c *verified) find(ctx context.Context, keys KeySource, digest [sha256.Size]byte) (*Token, bool) {
	if c == nil {
		return nil, false
	}
	c.mu.Lock()
	t, ok := c.newer[digest]
	if !ok {
		if t, ok = c.older[digest]; ok {
			c.put(digest, t)
		}
	}
	c.mu.Unlock()
	if !ok {
		return nil, false
	}
	now, err := keys.Key(ctx, t.issuer, t.kid)
	if err != nil || !sameKey(now, t.key) {
		return nil, false // the full check says why, if it refuses
	}
	return t.token, true
}

func (c *verified) keep(digest [sha256.Size]byte, t verifiedToken) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(digest, t)
}

func (c *verified) put(digest [sha256.Size]byte, t verifiedToken) {
	if len(c.newer) >= c.half {
		c.older, c.newer = c.newer, make(map[[sha256.Size]byte]verifiedToken, c.half)
	}
	c.newer[digest] = t
}

// sameKey reports whether two public keys are equal in all that a check looks at.
func sameKey(a, b jose.JSONWebKey) bool {
	equal, ok := a.Key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && a.KeyID == b.KeyID && a.Algorithm == b.Algorithm && a.Use == b.Use && equal.Equal(b.Key)
}
