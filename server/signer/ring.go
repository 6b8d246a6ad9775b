package signer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
)

// State is where a key stands in its life. The zero State is none: such a key is
// neither published nor used.
type State int

// The states, in the order of a key's life.
const (
	StateStaged  State = iota + 1 // published, does not sign yet
	StateActive                   // published and signs; one at most
	StateRetired                  // signs no more; published until PublishedUntil
)

var stateNames = map[State]string{StateStaged: "staged", StateActive: "active", StateRetired: "retired"}

// String is the state's name: "staged", "active", "retired" or "none".
func (s State) String() string {
	if name, ok := stateNames[s]; ok {
		return name
	}
	return "none"
}

// ParseState reads what String wrote; anything else is the zero State.
func ParseState(name string) State {
	for s, n := range stateNames {
		if n == name {
			return s
		}
	}
	return 0
}

// Algorithms that keys can be made for. EdDSA is the default.
const (
	AlgorithmEdDSA = string(jose.EdDSA)
	AlgorithmES256 = string(jose.ES256)
)

// Info is what may be shown of a key.
type Info struct {
	ID             string // kid: the key's RFC 7638 thumbprint
	Algorithm      string
	State          State
	StagedAt       time.Time
	ActivatedAt    time.Time // zero while staged
	RetiredAt      time.Time // zero until retired
	PublishedUntil time.Time // zero until retired: the expiry of the last token it can have signed
}

// Key is a signing key with its private half, PKCS #8 in DER.
type Key struct {
	Info
	Private agentid.Secret
}

// ring is one immutable view of the keys.
type ring struct {
	infos  []Info
	public []jose.JSONWebKey // parallel to infos
	active *jose.SigningKey
}

func generate(algorithm string, now time.Time) (Key, error) {
	var private crypto.Signer
	var err error
	switch algorithm {
	case AlgorithmEdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case AlgorithmES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		return Key{}, agentid.Invalidf("algorithm", "want %s or %s", AlgorithmEdDSA, AlgorithmES256)
	}
	if err != nil {
		return Key{}, fmt.Errorf("generate a signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return Key{}, fmt.Errorf("encode a signing key: %w", err)
	}
	thumb, err := (&jose.JSONWebKey{Key: private.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return Key{}, fmt.Errorf("thumbprint of a signing key: %w", err)
	}
	return Key{
		Info: Info{
			ID: base64.RawURLEncoding.EncodeToString(thumb), Algorithm: algorithm,
			State: StateStaged, StagedAt: now,
		},
		Private: agentid.NewSecret(string(der)),
	}, nil
}

// newRing builds the view at now. A key that does not decode, or that does not match
// its algorithm, makes the whole view fail: guessing which key was meant is worse.
func newRing(keys []Key, now time.Time) (*ring, error) {
	r := &ring{}
	for _, k := range keys {
		if k.State != StateStaged && k.State != StateActive && k.State != StateRetired {
			return nil, fmt.Errorf("signing key %q has no state", k.ID)
		}
		if !k.published(now) {
			continue
		}
		private, public, err := decode(k)
		if err != nil {
			return nil, err
		}
		r.infos = append(r.infos, k.Info)
		r.public = append(r.public, public)
		if k.State != StateActive {
			continue
		}
		if r.active != nil {
			return nil, fmt.Errorf("two signing keys are active: %q and another", k.ID)
		}
		r.active = &jose.SigningKey{
			Algorithm: jose.SignatureAlgorithm(k.Algorithm),
			Key:       jose.JSONWebKey{Key: private, KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"},
		}
	}
	return r, nil
}

func decode(k Key) (crypto.Signer, jose.JSONWebKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey([]byte(k.Private.Reveal()))
	if err != nil {
		return nil, jose.JSONWebKey{}, fmt.Errorf("decode signing key %q: %w", k.ID, err)
	}
	var private crypto.Signer
	switch p := parsed.(type) {
	case ed25519.PrivateKey:
		if k.Algorithm == AlgorithmEdDSA {
			private = p
		}
	case *ecdsa.PrivateKey:
		if k.Algorithm == AlgorithmES256 && p.Curve == elliptic.P256() {
			private = p
		}
	}
	if private == nil {
		return nil, jose.JSONWebKey{}, fmt.Errorf("signing key %q is not a key for %q", k.ID, k.Algorithm)
	}
	return private, jose.JSONWebKey{Key: private.Public(), KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"}, nil
}
