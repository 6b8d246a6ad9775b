package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/jws"
	"github.com/agentid-dev/agentid/capability/strictjson"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/keyset"
)

// The token types that are taken as subject tokens (RFC 8693 section 3).
const (
	TypeIDToken     = "urn:ietf:params:oauth:token-type:id_token"     //nolint:gosec // an identifier
	TypeAccessToken = "urn:ietf:params:oauth:token-type:access_token" //nolint:gosec // an identifier
	TypeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

// verified adapts a payload whose signature was checked to go-oidc's KeySet.
type verified []byte

func (v verified) VerifySignature(context.Context, string) ([]byte, error) { return v, nil }

// errNonce marks an ID token of another sign-in than the one that is under way.
var errNonce = errors.New("the nonce is not that of this sign-in")

// idToken checks an ID token (OpenID Connect Core section 3.1.3.7). nonce is what this
// sign-in sent; empty for a token that is presented. accepted are the audiences that it
// may have: every one that it has must be among them.
func (p *Provider) idToken(ctx context.Context, raw, nonce string, accepted []string) (Person, *federation.Trace, error) {
	trace := &federation.Trace{}
	v, err := p.signed(ctx, raw, keyset.Policy(), trace)
	if err != nil {
		return Person{}, trace, err
	}
	now := p.cfg.Now()
	algorithm := string(v.Header.Algorithm)
	check := oidc.NewVerifier(p.cfg.Issuer, verified(v.Payload), &oidc.Config{
		SkipClientIDCheck: true, SupportedSigningAlgs: []string{algorithm, "Ed25519"}, Now: func() time.Time { return now },
	})
	audience, err := audienceOf(v.Claims, accepted)
	if err != nil {
		return Person{}, trace, trace.Fail(federation.StepAudience, err)
	}
	if err := authorizedParty(v.Claims, accepted); err != nil {
		return Person{}, trace, trace.Fail(federation.StepAudience, err)
	}
	trace.Pass(federation.StepAudience, audience)
	token, err := check.Verify(ctx, raw)
	if err != nil {
		return Person{}, trace, trace.Fail(federation.StepTime, federation.Refuse(federation.ReasonExpired, "exp", "the ID token is not valid now", err))
	}
	if err := times(v.Claims, now); err != nil {
		return Person{}, trace, trace.Fail(federation.StepTime, err)
	}
	if nonce != "" && subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(nonce)) != 1 {
		return Person{}, trace, trace.Fail(federation.StepClaims, federation.Refuse(federation.ReasonClaim, "nonce", "the ID token is of another sign-in", errNonce))
	}
	trace.Pass(federation.StepTime, "expires "+token.Expiry.UTC().Format(time.RFC3339))
	person, err := p.person(v.Claims, audience, trace)
	return person, trace, err
}

// signed checks signature and exact issuer.
func (p *Provider) signed(ctx context.Context, raw string, policy jws.Policy, trace *federation.Trace) (keyset.Verified, error) {
	v, err := p.keys.Verify(ctx, raw, policy)
	if err != nil {
		return v, trace.Fail(stepOf(err), err)
	}
	trace.Pass(federation.StepSignature, "by key "+v.Key.KeyID)
	if issuer, _ := v.Claims.Get("iss").Text(); issuer != p.cfg.Issuer {
		return v, trace.Fail(federation.StepIssuer, federation.Refuse(federation.ReasonIssuer, "iss", "the token is of another issuer than the one whose key it has", nil))
	}
	trace.Pass(federation.StepIssuer, p.cfg.Issuer)
	return v, nil
}

// stepOf is the step at which the keys' refusal stands.
func stepOf(err error) federation.Step {
	switch agentid.ReasonOf(err) {
	case keyset.ReasonKey, keyset.ReasonUnavailable:
		return federation.StepKey
	case keyset.ReasonSignature:
		return federation.StepSignature
	default:
		return federation.StepToken
	}
}

// audienceOf wants at least one audience, and each of them accepted: a token that is for
// somebody else too can be replayed by them.
func audienceOf(v strictjson.Value, accepted []string) (string, error) {
	var have []string
	if text, ok := v.Get("aud").Text(); ok {
		have = []string{text}
	} else if items, ok := v.Get("aud").Items(); ok {
		for _, item := range items {
			text, _ := item.Text()
			have = append(have, text)
		}
	}
	if len(have) == 0 || slices.ContainsFunc(have, func(a string) bool { return !slices.Contains(accepted, a) }) {
		return "", federation.Refuse(federation.ReasonAudience, "aud", "the token is not for us alone", nil)
	}
	return have[0], nil
}

// authorizedParty holds azp, where it is, to the accepted audiences.
func authorizedParty(v strictjson.Value, accepted []string) error {
	azp := v.Get("azp")
	if azp.Kind() == strictjson.Invalid {
		return nil
	}
	if text, _ := azp.Text(); !slices.Contains(accepted, text) {
		return federation.Refuse(federation.ReasonAudience, "azp", "the token was issued to another party", nil)
	}
	return nil
}

// times wants exp and iat, and a token that is valid now: exp in the future, iat and nbf
// not beyond the clocks' difference.
func times(v strictjson.Value, now time.Time) error {
	issued, expires, before := seconds(v, "iat"), seconds(v, "exp"), seconds(v, "nbf")
	switch {
	case expires.IsZero() || !expires.After(now):
		return federation.Refuse(federation.ReasonExpired, "exp", "is missing or has passed", nil)
	case issued.IsZero() || issued.After(now.Add(federation.Skew)) || !expires.After(issued):
		return federation.Refuse(federation.ReasonExpired, "iat", "is missing or not yet", nil)
	case v.Get("nbf").Kind() != strictjson.Invalid && (before.IsZero() || before.After(now.Add(federation.Skew))):
		return federation.Refuse(federation.ReasonExpired, "nbf", "is not yet", nil)
	}
	return nil
}

// Present verifies a token that a caller presents as a subject token: an ID token for us,
// or a JWT access token (RFC 9068) for one of the accepted audiences. The Trace holds the
// steps up to the one that failed.
func (p *Provider) Present(ctx context.Context, raw, tokenType string) (Person, *federation.Trace, error) {
	accepted := append([]string{p.cfg.ClientID}, p.cfg.Audiences...)
	switch tokenType {
	case TypeIDToken:
		return p.idToken(ctx, raw, "", accepted)
	case TypeAccessToken, TypeJWT:
		return p.accessToken(ctx, raw, accepted)
	}
	return Person{}, &federation.Trace{}, agentid.Invalidf("subject_token_type", "want %s or %s", TypeIDToken, TypeAccessToken)
}

// accessToken checks a JWT access token (RFC 9068 section 4).
func (p *Provider) accessToken(ctx context.Context, raw string, accepted []string) (Person, *federation.Trace, error) {
	trace := &federation.Trace{}
	policy := keyset.Policy()
	policy.Types = []string{"at+jwt", "application/at+jwt"}
	v, err := p.signed(ctx, raw, policy, trace)
	if err != nil {
		return Person{}, trace, err
	}
	audience, err := audienceOf(v.Claims, accepted)
	if err != nil {
		return Person{}, trace, trace.Fail(federation.StepAudience, err)
	}
	trace.Pass(federation.StepAudience, audience)
	if err := times(v.Claims, p.cfg.Now()); err != nil {
		return Person{}, trace, trace.Fail(federation.StepTime, err)
	}
	trace.Pass(federation.StepTime, "expires "+seconds(v.Claims, "exp").Format(time.RFC3339))
	client, _ := v.Claims.Get("client_id").Text()
	subject, _ := v.Claims.Get("sub").Text()
	if client == "" || client == subject { // RFC 9068 section 5: one for a client names no person
		return Person{}, trace, trace.Fail(federation.StepClaims, federation.Refuse(federation.ReasonClaim, "client_id", "the access token is not of a person", nil))
	}
	person, err := p.person(v.Claims, audience, trace)
	return person, trace, err
}

// Verify implements federation.Source: an ID token for one of presented.Audiences, or for
// us where there are none.
func (p *Provider) Verify(ctx context.Context, presented federation.Presented) (federation.Identity, *federation.Trace, error) {
	accepted := presented.Audiences
	if len(accepted) == 0 {
		accepted = []string{p.cfg.ClientID}
	}
	person, trace, err := p.idToken(ctx, presented.Token, "", accepted)
	return person.Identity, trace, err
}
