package dpop

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/jws"
)

// Request is what a client proves its key for. Method, URL and Now are required.
type Request struct {
	Method      string
	URL         string // query and fragment are cut off
	AccessToken string // empty at the token endpoint
	Nonce       string // the server's latest, empty if it gave none
	ID          string // jti; empty: a random one
	Now         time.Time
}

// Signer makes proofs with one key. It is safe for concurrent use.
type Signer struct {
	signer     jose.Signer
	thumbprint string
}

// NewSigner prepares an Ed25519 or P-256 private key: a raw one or a JSONWebKey.
// Anything else is KindInvalid.
func NewSigner(key jose.SigningKey) (*Signer, error) {
	if !slices.Contains(Algorithms(), key.Algorithm) {
		return nil, agentid.Invalidf("alg", "want EdDSA or ES256")
	}
	private := jose.JSONWebKey{Key: key.Key}
	switch k := key.Key.(type) {
	case jose.JSONWebKey:
		private = k
	case *jose.JSONWebKey:
		private = *k
	}
	public := jose.JSONWebKey{Key: private.Public().Key}
	if err := jws.CheckKey(public, key.Algorithm); err != nil {
		return nil, agentid.Invalidf("key", "is not a private key for this algorithm").WithCause(err)
	}
	thumbprint, err := jws.Thumbprint(public)
	if err != nil {
		return nil, err
	}
	options := (&jose.SignerOptions{}).WithType("dpop+jwt").WithHeader("jwk", public)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: key.Algorithm, Key: private.Key}, options)
	if err != nil {
		return nil, agentid.Invalidf("key", "is not a signing key").WithCause(err)
	}
	return &Signer{signer, thumbprint}, nil
}

// Thumbprint is the key's RFC 7638 thumbprint: cnf.jkt of the tokens bound to it.
func (s *Signer) Thumbprint() string { return s.thumbprint }

// Sign gives the value of the DPoP header for one request.
func (s *Signer) Sign(r Request) (string, error) {
	target, err := normalURL(r.URL)
	if err != nil || r.Method == "" || r.Now.IsZero() {
		return "", agentid.Invalidf("request", "want method, absolute URL and time").WithCause(err)
	}
	claims := struct {
		ID     string `json:"jti"`
		Method string `json:"htm"`
		URL    string `json:"htu"`
		Issued int64  `json:"iat"`
		Hash   string `json:"ath,omitempty"`
		Nonce  string `json:"nonce,omitempty"`
	}{ID: r.ID, Method: r.Method, URL: target, Issued: r.Now.Unix(), Nonce: r.Nonce}
	if claims.ID == "" {
		claims.ID = rand.Text()
	}
	if r.AccessToken != "" {
		claims.Hash = accessTokenHash(r.AccessToken)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed, err := s.signer.Sign(payload)
	if err != nil {
		return "", agentid.Unavailable("signing_unavailable", err)
	}
	return signed.CompactSerialize()
}

// Sign is NewSigner and Signer.Sign in one.
func Sign(key jose.SigningKey, r Request) (string, error) {
	s, err := NewSigner(key)
	if err != nil {
		return "", err
	}
	return s.Sign(r)
}
