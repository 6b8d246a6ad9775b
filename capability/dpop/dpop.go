// Package dpop proves and checks possession of a key (RFC 9449): the checks of
// section 4.3 for a server, and the proof for a client.
//
// It owns the proof's syntax, the comparison of URLs, server nonces and the memory
// of proofs seen (Guard). It reads no HTTP request: that there is exactly one DPoP
// header, and what the public URL of a request is, its caller knows.
package dpop

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/jws"
	"github.com/agentid-dev/agentid/capability/strictjson"
)

// Reason codes: the OAuth error codes of RFC 9449 sections 5 and 8.
const (
	ReasonInvalid  = "invalid_dpop_proof"
	ReasonUseNonce = "use_dpop_nonce"
)

// Window is how far iat may be from now, in either direction.
const Window = 60 * time.Second

const maxIDBytes = 256

// Algorithms are those of a proof, for dpop_signing_alg_values_supported.
func Algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256}
}

var policy = jws.Policy{Types: []string{"dpop+jwt"}, Algorithms: Algorithms(), EmbeddedKey: true}

// Expect is what the server knows of the request. Method, URL and Now are required.
type Expect struct {
	Method      string    // exact: "POST"
	URL         string    // the request's public URL; query and fragment do not count
	Now         time.Time // the server's time
	AccessToken string    // the token sent along; empty where there is none (token endpoint)
	Thumbprint  string    // cnf.jkt of that token; empty where there is none
}

// Proof is a proof that passed Verify. Its nonce and its id have yet to pass a Guard.
type Proof struct {
	JKT      string           // RFC 7638 thumbprint of the key
	Key      *jose.JSONWebKey // the public key
	ID       string           // jti
	Nonce    string           // empty: none
	IssuedAt time.Time
}

// Verify makes every check of RFC 9449 section 4.3 but the nonce and the replay,
// which are Guard.Check's. Unknown header parameters and claims are ignored, crit
// is not. Where an access token is expected without a thumbprint, or the other way
// round, the proof is refused. Errors are KindUnauthenticated, reason
// invalid_dpop_proof, the field at fault named.
func Verify(proof string, expect Expect) (Proof, error) {
	if expect.Method == "" || expect.URL == "" || expect.Now.IsZero() || (expect.AccessToken == "") != (expect.Thumbprint == "") {
		return Proof{}, agentid.Errorf(agentid.KindInternal, "internal", "a DPoP proof was checked against an incomplete request")
	}
	message, err := jws.Parse(proof, policy)
	if err != nil {
		return Proof{}, invalid(field(err)).WithCause(err)
	}
	key := message.Header().Key
	claims, err := message.Verify(key)
	if err != nil {
		return Proof{}, invalid(field(err)).WithCause(err)
	}
	thumbprint, err := jws.Thumbprint(key)
	if err != nil {
		return Proof{}, invalid("jwk").WithCause(err)
	}
	p := Proof{JKT: thumbprint, Key: &key}
	if expect.Thumbprint != "" && !same(expect.Thumbprint, thumbprint) {
		return Proof{}, invalid("jwk")
	}
	if p.ID, _ = claims.Get("jti").Text(); p.ID == "" || len(p.ID) > maxIDBytes {
		return Proof{}, invalid("jti")
	}
	if method, _ := claims.Get("htm").Text(); method != expect.Method {
		return Proof{}, invalid("htm")
	}
	if err := checkURL(claims.Get("htu"), expect.URL); err != nil {
		return Proof{}, err
	}
	issued, err := claims.Get("iat").Integer()
	if err != nil {
		return Proof{}, invalid("iat").WithCause(err)
	}
	p.IssuedAt = time.Unix(issued, 0)
	if age := expect.Now.Sub(p.IssuedAt); age > Window || age < -Window {
		return Proof{}, invalid("iat")
	}
	if err := p.checkRest(claims, expect); err != nil {
		return Proof{}, err
	}
	return p, nil
}

func (p *Proof) checkRest(claims strictjson.Value, expect Expect) error {
	if nonce := claims.Get("nonce"); nonce.Kind() != strictjson.Invalid {
		var ok bool
		if p.Nonce, ok = nonce.Text(); !ok || p.Nonce == "" || len(p.Nonce) > maxIDBytes {
			return invalid("nonce")
		}
	}
	if expect.AccessToken == "" {
		return nil
	}
	if hash, _ := claims.Get("ath").Text(); !same(hash, accessTokenHash(expect.AccessToken)) {
		return invalid("ath")
	}
	return nil
}

// accessTokenHash is the ath claim: SHA-256 of the token's text, in base64url.
func accessTokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func invalid(field string) *agentid.Error {
	return &agentid.Error{Kind: agentid.KindUnauthenticated, Reason: ReasonInvalid, Field: field, Message: "the DPoP proof is not accepted"}
}

// field names the part of the header that a jws.Error is about.
func field(err error) string {
	var fault *jws.Error
	if !errors.As(err, &fault) {
		return ""
	}
	switch fault.Fault {
	case jws.FaultType:
		return "typ"
	case jws.FaultAlgorithm:
		return "alg"
	case jws.FaultKey:
		return "jwk"
	case jws.FaultSignature:
		return "signature"
	case jws.FaultMalformed:
	}
	return ""
}
