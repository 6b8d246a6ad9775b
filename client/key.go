package client

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
)

const (
	keyFileMode   = 0o600
	othersMayRead = 0o077
)

// Key is an agent's private key. Its id is its RFC 7638 thumbprint.
type Key struct{ jwk jose.JSONWebKey }

// GenerateKey makes a key for "EdDSA" (Ed25519) or "ES256" (P-256).
func GenerateKey(algorithm string) (Key, error) {
	switch jose.SignatureAlgorithm(algorithm) {
	case jose.EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return Key{}, fmt.Errorf("generate key: %w", err)
		}
		return newKey(private, jose.EdDSA)
	case jose.ES256:
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return Key{}, fmt.Errorf("generate key: %w", err)
		}
		return newKey(private, jose.ES256)
	default:
		return Key{}, agentid.Invalidf("alg", "want EdDSA or ES256")
	}
}

func newKey(private any, algorithm jose.SignatureAlgorithm) (Key, error) {
	k := Key{jose.JSONWebKey{Key: private, Algorithm: string(algorithm), Use: "sig"}}
	thumb, err := k.jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return Key{}, fmt.Errorf("thumbprint: %w", err)
	}
	k.jwk.KeyID = base64.RawURLEncoding.EncodeToString(thumb)
	return k, nil
}

// ParseKey reads a private JWK. A public or symmetric key is refused, and so is any
// algorithm but EdDSA and ES256. The text is never repeated in an error.
func ParseKey(text agentid.Secret) (Key, error) {
	var jwk jose.JSONWebKey
	if err := json.Unmarshal([]byte(text.Reveal()), &jwk); err != nil || !jwk.Valid() {
		return Key{}, agentid.Invalidf("key", "is not a JSON Web Key")
	}
	switch private := jwk.Key.(type) {
	case ed25519.PrivateKey:
		return newKey(private, jose.EdDSA)
	case *ecdsa.PrivateKey:
		if private.Curve == elliptic.P256() {
			return newKey(private, jose.ES256)
		}
	}
	return Key{}, agentid.Invalidf("key", "must be a private Ed25519 or P-256 key")
}

// LoadKey reads a private JWK from a file that only its owner may read.
func LoadKey(path string) (Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Key{}, fmt.Errorf("key file: %w", err)
	}
	if info.Mode().Perm()&othersMayRead != 0 {
		return Key{}, agentid.Invalidf("key", "%s: mode is %#o; a key's file must be readable by its owner only (chmod 600)", path, info.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Key{}, fmt.Errorf("key file: %w", err)
	}
	return ParseKey(agentid.NewSecret(string(data)))
}

// Save writes the private JWK to a new file of mode 0600. A file that exists is not
// overwritten.
func (k Key) Save(path string) error {
	data, err := json.Marshal(k.jwk)
	if err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	return writeNew(path, append(data, '\n'))
}

// Public is the public JWK, to be registered.
func (k Key) Public() json.RawMessage {
	data, err := json.Marshal(k.jwk.Public())
	if err != nil {
		return nil // a key that newKey took has a public half that encodes
	}
	return data
}

// ID is the key's RFC 7638 thumbprint, in base64url.
func (k Key) ID() string { return k.jwk.KeyID }

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k.jwk.Key == nil }

// Algorithm is "EdDSA" or "ES256".
func (k Key) Algorithm() jose.SignatureAlgorithm { return jose.SignatureAlgorithm(k.jwk.Algorithm) }

// Format keeps the key out of every print and log.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("key " + k.jwk.KeyID)) }

// signing is the key as signers take it.
func (k Key) signing() jose.SigningKey { return jose.SigningKey{Algorithm: k.Algorithm(), Key: k.jwk} }

// writeNew writes a new file of mode 0600, on disk before it returns. A file
// that exists is an error that wraps fs.ErrExist.
func writeNew(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, keyFileMode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists and is not overwritten: %w", path, err)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("write %s: %w", filepath.Base(path), cerr)
		}
	}()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return f.Sync() //nolint:wrapcheck // names the file already
}
