package capability

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/jws"
)

// Bounds and defaults of a verifier.
const (
	MaxTokenBytes      = 16 << 10
	MaxSkew            = 30 * time.Second
	DefaultMaxLifetime = time.Hour
)

// The reason codes of a refused token, all KindUnauthenticated.
const (
	ReasonMalformed   = "token_malformed"
	ReasonType        = "token_type"
	ReasonIssuer      = "token_issuer"
	ReasonKey         = "token_key"
	ReasonSignature   = "token_signature"
	ReasonAudience    = "token_audience"
	ReasonExpired     = "token_expired"
	ReasonNotYetValid = "token_not_yet_valid"
	ReasonLifetime    = "token_lifetime"
)

// KeySource finds verification keys.
type KeySource interface {
	// Key gives the key of issuer with exactly this kid. KindNotFound refuses the
	// token; KindUnavailable passes through to the caller, who may retry; any other
	// error refuses the token. It must not fetch anything that issuer or kid name.
	Key(ctx context.Context, issuer, kid string) (jose.JSONWebKey, error)
}

// VerifierConfig says which tokens are accepted. Keys and Now are required, and
// Issuers, Base or both.
type VerifierConfig struct {
	Keys KeySource
	// Issuers are accepted byte for byte.
	Issuers []string
	// Base, where set, accepts <Base> and <Base>/<tenant> for every well-formed
	// tenant; the tenant of such an issuer must be the token's.
	Base string
	// Audience is the only accepted aud of Verify. Empty: use VerifyFor.
	Audience string
	// MaxLifetime bounds exp - iat; zero is DefaultMaxLifetime, which is also the most.
	MaxLifetime time.Duration
	// Skew is how far clocks may differ; zero is none, the most is MaxSkew.
	Skew time.Duration
	Now  func() time.Time
	// Cache is how many verified tokens are remembered, so that a signature is checked
	// once; zero is none. Their claims are shared and must not be changed.
	Cache int
	// Derive, where set, works out what the caller needs of a token, once for as long as
	// it is remembered: see VerifyToken. Its error refuses the token.
	Derive func(Claims) (any, error)
}

// Token is a token that was verified, with what Derive made of it. It is shared and must
// not be changed.
type Token struct {
	Claims  Claims
	Derived any
}

// Verifier checks capability tokens. It is safe for concurrent use.
type Verifier struct {
	cfg      VerifierConfig
	verified *verified
}

// NewVerifier checks the configuration: KindInvalid with the field at fault.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	switch {
	case cfg.Keys == nil:
		return nil, agentid.Invalidf("keys", "is required")
	case cfg.Now == nil:
		return nil, agentid.Invalidf("now", "is required")
	case len(cfg.Issuers) == 0 && cfg.Base == "" || slices.Contains(cfg.Issuers, "") || strings.HasSuffix(cfg.Base, "/"):
		return nil, agentid.Invalidf("issuers", "want issuers, or a base without a slash at its end")
	case cfg.MaxLifetime < 0 || cfg.MaxLifetime > DefaultMaxLifetime:
		return nil, agentid.Invalidf("max_lifetime", "want at most %s", DefaultMaxLifetime)
	case cfg.Skew < 0 || cfg.Skew > MaxSkew:
		return nil, agentid.Invalidf("skew", "want at most %s", MaxSkew)
	}
	if cfg.MaxLifetime == 0 {
		cfg.MaxLifetime = DefaultMaxLifetime
	}
	cfg.Issuers = slices.Clone(cfg.Issuers)
	return &Verifier{cfg: cfg, verified: newVerified(cfg.Cache)}, nil
}

var tokenPolicy = jws.Policy{
	Types:        []string{TokenType, "application/at+jwt"},
	Algorithms:   SigningAlgorithms(),
	MaxBytes:     MaxTokenBytes,
	Depth:        MaxLineage + 4, // act nests once for each agent
	RequireKeyID: true,
}

// Verify checks a token for the configured audience. It looks, in this order, at
// syntax and header, issuer, key, signature, claims, audience and time, so that
// nothing is told about a token that we did not sign. Every refusal is
// KindUnauthenticated with one of the reasons above; KindUnavailable if the keys
// cannot be had.
func (v *Verifier) Verify(ctx context.Context, compact string) (Claims, error) {
	return v.VerifyFor(ctx, compact, v.cfg.Audience)
}

// VerifyFor is Verify for one audience given by the caller. An empty audience
// refuses every token.
func (v *Verifier) VerifyFor(ctx context.Context, compact, audience string) (Claims, error) {
	token, err := v.VerifyToken(ctx, compact, audience)
	if err != nil {
		return Claims{}, err
	}
	return token.Claims, nil
}

// VerifyToken is VerifyFor with what Derive made of the token. One that is remembered is
// neither parsed nor derived again; its key, audience and time are looked at each time.
func (v *Verifier) VerifyToken(ctx context.Context, compact, audience string) (*Token, error) {
	token, err := v.signed(ctx, compact)
	if err != nil {
		return nil, err
	}
	if audience == "" || token.Claims.Audience != audience {
		return nil, refuse(ReasonAudience, "aud", nil)
	}
	if err := v.checkTime(&token.Claims); err != nil {
		return nil, err
	}
	return token, nil
}

// VerifyIssued is Verify without a look at the audience: for the broker that asks
// about its own tokens (introspection, revocation), never to allow an operation.
func (v *Verifier) VerifyIssued(ctx context.Context, compact string) (Claims, error) {
	token, err := v.VerifyIssuedToken(ctx, compact)
	if err != nil {
		return Claims{}, err
	}
	return token.Claims, nil
}

// VerifyIssuedToken is VerifyIssued with what Derive made of the token, as VerifyToken.
func (v *Verifier) VerifyIssuedToken(ctx context.Context, compact string) (*Token, error) {
	token, err := v.signed(ctx, compact)
	if err != nil {
		return nil, err
	}
	if err := v.checkTime(&token.Claims); err != nil {
		return nil, err
	}
	return token, nil
}

// signed does everything but audience and time.
func (v *Verifier) signed(ctx context.Context, compact string) (*Token, error) {
	var digest [sha256.Size]byte
	remember := len(compact) <= MaxTokenBytes && v.verified != nil
	if remember {
		digest = tokenDigest(compact)
		if token, ok := v.verified.find(ctx, v.cfg.Keys, digest); ok {
			return token, nil
		}
	}
	t, err := v.check(ctx, compact)
	if err != nil {
		return nil, err
	}
	if v.cfg.Derive != nil {
		if t.token.Derived, err = v.cfg.Derive(t.token.Claims); err != nil {
			return nil, refuse(ReasonMalformed, agentid.AsError(err).Field, err)
		}
	}
	if remember {
		v.verified.keep(digest, t)
	}
	return t.token, nil
}

// tokenDigest hashes a token; one of usual length costs no allocation.
func tokenDigest(compact string) [sha256.Size]byte {
	const usual = 2 << 10
	if len(compact) > usual {
		return sha256.Sum256([]byte(compact))
	}
	var room [usual]byte
	return sha256.Sum256(room[:copy(room[:], compact)])
}

// check is signed for a token that is not remembered.
func (v *Verifier) check(ctx context.Context, compact string) (verifiedToken, error) {
	message, err := jws.Parse(compact, tokenPolicy)
	if err != nil {
		return verifiedToken{}, refuseJWS(err)
	}
	issuer, _ := message.Hint("iss")
	tenant, ok := v.issuerTenant(issuer)
	if !ok {
		return verifiedToken{}, refuse(ReasonIssuer, "iss", nil)
	}
	kid := message.Header().KeyID
	key, err := v.cfg.Keys.Key(ctx, issuer, kid)
	if err != nil {
		if agentid.KindOf(err) == agentid.KindUnavailable {
			return verifiedToken{}, err
		}
		return verifiedToken{}, refuse(ReasonKey, "kid", err)
	}
	if key.KeyID != kid {
		return verifiedToken{}, refuse(ReasonKey, "kid", nil)
	}
	payload, err := message.Verify(key)
	if err != nil {
		return verifiedToken{}, refuseJWS(err)
	}
	claims, err := claimsFrom(payload)
	if err != nil {
		return verifiedToken{}, refuse(ReasonMalformed, agentid.AsError(err).Field, err)
	}
	if tenant != "" && claims.Context.Tenant != tenant {
		return verifiedToken{}, refuse(ReasonIssuer, "iss", nil)
	}
	return verifiedToken{token: &Token{Claims: claims}, issuer: issuer, kid: kid, key: key}, nil
}

// issuerTenant says whether an issuer is accepted, and for which tenant alone; empty
// for any.
func (v *Verifier) issuerTenant(issuer string) (tenant string, ok bool) {
	if issuer == "" {
		return "", false
	}
	if slices.Contains(v.cfg.Issuers, issuer) || issuer == v.cfg.Base {
		return "", true
	}
	tenant, ok = strings.CutPrefix(issuer, v.cfg.Base+"/")
	if !ok || v.cfg.Base == "" {
		return "", false
	}
	_, err := agentid.TenantRef(tenant)
	return tenant, err == nil
}

func (v *Verifier) checkTime(c *Claims) error {
	now := v.cfg.Now()
	switch {
	case c.Expiry.Sub(c.IssuedAt) > v.cfg.MaxLifetime:
		return refuse(ReasonLifetime, "exp", nil)
	case c.IssuedAt.After(now.Add(v.cfg.Skew)):
		return refuse(ReasonNotYetValid, "iat", nil)
	case c.NotBefore.After(now.Add(v.cfg.Skew)):
		return refuse(ReasonNotYetValid, "nbf", nil)
	case !now.Before(c.Expiry.Add(v.cfg.Skew)):
		return refuse(ReasonExpired, "exp", nil)
	}
	return nil
}

func refuse(reason, field string, cause error) *agentid.Error {
	return &agentid.Error{Kind: agentid.KindUnauthenticated, Reason: reason, Field: field, Message: "the token is not accepted", Cause: cause}
}

func refuseJWS(err error) error {
	reason, field := ReasonMalformed, ""
	var fault *jws.Error
	if errors.As(err, &fault) {
		switch fault.Fault {
		case jws.FaultMalformed:
		case jws.FaultType:
			reason, field = ReasonType, "typ"
		case jws.FaultAlgorithm:
			reason, field = ReasonMalformed, "alg"
		case jws.FaultKey:
			reason, field = ReasonKey, "kid"
		case jws.FaultSignature:
			reason = ReasonSignature
		}
	}
	return refuse(reason, field, err)
}
