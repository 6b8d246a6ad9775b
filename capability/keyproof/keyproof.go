// Package keyproof makes and checks proofs that somebody holds the private half of a
// key: a JWT signed by that key, which an agent's new key needs at spawn and at rotation.
//
// It owns what a proof must say and which keys an agent may have. That a key is used by
// one agent only is the ledger's; a proof seen twice is for a key that is taken.
package keyproof

import (
	"encoding/json"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/jws"
)

// Type is the typ of a proof.
const Type = "agentid-key-proof+jwt"

// Bounds on time, as for client assertions.
const (
	MaxLifetime = 5 * time.Minute
	Skew        = 30 * time.Second
)

// Reason codes, KindInvalid.
const (
	ReasonForbidden = "key_forbidden"
	ReasonProof     = "key_proof_invalid"
)

// Algorithms are those of an agent's key: Ed25519 and P-256.
func Algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256}
}

// ParseKey reads an agent's public JWK: KindInvalid key_forbidden for a private key, a
// weak one, and one of another kind or size than an agent may have.
func ParseKey(raw []byte) (jose.JSONWebKey, error) {
	key, err := jws.ParseKey(raw)
	if err != nil {
		return key, forbidden(err)
	}
	for _, alg := range Algorithms() {
		if err = jws.CheckKey(key, alg); err == nil {
			return key, nil
		}
	}
	return key, forbidden(err)
}

func forbidden(cause error) error {
	return agentid.Errorf(agentid.KindInvalid, ReasonForbidden, "want a public Ed25519 or P-256 JWK").WithField("key").WithCause(cause)
}

// Claims are what a proof is for.
type Claims struct {
	Issuer  string      // of the broker: the sole audience
	Subject agentid.Ref // who takes the key in: the parent at spawn, the agent at rotation
}

type payload struct {
	Audience   string `json:"aud"`
	Subject    string `json:"sub"`
	Thumbprint string `json:"jkt"`
	IssuedAt   int64  `json:"iat"`
	Expiry     int64  `json:"exp"`
}

// Sign makes a proof that is good for a minute. The key is an Ed25519 or P-256 private
// key, raw or as a JSONWebKey.
func Sign(key jose.SigningKey, c Claims, now time.Time) (string, error) {
	private := jose.JSONWebKey{Key: key.Key}
	switch k := key.Key.(type) {
	case jose.JSONWebKey:
		private = k
	case *jose.JSONWebKey:
		private = *k
	}
	if c.Issuer == "" || c.Subject.IsZero() || now.IsZero() {
		return "", agentid.Invalidf("claims", "want issuer, subject and time")
	}
	thumbprint, err := jws.Thumbprint(jose.JSONWebKey{Key: private.Public().Key})
	if err != nil {
		return "", agentid.Invalidf("key", "is not a private key").WithCause(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: key.Algorithm, Key: private.Key}, (&jose.SignerOptions{}).WithType(Type))
	if err != nil {
		return "", agentid.Invalidf("key", "is not a signing key").WithCause(err)
	}
	body, err := json.Marshal(payload{c.Issuer, c.Subject.String(), thumbprint, now.Unix(), now.Add(time.Minute).Unix()})
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(body)
	if err != nil {
		return "", agentid.Unavailable("signing_unavailable", err)
	}
	return signed.CompactSerialize()
}

// Verify checks that the proof is by the key, for this issuer and subject, and of now.
// Errors are KindInvalid key_proof_invalid, and name the claim at fault.
func Verify(proof string, key jose.JSONWebKey, want Claims, now time.Time) error {
	if want.Issuer == "" || want.Subject.IsZero() || now.IsZero() {
		return agentid.Errorf(agentid.KindInternal, "internal", "a key proof was checked against nothing")
	}
	message, err := jws.Parse(proof, jws.Policy{Types: []string{Type}, Algorithms: Algorithms()})
	if err != nil {
		return refuse("key_proof", err)
	}
	claims, err := message.Verify(key)
	if err != nil {
		return refuse("key_proof", err)
	}
	thumbprint, err := jws.Thumbprint(key)
	if err != nil {
		return refuse("key", err)
	}
	for _, c := range []struct{ name, want string }{{"aud", want.Issuer}, {"sub", want.Subject.String()}, {"jkt", thumbprint}} {
		if have, ok := claims.Get(c.name).Text(); !ok || have != c.want {
			return refuse("key_proof."+c.name, nil)
		}
	}
	issued, err := claims.Get("iat").Integer()
	if err != nil || time.Unix(issued, 0).After(now.Add(Skew)) {
		return refuse("key_proof.iat", err)
	}
	expiry, err := claims.Get("exp").Integer()
	if err != nil || !now.Before(time.Unix(expiry, 0).Add(Skew)) || time.Unix(expiry, 0).Sub(now) > MaxLifetime+Skew {
		return refuse("key_proof.exp", err)
	}
	return nil
}

func refuse(field string, cause error) error {
	return &agentid.Error{Kind: agentid.KindInvalid, Reason: ReasonProof, Field: field, Message: "the proof of the key is not accepted", Cause: cause}
}
