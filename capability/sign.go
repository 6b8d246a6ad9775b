package capability

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
)

// SigningAlgorithms are those of our tokens: EdDSA by default, ES256 where a
// verifier needs it.
func SigningAlgorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256}
}

type wireClaims struct {
	Issuer       string        `json:"iss"`
	Subject      string        `json:"sub"`
	ClientID     string        `json:"client_id"`
	Audience     string        `json:"aud"`
	ID           string        `json:"jti"`
	Scope        string        `json:"scope"`
	IssuedAt     int64         `json:"iat"`
	NotBefore    int64         `json:"nbf,omitempty"`
	Expiry       int64         `json:"exp"`
	Actor        *Actor        `json:"act"`
	Capabilities []Capability  `json:"authorization_details"`
	Confirmation *Confirmation `json:"cnf,omitempty"`
	Context      Context       `json:"https://agentid.dev/claims/context"`
}

// MarshalJSON writes the payload of the token. Times are cut to whole seconds.
func (c Claims) MarshalJSON() ([]byte, error) {
	w := wireClaims{
		Issuer: c.Issuer, Subject: c.Subject, ClientID: c.ClientID, Audience: c.Audience, ID: c.ID, Scope: c.Scope,
		IssuedAt: c.IssuedAt.Unix(), Expiry: c.Expiry.Unix(), Actor: c.Actor, Capabilities: c.Capabilities, Context: c.Context,
	}
	if !c.NotBefore.IsZero() {
		w.NotBefore = c.NotBefore.Unix()
	}
	if !c.Confirmation.IsZero() {
		w.Confirmation = &c.Confirmation
	}
	return json.Marshal(w)
}

// Signer signs tokens with one key. It is safe for concurrent use.
type Signer struct {
	signer jose.Signer
	// The header, as go-jose writes it, and the key, where that is an Ed25519 key in memory:
	// its tokens differ in their payload alone. Else empty.
	header string
	key    ed25519.PrivateKey
}

// NewSigner prepares a key: EdDSA or ES256, a private jose.JSONWebKey or an
// OpaqueSigner with a kid, which verifiers look for. Anything else is refused with
// KindInvalid.
func NewSigner(key jose.SigningKey) (*Signer, error) {
	if !slices.Contains(SigningAlgorithms(), key.Algorithm) {
		return nil, agentid.Invalidf("alg", "want EdDSA or ES256")
	}
	if keyID(key.Key) == "" {
		return nil, agentid.Invalidf("kid", "the signing key has no kid")
	}
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType(TokenType))
	if err != nil {
		return nil, agentid.Invalidf("key", "is not a signing key").WithCause(err)
	}
	s := &Signer{signer: signer}
	if private, ok := ed25519Of(key); ok {
		signed, err := signer.Sign([]byte("{}"))
		if err != nil {
			return nil, agentid.Invalidf("key", "is not a signing key").WithCause(err)
		}
		sample, err := signed.CompactSerialize()
		if err != nil {
			return nil, agentid.Invalidf("key", "is not a signing key").WithCause(err)
		}
		s.header, _, _ = strings.Cut(sample, ".")
		s.key = private
	}
	return s, nil
}

func ed25519Of(key jose.SigningKey) (ed25519.PrivateKey, bool) {
	held := key.Key
	switch k := held.(type) {
	case jose.JSONWebKey:
		held = k.Key
	case *jose.JSONWebKey:
		held = k.Key
	}
	private, ok := held.(ed25519.PrivateKey)
	return private, ok && key.Algorithm == jose.EdDSA && len(private) == ed25519.PrivateKeySize
}

func keyID(key any) string {
	switch k := key.(type) {
	case jose.JSONWebKey:
		return k.KeyID
	case *jose.JSONWebKey:
		if k != nil {
			return k.KeyID
		}
	case jose.OpaqueSigner:
		if pub := k.Public(); pub != nil {
			return pub.KeyID
		}
	}
	return ""
}

// Sign validates the claims and gives the compact token, with typ at+jwt. Claims
// that Verify would refuse are KindInvalid with the claim as field.
func (s *Signer) Sign(claims Claims) (string, error) {
	claims.IssuedAt, claims.Expiry = claims.IssuedAt.Truncate(time.Second), claims.Expiry.Truncate(time.Second)
	if err := claims.Validate(); err != nil {
		return "", err
	}
	payload, err := claims.MarshalJSON()
	if err != nil {
		return "", agentid.Invalidf("claims", "cannot be written").WithCause(err)
	}
	if s.key != nil {
		return s.compact(payload), nil
	}
	signed, err := s.signer.Sign(payload)
	if err != nil {
		return "", agentid.Unavailable("signing_unavailable", err)
	}
	return signed.CompactSerialize()
}

// compact is a JWS in compact form (RFC 7515 section 7.1).
func (s *Signer) compact(payload []byte) string {
	encoding := base64.RawURLEncoding
	out := make([]byte, 0, len(s.header)+encoding.EncodedLen(len(payload))+encoding.EncodedLen(ed25519.SignatureSize)+2)
	out = append(append(out, s.header...), '.')
	out = encoding.AppendEncode(out, payload)
	signature := ed25519.Sign(s.key, out)
	return string(encoding.AppendEncode(append(out, '.'), signature))
}

// Sign is NewSigner and Signer.Sign in one.
func Sign(claims Claims, key jose.SigningKey) (string, error) {
	s, err := NewSigner(key)
	if err != nil {
		return "", err
	}
	return s.Sign(claims)
}
