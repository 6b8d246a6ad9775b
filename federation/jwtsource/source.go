package jwtsource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/jws"
	"github.com/agentid-dev/agentid/capability/strictjson"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/keyset"
)

// maxID bounds a jti, in bytes.
const maxID = 256

// Keys verifies signatures by an issuer's keys. *keyset.Set is one.
type Keys interface {
	Verify(ctx context.Context, compact string, policy jws.Policy) (keyset.Verified, error)
}

// Source verifies tokens of one issuer under one profile. It implements
// federation.Source.
type Source struct {
	profile Profile
	issuer  string
	keys    Keys
}

// New makes a source. The issuer has passed the profile's ValidateIssuer.
func New(profile Profile, issuer string, keys Keys) (*Source, error) {
	if profile.Kind == "" || issuer == "" || keys == nil {
		return nil, errors.New("jwtsource: kind, issuer and keys are required")
	}
	if profile.MaxLifetime <= 0 {
		profile.MaxLifetime = DefaultMaxLifetime
	}
	return &Source{profile: profile, issuer: issuer, keys: keys}, nil
}

// Kind implements federation.Source.
func (s *Source) Kind() string { return s.profile.Kind }

// Issuer implements federation.Source.
func (s *Source) Issuer() string { return s.issuer }

// Verify implements federation.Source. A certificate beside the token is not looked at.
func (s *Source) Verify(ctx context.Context, p federation.Presented) (federation.Identity, *federation.Trace, error) {
	t := new(federation.Trace)
	id, err := s.verify(ctx, p, t)
	return id, t, err
}

func (s *Source) verify(ctx context.Context, p federation.Presented, t *federation.Trace) (federation.Identity, error) {
	policy := keyset.Policy()
	policy.Algorithms = s.profile.algorithms(policy.Algorithms)
	verified, err := VerifySignature(ctx, s.keys, p.Token, policy, t)
	if err != nil {
		return federation.Identity{}, err
	}
	c := verified.Claims
	if issuer, _ := c.Get("iss").Text(); issuer != s.issuer {
		return federation.Identity{}, t.Fail(federation.StepIssuer, federation.Refuse(federation.ReasonIssuer, "iss", "the token is of another issuer", nil))
	}
	t.Pass(federation.StepIssuer, s.issuer)
	id := federation.Identity{Source: s.profile.Kind, Issuer: s.issuer}
	if id.Audience, err = SoleAudience(c, p.Audiences, t); err != nil {
		return federation.Identity{}, err
	}
	if id.Issued, id.Expires, err = Times(c, p.Now, s.profile.MaxLifetime, t); err != nil {
		return federation.Identity{}, err
	}
	if err := s.claims(&id, c); err != nil {
		return federation.Identity{}, t.Fail(federation.StepClaims, err)
	}
	t.Pass(federation.StepClaims, "sub "+id.Subject)
	return id, nil
}

// claims reads who the token speaks of, and holds it against the profile.
func (s *Source) claims(id *federation.Identity, c strictjson.Value) error {
	var err error
	if id.Claims, err = federation.Flatten(c); err != nil {
		return federation.Refuse(keyset.ReasonMalformed, "", "the claims are ambiguous", err)
	}
	if id.Subject, _ = c.Get("sub").Text(); id.Subject == "" || len(id.Subject) > maxSubject {
		return federation.Refuse(federation.ReasonClaim, "sub", "is missing, empty or too long", nil)
	}
	if jti := c.Get("jti"); jti.Kind() != strictjson.Invalid {
		if id.ID, _ = jti.Text(); id.ID == "" || len(id.ID) > maxID {
			return federation.Refuse(federation.ReasonClaim, "jti", "is empty or too long", nil)
		}
	}
	id.Confirmation, _ = c.Get("cnf").Get("jkt").Text()
	for _, name := range s.profile.Required {
		if text, ok := id.Claims.Text(name); !ok || text == "" {
			return federation.Refuse(federation.ReasonClaim, name, "is missing", nil)
		}
	}
	if s.profile.Check != nil {
		return s.profile.Check(id.Claims)
	}
	return nil
}

const maxSubject = 1024

// VerifySignature is the first steps of every token: it reads, its key is there, the
// signature is by that key.
func VerifySignature(ctx context.Context, keys Keys, token string, policy jws.Policy, t *federation.Trace) (keyset.Verified, error) {
	verified, err := keys.Verify(ctx, token, policy)
	if err != nil {
		switch agentid.ReasonOf(err) {
		case keyset.ReasonMalformed, keyset.ReasonType, keyset.ReasonAlgorithm:
			return verified, t.Fail(federation.StepToken, err)
		case keyset.ReasonSignature:
			t.Pass(federation.StepToken, "")
			t.Pass(federation.StepKey, "")
			return verified, t.Fail(federation.StepSignature, err)
		}
		t.Pass(federation.StepToken, "")
		return verified, t.Fail(federation.StepKey, err)
	}
	t.Pass(federation.StepToken, fmt.Sprintf("a JWS with alg %s", verified.Header.Algorithm))
	t.Pass(federation.StepKey, "kid "+verified.Key.KeyID)
	t.Pass(federation.StepSignature, "")
	return verified, nil
}

// SoleAudience demands exactly one audience, which is one of ours.
func SoleAudience(c strictjson.Value, ours []string, t *federation.Trace) (string, error) {
	v := c.Get("aud")
	if items, ok := v.Items(); ok && len(items) == 1 {
		v = items[0]
	}
	text, ok := v.Text()
	if !ok || text == "" || !slices.Contains(ours, text) {
		return "", t.Fail(federation.StepAudience, federation.Refuse(federation.ReasonAudience, "aud",
			fmt.Sprintf("want exactly one, of %q", ours), nil))
	}
	t.Pass(federation.StepAudience, text)
	return text, nil
}

// Times demands exp, as a whole number of seconds, and holds it, nbf and iat against now.
func Times(c strictjson.Value, now time.Time, most time.Duration, t *federation.Trace) (issued, expires time.Time, err error) {
	fail := func(field, message string, cause error) (time.Time, time.Time, error) {
		return time.Time{}, time.Time{}, t.Fail(federation.StepTime, federation.Refuse(federation.ReasonExpired, field, message, cause))
	}
	exp, err := c.Get("exp").Integer()
	if err != nil || exp <= 0 {
		return fail("exp", "is missing or not a whole number", err)
	}
	expires = time.Unix(exp, 0)
	if !now.Before(expires.Add(federation.Skew)) {
		return fail("exp", "expired at "+expires.UTC().Format(time.RFC3339), nil)
	}
	for _, name := range []string{"nbf", "iat"} {
		v := c.Get(name)
		if v.Kind() == strictjson.Invalid {
			continue
		}
		n, err := v.Integer()
		if err != nil {
			return fail(name, "is not a whole number", err)
		}
		at := time.Unix(n, 0)
		if at.After(now.Add(federation.Skew)) {
			return fail(name, "is in the future: "+at.UTC().Format(time.RFC3339), nil)
		}
		if name == "iat" {
			issued = at
		}
	}
	from := now
	if !issued.IsZero() {
		from = issued
	}
	if expires.Sub(from) > most+federation.Skew {
		return fail("exp", "is valid for longer than "+most.String(), nil)
	}
	t.Pass(federation.StepTime, "until "+expires.UTC().Format(time.RFC3339))
	return issued, expires, nil
}
