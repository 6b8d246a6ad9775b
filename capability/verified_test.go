package capability

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
)

func (k *tokenKit) remembering(t *testing.T, source KeySource, size int) *Verifier {
	t.Helper()
	v, err := NewVerifier(VerifierConfig{Keys: source, Base: base, Audience: audience, Skew: 10 * time.Second, Now: func() time.Time { return k.now }, Cache: size})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func remembers(v *Verifier, token string) bool {
	_, ok := v.verified.find(context.Background(), v.cfg.Keys, sha256.Sum256([]byte(token)))
	return ok
}

func wantReason(t *testing.T, v *Verifier, token, audience, reason string) {
	t.Helper()
	if _, err := v.VerifyFor(t.Context(), token, audience); agentid.AsError(err).Reason != reason {
		t.Fatalf("want %s, got %v", reason, err)
	}
}

func TestRememberedTokenIsStillHeldAgainstAudienceAndTime(t *testing.T) {
	kit := newTokenKit(t)
	v, token := kit.remembering(t, kit.keys, 8), kit.changed(t, nil)
	first, err := v.Verify(t.Context(), token)
	if err != nil || !remembers(v, token) {
		t.Fatal("not verified, or not remembered:", err)
	}
	again, err := v.Verify(t.Context(), token)
	if err != nil || again.ID != first.ID || again.Audience != first.Audience {
		t.Fatal("remembered otherwise:", again, err)
	}
	wantReason(t, v, token, "https://another.example", ReasonAudience)
	kit.now = first.Expiry.Add(10 * time.Second)
	wantReason(t, v, token, audience, ReasonExpired)
	kit.now = first.IssuedAt.Add(-time.Minute)
	wantReason(t, v, token, audience, ReasonNotYetValid)
}

func TestRememberedTokenEndsWithItsKey(t *testing.T) {
	for name, end := range map[string]func(k keys, at string){
		"retired": func(k keys, at string) { delete(k, at) },
		"replaced": func(k keys, at string) {
			public, _, _ := ed25519.GenerateKey(rand.Reader)
			k[at] = jose.JSONWebKey{Key: public, KeyID: "ed", Algorithm: "EdDSA", Use: "sig"}
		},
		"for encryption": func(k keys, at string) {
			key := k[at]
			key.Use = "enc"
			k[at] = key
		},
		"empty": func(k keys, at string) { k[at] = jose.JSONWebKey{} },
	} {
		kit := newTokenKit(t)
		v, token := kit.remembering(t, kit.keys, 8), kit.changed(t, nil)
		claims, err := v.Verify(t.Context(), token)
		if err != nil || !remembers(v, token) {
			t.Fatal(name, err)
		}
		end(kit.keys, claims.Issuer+"#ed")
		if _, err := v.Verify(t.Context(), token); agentid.KindOf(err) != agentid.KindUnauthenticated {
			t.Fatalf("%s: want a refusal, got %v", name, err)
		}
	}
}

// downKeys has keys until it is down.
type downKeys struct {
	keys
	down bool
}

func (d *downKeys) Key(ctx context.Context, issuer, kid string) (jose.JSONWebKey, error) {
	if d.down {
		return jose.JSONWebKey{}, agentid.Unavailable("keys_unavailable", context.DeadlineExceeded)
	}
	return d.keys.Key(ctx, issuer, kid)
}

func TestRememberedTokenNeedsTheKeySource(t *testing.T) {
	kit := newTokenKit(t)
	source := &downKeys{keys: kit.keys}
	v, token := kit.remembering(t, source, 8), kit.changed(t, nil)
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	source.down = true
	if _, err := v.Verify(t.Context(), token); agentid.KindOf(err) != agentid.KindUnavailable {
		t.Fatalf("want unavailable, got %v", err)
	}
}

func TestRefusedTokensAreNotRemembered(t *testing.T) {
	kit := newTokenKit(t)
	v, token := kit.remembering(t, kit.keys, 8), kit.changed(t, nil)
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	dot := strings.LastIndexByte(token, '.')
	other := "A"
	if token[dot+1] == 'A' {
		other = "B"
	}
	for name, forged := range map[string]string{
		"signature": token[:dot+1] + other + token[dot+2:],
		"payload":   kit.changed(t, map[string]any{"jti": "another"})[:dot] + token[dot:],
		"longer":    token + strings.Repeat("A", MaxTokenBytes),
	} {
		for range 2 {
			if _, err := v.Verify(t.Context(), forged); err == nil {
				t.Fatal(name, "accepted")
			}
		}
		if remembers(v, forged) {
			t.Fatal(name, "remembered")
		}
	}
}

func TestRememberedTokensAreBounded(t *testing.T) {
	kit := newTokenKit(t)
	const size = 8
	v := kit.remembering(t, kit.keys, size)
	hot := kit.changed(t, nil)
	for i := range 20 * size {
		for _, token := range []string{hot, kit.changed(t, map[string]any{"jti": fmt.Sprint("bounded-", i)})} {
			if _, err := v.Verify(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(v.verified.newer) + len(v.verified.older); n > size {
			t.Fatalf("%d remembered, want at most %d", n, size)
		}
		if !remembers(v, hot) {
			t.Fatal("one in use was forgotten")
		}
	}
}
