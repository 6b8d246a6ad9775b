package oidc

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/keyset"
)

// Reasons of a sign-in that came to nothing.
const (
	ReasonMixUp   = "issuer_mismatch"       // iss of the response is missing or another (RFC 9207)
	ReasonCode    = "code_refused"          // the provider does not take the code
	ReasonRefresh = "refresh_token_refused" // the provider does not take the refresh token
	ReasonNoToken = "id_token_missing"
)

// Attempt is what one sign-in sends, and what its answer is held against.
type Attempt struct {
	State, Nonce string
	Verifier     string // PKCE (RFC 7636), of this sign-in alone
	RedirectURI  string
}

// NewVerifier makes a PKCE verifier of 256 bits.
func NewVerifier() string { return oauth2.GenerateVerifier() }

// AuthorizationURL is where the person's browser goes.
func (p *Provider) AuthorizationURL(a Attempt) string {
	c := p.code
	c.RedirectURL = a.RedirectURI
	return c.AuthCodeURL(a.State, oauth2.S256ChallengeOption(a.Verifier), oidc.Nonce(a.Nonce))
}

// CheckIssuer holds the iss parameter of an authorization response against the provider
// (RFC 9207 section 2.4): another one is refused, and a missing one where the provider
// says that it sends it. KindUnauthenticated ReasonMixUp.
func (p *Provider) CheckIssuer(iss string, given bool) error {
	if given && iss != p.cfg.Issuer || !given && p.sendsIss {
		return federation.Refuse(ReasonMixUp, "iss", "the answer is of another identity provider than the one that was asked", nil)
	}
	return nil
}

// SignIn is what a sign-in came to.
type SignIn struct {
	Person  Person
	Refresh agentid.Secret // the provider's refresh token, where it gave one
}

// Redeem exchanges the code of an answer and verifies the ID token that comes of it.
func (p *Provider) Redeem(ctx context.Context, a Attempt, code string) (SignIn, *federation.Trace, error) {
	c := p.code
	c.RedirectURL = a.RedirectURI
	token, err := c.Exchange(p.with(ctx), code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return SignIn{}, nil, exchangeError(err, ReasonCode)
	}
	return p.complete(ctx, token, a.Nonce)
}

// Renew asks the provider again who the person of a refresh token is. subject is whom it
// must be. KindUnauthenticated ReasonRefresh: the provider does not know the person's
// session any more.
func (p *Provider) Renew(ctx context.Context, refresh agentid.Secret, subject string) (SignIn, *federation.Trace, error) {
	expired := &oauth2.Token{RefreshToken: refresh.Reveal(), Expiry: time.Unix(1, 0)}
	token, err := p.code.TokenSource(p.with(ctx), expired).Token()
	if err != nil {
		return SignIn{}, nil, exchangeError(err, ReasonRefresh)
	}
	out, trace, err := p.complete(ctx, token, "")
	if err == nil && out.Person.Identity.Subject != subject {
		err = trace.Fail(federation.StepPrincipal, federation.Refuse(federation.ReasonClaim, "sub", "the refresh token is of another person", nil))
	}
	return out, trace, err
}

// complete verifies the ID token of a token response and, where it leaves the groups or
// the verified address out, asks the userinfo endpoint, whose subject must be the same
// (OpenID Connect Core section 5.3.2).
func (p *Provider) complete(ctx context.Context, token *oauth2.Token, nonce string) (SignIn, *federation.Trace, error) {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return SignIn{}, nil, federation.Refuse(ReasonNoToken, "id_token", "the provider gave no ID token", nil)
	}
	person, trace, err := p.idToken(ctx, raw, nonce, []string{p.cfg.ClientID})
	if err != nil {
		return SignIn{}, trace, err
	}
	out := SignIn{Person: person, Refresh: agentid.NewSecret(token.RefreshToken)}
	if person.Groups != nil && person.Name != "" || p.provider.UserInfoEndpoint() == "" || token.AccessToken == "" {
		return out, trace, nil
	}
	info, err := p.provider.UserInfo(p.with(ctx), oauth2.StaticTokenSource(token))
	if err != nil {
		return SignIn{}, trace, trace.Fail(federation.StepClaims, unreachable(err))
	}
	sub, _ := person.Identity.Claims.Text("sub")
	if info.Subject != sub {
		return SignIn{}, trace, trace.Fail(federation.StepClaims, federation.Refuse(federation.ReasonClaim, "sub", "userinfo is of another person", nil))
	}
	var claims rawClaims
	if err := info.Claims(&claims); err != nil {
		return SignIn{}, trace, trace.Fail(federation.StepClaims, unreachable(err))
	}
	v, err := strictjson.Parse(claims, strictjson.Limits{Bytes: keyset.MaxBytes})
	if err != nil {
		return SignIn{}, trace, trace.Fail(federation.StepClaims, federation.Refuse(federation.ReasonClaim, "", "userinfo is not strict JSON", err))
	}
	flat, err := federation.Flatten(v)
	if err != nil {
		return SignIn{}, trace, trace.Fail(federation.StepClaims, federation.Refuse(federation.ReasonClaim, "", "userinfo is ambiguous", err))
	}
	for name, value := range flat { // what the signed token says wins
		if _, there := person.Identity.Claims[name]; !there {
			person.Identity.Claims[name] = value
		}
	}
	p.describe(&person, person.Identity.Claims)
	out.Person = person
	return out, trace, nil
}

// rawClaims takes a JSON document as it is.
type rawClaims []byte

// UnmarshalJSON implements json.Unmarshaler.
func (r *rawClaims) UnmarshalJSON(data []byte) error {
	*r = append((*r)[:0], data...)
	return nil
}

// exchangeError tells a provider's refusal from a provider that is down.
func exchangeError(err error, reason string) error {
	if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok && answer.Response != nil &&
		answer.Response.StatusCode >= http.StatusBadRequest && answer.Response.StatusCode < http.StatusInternalServerError &&
		answer.Response.StatusCode != http.StatusTooManyRequests {
		return federation.Refuse(reason, "", "the identity provider refuses: "+bounded(answer.ErrorCode), nil)
	}
	return unreachable(err)
}

// unreachable is an outage of the provider.
func unreachable(err error) error {
	return agentid.Unavailable(keyset.ReasonUnreachable, err)
}

func bounded(text string) string {
	const limit = 64
	if len(text) > limit {
		return text[:limit]
	}
	return text
}
