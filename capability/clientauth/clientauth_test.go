package clientauth

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
)

const (
	client = "agent:acme/ag-1"
	issuer = "https://id.example/acme"
)

var assertionTime = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

type kit struct{ private ed25519.PrivateKey }

func newKit(t testing.TB) kit {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return kit{private}
}

func (k kit) signingKey() jose.SigningKey {
	return jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: k.private, KeyID: "k1"}}
}

func (k kit) expect() Expect {
	return Expect{Issuer: issuer, ClientID: client, Now: assertionTime, Keys: func(_ context.Context, id, kid string) (jose.JSONWebKey, error) {
		switch {
		case kid == "down":
			return jose.JSONWebKey{}, agentid.Unavailable("ledger_unavailable", errors.New("down"))
		case id != client || kid != "" && kid != "k1":
			return jose.JSONWebKey{}, agentid.Errorf(agentid.KindNotFound, "unknown_agent", "no such agent")
		}
		return jose.JSONWebKey{Key: k.private.Public(), KeyID: "k1", Algorithm: "EdDSA"}, nil
	}}
}

// assertion signs any header and claims: the good ones with some replaced.
func (k kit) assertion(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	part := func(good, change map[string]any) string {
		maps.Copy(good, change)
		maps.DeleteFunc(good, func(_ string, v any) bool { return v == nil })
		out, err := json.Marshal(good)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(out)
	}
	now := assertionTime.Unix()
	input := part(map[string]any{"alg": "EdDSA", "typ": Type, "kid": "k1"}, header) + "." +
		part(map[string]any{"iss": client, "sub": client, "aud": issuer, "jti": "j1", "iat": now, "exp": now + 60}, claims)
	return input + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(k.private, []byte(input)))
}

func TestSignVerify(t *testing.T) {
	k := newKit(t)
	text, err := Sign(k.signingKey(), Request{ClientID: client, Issuer: issuer, Now: assertionTime})
	if err != nil {
		t.Fatal(err)
	}
	a, err := Verify(t.Context(), text, k.expect())
	if err != nil {
		t.Fatal(err)
	}
	if a.ClientID != client || a.ID == "" || !a.IssuedAt.Equal(assertionTime) || !a.Expiry.Equal(assertionTime.Add(time.Minute)) {
		t.Errorf("%+v", a)
	}
	for name, r := range map[string]Request{
		"no client": {Issuer: issuer, Now: assertionTime},
		"no issuer": {ClientID: client, Now: assertionTime},
		"no time":   {ClientID: client, Issuer: issuer},
		"too long":  {ClientID: client, Issuer: issuer, Now: assertionTime, Lifetime: time.Hour},
	} {
		if _, err := Sign(k.signingKey(), r); agentid.KindOf(err) != agentid.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Sign(jose.SigningKey{}, Request{ClientID: client, Issuer: issuer, Now: assertionTime}); agentid.KindOf(err) != agentid.KindInvalid {
		t.Error(err)
	}
}

// TestAccepts holds what the OpenID conformance suite accepts.
func TestAccepts(t *testing.T) {
	k := newKit(t)
	now := assertionTime.Unix()
	for name, c := range map[string]struct{ header, claims map[string]any }{
		"typ JWT":                        {map[string]any{"typ": "JWT"}, nil},
		"typ missing":                    {map[string]any{"typ": nil}, nil},
		"kid missing":                    {map[string]any{"kid": nil}, nil},
		"aud list of one":                {nil, map[string]any{"aud": []string{issuer}}},
		"iat missing":                    {nil, map[string]any{"iat": nil}},
		"8SecondsInTheFutureIsAccepted":  {nil, map[string]any{"iat": now + 8, "nbf": now + 8}},
		"exp five minutes ahead":         {nil, map[string]any{"exp": now + 300}},
		"unknown claim":                  {nil, map[string]any{"foo": "bar"}},
		"exp just past, within the skew": {nil, map[string]any{"exp": now - 29}},
	} {
		if _, err := Verify(t.Context(), k.assertion(t, c.header, c.claims), k.expect()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	e := k.expect()
	e.ClientID = ""
	if _, err := Verify(t.Context(), k.assertion(t, nil, nil), e); err != nil {
		t.Error("without a client_id parameter:", err)
	}
}

func TestRefuses(t *testing.T) {
	k := newKit(t)
	now := assertionTime.Unix()
	for name, c := range map[string]struct {
		header, claims map[string]any
		reason         string
	}{
		"TokenEndpointAsAudienceFails":        {nil, map[string]any{"aud": issuer + "/oauth2/token"}, ReasonAudience},
		"TokenEndpointAsArrayAudienceFails":   {nil, map[string]any{"aud": []string{issuer + "/oauth2/token"}}, ReasonAudience},
		"issuer and token endpoint":           {nil, map[string]any{"aud": []string{issuer, issuer + "/oauth2/token"}}, ReasonAudience},
		"issuer twice":                        {nil, map[string]any{"aud": []string{issuer, issuer}}, ReasonAudience},
		"aud with a slash":                    {nil, map[string]any{"aud": issuer + "/"}, ReasonAudience},
		"aud missing":                         {nil, map[string]any{"aud": nil}, ReasonAudience},
		"aud empty list":                      {nil, map[string]any{"aud": []string{}}, ReasonAudience},
		"aud nested":                          {nil, map[string]any{"aud": []any{[]string{issuer}}}, ReasonAudience},
		"another tenant's issuer":             {nil, map[string]any{"aud": "https://id.example/other"}, ReasonAudience},
		"ClientAssertionWithNoSub":            {nil, map[string]any{"sub": nil}, ReasonClient},
		"sub differs from iss":                {nil, map[string]any{"sub": "agent:acme/other"}, ReasonClient},
		"iss missing":                         {nil, map[string]any{"iss": nil}, ReasonClient},
		"another client":                      {nil, map[string]any{"iss": "agent:acme/x", "sub": "agent:acme/x"}, ReasonClient},
		"client of 600 bytes":                 {nil, map[string]any{"iss": strings.Repeat("a", 600), "sub": strings.Repeat("a", 600)}, ReasonClient},
		"ExpIs5MinutesInPast":                 {nil, map[string]any{"exp": now - 300}, ReasonExpired},
		"exp missing":                         {nil, map[string]any{"exp": nil}, ReasonMalformed},
		"exp text":                            {nil, map[string]any{"exp": "soon"}, ReasonMalformed},
		"exp an hour ahead":                   {nil, map[string]any{"exp": now + 3600}, ReasonExpired},
		"IatNbfOver60SecondsInTheFutureFails": {nil, map[string]any{"iat": now + 61}, ReasonExpired},
		"nbf over 60 seconds in the future":   {nil, map[string]any{"nbf": now + 61}, ReasonExpired},
		"nbf text":                            {nil, map[string]any{"nbf": "now"}, ReasonMalformed},
		"jti missing":                         {nil, map[string]any{"jti": nil}, ReasonMalformed},
		"jti of 257 bytes":                    {nil, map[string]any{"jti": strings.Repeat("j", 257)}, ReasonMalformed},
		"typ of an access token":              {map[string]any{"typ": "at+jwt"}, nil, ReasonMalformed},
		"typ of a DPoP proof":                 {map[string]any{"typ": "dpop+jwt"}, nil, ReasonMalformed},
		"alg none":                            {map[string]any{"alg": "none"}, nil, ReasonMalformed},
		"alg HS256":                           {map[string]any{"alg": "HS256"}, nil, ReasonMalformed},
		"jwk in the header":                   {map[string]any{"jwk": map[string]any{"kty": "OKP"}}, nil, ReasonMalformed},
		"jku in the header":                   {map[string]any{"jku": "https://evil.example"}, nil, ReasonMalformed},
		"crit":                                {map[string]any{"crit": []string{"x"}}, nil, ReasonMalformed},
		"kid of another key":                  {map[string]any{"kid": "k2"}, nil, ReasonKey},
		"alg ES256 with an Ed25519 key":       {map[string]any{"alg": "ES256"}, nil, ReasonKey},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := Verify(t.Context(), k.assertion(t, c.header, c.claims), k.expect())
			if err == nil || agentid.KindOf(err) != agentid.KindUnauthenticated || agentid.ReasonOf(err) != c.reason {
				t.Errorf("want %s, have %v", c.reason, err)
			}
			if a != (Assertion{}) {
				t.Errorf("a refused assertion gives %+v", a)
			}
		})
	}
}

// TestSignatureBeforeClaims: nothing is told about the claims of a forgery.
func TestSignatureBeforeClaims(t *testing.T) {
	k, other := newKit(t), newKit(t)
	forged := other.assertion(t, nil, map[string]any{"exp": 1, "aud": "https://evil.example"})
	if _, err := Verify(t.Context(), forged, k.expect()); agentid.ReasonOf(err) != ReasonSignature {
		t.Fatal(err)
	}
}

func TestKeysUnavailablePassesThrough(t *testing.T) {
	k := newKit(t)
	if _, err := Verify(t.Context(), k.assertion(t, map[string]any{"kid": "down"}, nil), k.expect()); agentid.KindOf(err) != agentid.KindUnavailable {
		t.Fatal(err)
	}
}

func TestIncompleteExpectRefuses(t *testing.T) {
	k := newKit(t)
	for name, change := range map[string]func(*Expect){
		"issuer": func(e *Expect) { e.Issuer = "" }, "keys": func(e *Expect) { e.Keys = nil }, "time": func(e *Expect) { e.Now = time.Time{} },
	} {
		e := k.expect()
		change(&e)
		if _, err := Verify(t.Context(), k.assertion(t, nil, nil), e); err == nil || agentid.KindOf(err) != agentid.KindInternal {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	k := kit{ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))} // the same in every worker
	f.Add(k.assertion(f, nil, nil))
	f.Add(k.assertion(f, nil, map[string]any{"aud": []string{issuer}}))
	f.Fuzz(func(t *testing.T, text string) {
		a, err := Verify(t.Context(), text, k.expect())
		if err == nil && (a.ClientID != client || a.ID == "" || a.Expiry.IsZero()) {
			t.Fatalf("%+v", a)
		}
		if err != nil && agentid.KindOf(err) == agentid.KindInternal {
			t.Fatal(err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	k := newKit(b)
	text, err := Sign(k.signingKey(), Request{ClientID: client, Issuer: issuer, Now: assertionTime})
	if err != nil {
		b.Fatal(err)
	}
	e := k.expect()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Verify(b.Context(), text, e); err != nil {
			b.Fatal(err)
		}
	}
}
