// Package clientauth makes and checks client assertions for private_key_jwt (RFC
// 7523 section 3, with the audience rule of draft-ietf-oauth-rfc7523bis).
//
// It owns what an assertion must say. Whose key it is, whether the client may
// authenticate at all, and that a jti is used once, are its caller's to decide.
package clientauth

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/jws"
	"github.com/agentid-dev/agentid/capability/strictjson"
)

// AssertionType is the client_assertion_type parameter.
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Type is the typ of the assertions that Sign makes.
const Type = "client-authentication+jwt"

// Bounds on time. exp may be at most MaxLifetime ahead; clocks may differ by Skew.
const (
	MaxLifetime = 5 * time.Minute
	Skew        = 30 * time.Second
)

const (
	maxIDBytes     = 256
	maxClientBytes = 512
)

// Reason codes, all KindUnauthenticated; the OAuth error is invalid_client.
const (
	ReasonMalformed = "client_assertion_malformed"
	ReasonKey       = "client_assertion_key"
	ReasonSignature = "client_assertion_signature"
	ReasonClient    = "client_assertion_client"
	ReasonAudience  = "client_assertion_audience"
	ReasonExpired   = "client_assertion_expired"
)

// Algorithms are those of an assertion, for
// token_endpoint_auth_signing_alg_values_supported.
func Algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256}
}

var policy = jws.Policy{Types: []string{Type, "JWT", ""}, Algorithms: Algorithms()}

// KeyFunc gives the key of a client. The kid is empty where the assertion has none;
// else the key must be the one of exactly that kid. KindUnavailable passes through
// to the caller of Verify; any other error refuses the assertion. It must not fetch
// anything that the client id or the kid name.
type KeyFunc func(ctx context.Context, clientID, kid string) (jose.JSONWebKey, error)

// Expect is what the server demands. Issuer, Keys and Now are required.
type Expect struct {
	Issuer   string // the server's issuer identifier: the sole accepted audience
	ClientID string // the client_id parameter; empty: not sent
	Keys     KeyFunc
	Now      time.Time
}

// Assertion is an accepted assertion. Its id has yet to be checked for replay, until
// Expiry plus Skew.
type Assertion struct {
	ClientID string
	ID       string
	IssuedAt time.Time // zero: iat was absent
	Expiry   time.Time
}

// Verify checks an assertion: typ client-authentication+jwt, JWT or none; iss and
// sub the client; aud this issuer alone, as a string or a list of one; exp present,
// not past, at most MaxLifetime ahead; jti present; nbf and iat not in the future.
// The signature is checked before any of the claims. Errors are KindUnauthenticated
// with one of the reasons above, or KindUnavailable from Keys.
func Verify(ctx context.Context, assertion string, expect Expect) (Assertion, error) {
	if expect.Issuer == "" || expect.Keys == nil || expect.Now.IsZero() {
		return Assertion{}, agentid.Errorf(agentid.KindInternal, "internal", "a client assertion was checked against nothing")
	}
	message, err := jws.Parse(assertion, policy)
	if err != nil {
		return Assertion{}, refuseJWS(err)
	}
	client, _ := message.Hint("iss")
	if sub, _ := message.Hint("sub"); client == "" || len(client) > maxClientBytes || sub != client {
		return Assertion{}, refuse(ReasonClient, "sub", nil)
	}
	if expect.ClientID != "" && expect.ClientID != client {
		return Assertion{}, refuse(ReasonClient, "client_id", nil)
	}
	key, err := expect.Keys(ctx, client, message.Header().KeyID)
	if err != nil {
		if agentid.KindOf(err) == agentid.KindUnavailable {
			return Assertion{}, err
		}
		return Assertion{}, refuse(ReasonKey, "kid", err)
	}
	claims, err := message.Verify(key)
	if err != nil {
		return Assertion{}, refuseJWS(err)
	}
	if !soleAudience(claims.Get("aud"), expect.Issuer) {
		return Assertion{}, refuse(ReasonAudience, "aud", nil)
	}
	a := Assertion{ClientID: client}
	if a.ID, _ = claims.Get("jti").Text(); a.ID == "" || len(a.ID) > maxIDBytes {
		return Assertion{}, refuse(ReasonMalformed, "jti", nil)
	}
	if err := a.checkTime(claims, expect.Now); err != nil {
		return Assertion{}, err
	}
	return a, nil
}

func (a *Assertion) checkTime(claims strictjson.Value, now time.Time) error {
	expiry, err := claims.Get("exp").Integer()
	if err != nil {
		return refuse(ReasonMalformed, "exp", err)
	}
	a.Expiry = time.Unix(expiry, 0)
	if !now.Before(a.Expiry.Add(Skew)) || a.Expiry.Sub(now) > MaxLifetime+Skew {
		return refuse(ReasonExpired, "exp", nil)
	}
	for _, name := range []string{"nbf", "iat"} {
		v := claims.Get(name)
		if v.Kind() == strictjson.Invalid {
			continue
		}
		n, err := v.Integer()
		if err != nil {
			return refuse(ReasonMalformed, name, err)
		}
		at := time.Unix(n, 0)
		if at.After(now.Add(Skew)) {
			return refuse(ReasonExpired, name, nil)
		}
		if name == "iat" {
			a.IssuedAt = at
		}
	}
	return nil
}

// soleAudience compares byte for byte. A second audience would let another server
// replay the assertion here.
func soleAudience(v strictjson.Value, want string) bool {
	if items, ok := v.Items(); ok {
		if len(items) != 1 {
			return false
		}
		v = items[0]
	}
	text, ok := v.Text()
	return ok && text == want
}

func refuse(reason, field string, cause error) *agentid.Error {
	return &agentid.Error{Kind: agentid.KindUnauthenticated, Reason: reason, Field: field, Message: "the client assertion is not accepted", Cause: cause}
}

func refuseJWS(err error) error {
	reason := ReasonMalformed
	var fault *jws.Error
	if errors.As(err, &fault) {
		switch fault.Fault {
		case jws.FaultKey:
			reason = ReasonKey
		case jws.FaultSignature:
			reason = ReasonSignature
		case jws.FaultMalformed, jws.FaultType, jws.FaultAlgorithm:
		}
	}
	return refuse(reason, "client_assertion", err)
}

// Request is what a client signs an assertion for. ClientID, Issuer and Now are
// required.
type Request struct {
	ClientID string
	Issuer   string        // the server's issuer identifier, not its token endpoint
	ID       string        // jti; empty: a random one
	Lifetime time.Duration // zero: one minute; at most MaxLifetime
	Now      time.Time
}

// Sign makes an assertion with an Ed25519 or P-256 key. A JSONWebKey with a kid puts
// that into the header.
func Sign(key jose.SigningKey, r Request) (string, error) {
	if r.Lifetime == 0 {
		r.Lifetime = time.Minute
	}
	if r.ClientID == "" || r.Issuer == "" || r.Now.IsZero() || r.Lifetime < 0 || r.Lifetime > MaxLifetime {
		return "", agentid.Invalidf("request", "want client id, issuer, time and a lifetime of at most %s", MaxLifetime)
	}
	if r.ID == "" {
		r.ID = rand.Text()
	}
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType(Type))
	if err != nil {
		return "", agentid.Invalidf("key", "is not a signing key").WithCause(err)
	}
	payload, err := json.Marshal(struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Audience string `json:"aud"`
		ID       string `json:"jti"`
		IssuedAt int64  `json:"iat"`
		Expiry   int64  `json:"exp"`
	}{r.ClientID, r.ClientID, r.Issuer, r.ID, r.Now.Unix(), r.Now.Add(r.Lifetime).Unix()})
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", agentid.Unavailable("signing_unavailable", err)
	}
	return signed.CompactSerialize()
}
