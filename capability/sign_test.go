package capability

import (
	"encoding/json"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// TestSignedAsGoJoseSigns: an Ed25519 token is, byte for byte, what go-jose makes of the
// same claims; any other key is signed with by go-jose itself.
func TestSignedAsGoJoseSigns(t *testing.T) {
	kit := newTokenKit(t)
	claims := goodClaims(t)
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(kit.ed, (&jose.SignerOptions{}).WithType(TokenType))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	want, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		have, err := Sign(claims, kit.ed)
		if err != nil || have != want {
			t.Fatalf("%v: have %s\nwant %s", err, have, want)
		}
	}
	other, err := NewSigner(kit.ec)
	if err != nil || other.key != nil {
		t.Fatalf("%v: a P-256 key is not one of Ed25519", err)
	}
}

// TestAnEd25519KeyOfAnotherAlgorithmIsRefused: the algorithm is not guessed from the key.
func TestAnEd25519KeyOfAnotherAlgorithmIsRefused(t *testing.T) {
	kit := newTokenKit(t)
	for _, alg := range []jose.SignatureAlgorithm{jose.ES256, jose.RS256, ""} {
		key := kit.ed
		key.Algorithm = alg
		if _, err := Sign(goodClaims(t), key); err == nil {
			t.Fatalf("signed as %q", alg)
		}
	}
}
