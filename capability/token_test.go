package capability

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
)

const (
	base     = "https://id.example"
	audience = "https://stripe.gateway.example"
	jkt      = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
)

var tokenTime = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

type keys map[string]jose.JSONWebKey

func (k keys) Key(_ context.Context, issuer, kid string) (jose.JSONWebKey, error) {
	if kid == "down" {
		return jose.JSONWebKey{}, agentid.Unavailable("keys_unavailable", errors.New("down"))
	}
	key, ok := k[issuer+"#"+kid]
	if !ok {
		return jose.JSONWebKey{}, agentid.Errorf(agentid.KindNotFound, "unknown_key", "no such key")
	}
	return key, nil
}

type tokenKit struct {
	ed, ec jose.SigningKey
	keys   keys
	now    time.Time
}

func newTokenKit(t testing.TB) *tokenKit {
	t.Helper()
	_, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecPrivate, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed := jose.JSONWebKey{Key: edPrivate, KeyID: "ed", Algorithm: "EdDSA", Use: "sig"}
	ec := jose.JSONWebKey{Key: ecPrivate, KeyID: "ec", Algorithm: "ES256", Use: "sig"}
	kit := &tokenKit{
		ed: jose.SigningKey{Algorithm: jose.EdDSA, Key: ed}, ec: jose.SigningKey{Algorithm: jose.ES256, Key: ec},
		keys: keys{}, now: tokenTime,
	}
	for _, issuer := range []string{base, base + "/acme", base + "/other"} {
		kit.keys[issuer+"#ed"], kit.keys[issuer+"#ec"] = ed.Public(), ec.Public()
	}
	return kit
}

func (k *tokenKit) verifier(t testing.TB) *Verifier {
	t.Helper()
	v, err := NewVerifier(VerifierConfig{Keys: k.keys, Base: base, Audience: audience, Skew: 10 * time.Second, Now: func() time.Time { return k.now }, Cache: 16})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// raw signs any header and payload with the Ed25519 key.
func (k *tokenKit) raw(header, payload string) string {
	enc := base64.RawURLEncoding.EncodeToString
	input := enc([]byte(header)) + "." + enc([]byte(payload))
	private := k.ed.Key.(jose.JSONWebKey).Key.(ed25519.PrivateKey)
	return input + "." + enc(ed25519.Sign(private, []byte(input)))
}

const tokenHeader = `{"alg":"EdDSA","typ":"at+jwt","kid":"ed"}`

// changed signs the good claims with some of them replaced; nil removes one.
func (k *tokenKit) changed(t testing.TB, change map[string]any) string {
	t.Helper()
	text, err := json.Marshal(goodClaims(t))
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]any{}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	maps.Copy(m, change)
	for name, value := range change {
		if value == nil {
			delete(m, name)
		}
	}
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return k.raw(tokenHeader, string(out))
}

func ref(t testing.TB, s string) agentid.Ref {
	t.Helper()
	r, err := agentid.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func goodClaims(t testing.TB) Claims {
	lineage := []agentid.Ref{ref(t, "agent:acme/leaf"), ref(t, "agent:acme/root")}
	return Claims{
		Issuer: base + "/acme", Subject: "principal:acme/alice", ClientID: "agent:acme/leaf", Audience: audience, ID: "jti-1",
		Scope: "payments:read payments:refund", IssuedAt: tokenTime, NotBefore: tokenTime, Expiry: tokenTime.Add(5 * time.Minute),
		Actor: NewActor(lineage), Capabilities: []Capability{mustCapability(t, goodDetail)}, Confirmation: Confirmation{JKT: jkt},
		Context: Context{
			Tenant: "acme", AgentType: ref(t, "agent_type:acme/refund"), Zookie: "zookie", Epoch: 7, Incarnation: "i1", PolicyVersion: "p1",
			LineageDigest: LineageDigest(lineage), Attenuated: lineage[:1], OwnAuthority: true, Chain: []string{"jti-0"},
		},
	}
}

func TestSignVerify(t *testing.T) {
	kit := newTokenKit(t)
	for name, key := range map[string]jose.SigningKey{"EdDSA": kit.ed, "ES256": kit.ec} {
		t.Run(name, func(t *testing.T) {
			want := goodClaims(t)
			token, err := Sign(want, key)
			if err != nil {
				t.Fatal(err)
			}
			got, err := kit.verifier(t).Verify(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			if mustJSON(got) != mustJSON(want) {
				t.Errorf("%s\nwant %s", mustJSON(got), mustJSON(want))
			}
			if got.Agent().String() != "agent:acme/leaf" || got.Principal().String() != "principal:acme/alice" || len(got.Lineage()) != 2 {
				t.Errorf("%v %v %v", got.Agent(), got.Principal(), got.Lineage())
			}
			tokens, err := got.Tokens()
			if err != nil || len(tokens) != 2 || tokens[0].String() != "token:acme/jti-1" {
				t.Error(tokens, err)
			}
		})
	}
}

func TestVerifyAutonomousAndBearer(t *testing.T) {
	kit := newTokenKit(t)
	c := goodClaims(t)
	c.Issuer, c.Subject, c.Context.Principal, c.Confirmation, c.NotBefore = base, c.ClientID, ref(t, "principal:acme/service"), Confirmation{}, time.Time{}
	token, err := Sign(c, kit.ed)
	if err != nil {
		t.Fatal(err)
	}
	got, err := kit.verifier(t).Verify(t.Context(), token)
	if err != nil || got.Principal().String() != "principal:acme/service" || !got.Confirmation.IsZero() {
		t.Fatal(got.Principal(), err)
	}
	c.Context.Principal = agentid.Ref{}
	_, err = Sign(c, kit.ed)
	wantError(t, err, agentid.KindInvalid, "", "sub")
}

func mustField(t testing.TB, payload []byte, name string) string {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(payload, &m); err != nil {
		t.Fatal(err)
	}
	return string(m[name])
}

func parts64(header string, payload []byte) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(header)) + "." + enc(payload)
}

func forged(token string) string {
	dot := strings.LastIndexByte(token, '.')
	return token[:dot+1] + "AAAAAAAA" + token[dot+9:]
}

func expiredAndForged(t testing.TB, kit *tokenKit) string {
	return forged(kit.changed(t, map[string]any{"exp": tokenTime.Add(-time.Hour).Unix(), "iat": tokenTime.Add(-2 * time.Hour).Unix(), "nbf": nil}))
}

func actChain(subjects ...string) map[string]any {
	var act map[string]any
	for i := len(subjects) - 1; i >= 0; i-- {
		outer := map[string]any{"sub": subjects[i]}
		if act != nil {
			outer["act"] = act
		}
		act = outer
	}
	return act
}

func actDeep(n int) map[string]any {
	subjects := []string{"agent:acme/leaf"}
	for i := range n {
		subjects = append(subjects, "agent:acme/a"+strings.Repeat("x", i))
	}
	return actChain(subjects...)
}

func TestSkewIsAtMostThirtySeconds(t *testing.T) {
	kit := newTokenKit(t)
	cfg := VerifierConfig{Keys: kit.keys, Base: base, Audience: audience, Now: time.Now}
	for name, change := range map[string]func(*VerifierConfig){
		"skew":            func(c *VerifierConfig) { c.Skew = 31 * time.Second },
		"negative skew":   func(c *VerifierConfig) { c.Skew = -1 },
		"lifetime":        func(c *VerifierConfig) { c.MaxLifetime = 2 * time.Hour },
		"no keys":         func(c *VerifierConfig) { c.Keys = nil },
		"no clock":        func(c *VerifierConfig) { c.Now = nil },
		"no issuer":       func(c *VerifierConfig) { c.Base = "" },
		"empty issuer":    func(c *VerifierConfig) { c.Issuers = []string{""} },
		"base with slash": func(c *VerifierConfig) { c.Base += "/" },
	} {
		broken := cfg
		change(&broken)
		if _, err := NewVerifier(broken); agentid.KindOf(err) != agentid.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewVerifier(cfg); err != nil {
		t.Error(err)
	}
}

func TestClockBoundaries(t *testing.T) {
	kit := newTokenKit(t)
	token, err := Sign(goodClaims(t), kit.ed)
	if err != nil {
		t.Fatal(err)
	}
	v := kit.verifier(t) // a skew of 10 s
	for at, reason := range map[time.Duration]string{
		-11 * time.Second:                  ReasonNotYetValid,
		-10 * time.Second:                  "",
		5 * time.Minute:                    "",
		5*time.Minute + 9*time.Second:      "",
		5*time.Minute + 10*time.Second:     ReasonExpired,
		time.Hour:                          ReasonExpired,
		-time.Hour:                         ReasonNotYetValid,
		5*time.Minute + 10*time.Second - 1: "",
	} {
		kit.now = tokenTime.Add(at)
		_, err := v.Verify(t.Context(), token)
		if reason == "" {
			if err != nil {
				t.Errorf("%s: %v", at, err)
			}
			continue
		}
		wantError(t, err, agentid.KindUnauthenticated, reason, "")
	}
}

func TestKeySourceErrors(t *testing.T) {
	kit := newTokenKit(t)
	payload, err := json.Marshal(goodClaims(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = kit.verifier(t).Verify(t.Context(), kit.raw(`{"alg":"EdDSA","typ":"at+jwt","kid":"down"}`, string(payload)))
	wantError(t, err, agentid.KindUnavailable, "keys_unavailable", "")

	token := kit.raw(tokenHeader, string(payload))
	issuer := base + "/acme#ed"
	good := kit.keys[issuer]
	for name, change := range map[string]func(*jose.JSONWebKey){
		"key rotated out":         func(k *jose.JSONWebKey) { k.KeyID = "ed2" },
		"key without kid":         func(k *jose.JSONWebKey) { k.KeyID = "" },
		"key for encryption":      func(k *jose.JSONWebKey) { k.Use = "enc" },
		"key of another alg":      func(k *jose.JSONWebKey) { k.Algorithm = "ES256" },
		"all-zero Ed25519 key":    func(k *jose.JSONWebKey) { k.Key = make(ed25519.PublicKey, 32) },
		"no key":                  func(k *jose.JSONWebKey) { k.Key = nil },
		"private key":             func(k *jose.JSONWebKey) { k.Key = kit.ed.Key.(jose.JSONWebKey).Key },
		"symmetric key":           func(k *jose.JSONWebKey) { k.Key = []byte("0123456789abcdef0123456789abcdef") },
		"EC key for an EdDSA alg": func(k *jose.JSONWebKey) { k.Key = kit.keys[base+"#ec"].Key },
	} {
		key := good
		change(&key)
		kit.keys[issuer] = key
		_, err := kit.verifier(t).Verify(t.Context(), token)
		if err == nil {
			t.Errorf("%s accepted", name)
			continue
		}
		wantError(t, err, agentid.KindUnauthenticated, ReasonKey, "kid")
	}
}

func TestVerifyForAndIssued(t *testing.T) {
	kit := newTokenKit(t)
	c := goodClaims(t)
	c.Audience = "https://other.gateway.example"
	token, err := Sign(c, kit.ed)
	if err != nil {
		t.Fatal(err)
	}
	v := kit.verifier(t)
	if _, err := v.VerifyFor(t.Context(), token, c.Audience); err != nil {
		t.Error(err)
	}
	if _, err := v.VerifyIssued(t.Context(), token); err != nil {
		t.Error(err)
	}
	_, err = v.VerifyFor(t.Context(), token, "")
	wantError(t, err, agentid.KindUnauthenticated, ReasonAudience, "aud")
	kit.now = tokenTime.Add(time.Hour)
	_, err = v.VerifyIssued(t.Context(), token)
	wantError(t, err, agentid.KindUnauthenticated, ReasonExpired, "exp")
}

func TestSignRefuses(t *testing.T) {
	kit := newTokenKit(t)
	for name, c := range map[string]struct {
		change func(*Claims)
		field  string
	}{
		"no issuer":       {func(c *Claims) { c.Issuer = "" }, "iss"},
		"no audience":     {func(c *Claims) { c.Audience = "" }, "aud"},
		"no id":           {func(c *Claims) { c.ID = "" }, "jti"},
		"no expiry":       {func(c *Claims) { c.Expiry = time.Time{} }, "exp"},
		"no actor":        {func(c *Claims) { c.Actor = nil }, "act"},
		"no capabilities": {func(c *Claims) { c.Capabilities, c.Scope = nil, "" }, "authorization_details"},
		"zero capability": {func(c *Claims) { c.Capabilities, c.Scope = []Capability{{}}, "" }, "authorization_details[0].identifier"},
		"two methods":     {func(c *Claims) { c.Confirmation.X5T = jkt }, "cnf"},
		"no tenant":       {func(c *Claims) { c.Context.Tenant = "" }, "context.tenant"},
	} {
		claims := goodClaims(t)
		c.change(&claims)
		_, err := Sign(claims, kit.ed)
		if err == nil {
			t.Errorf("%s accepted", name)
			continue
		}
		wantError(t, err, agentid.KindInvalid, "", c.field)
	}
	private := kit.ed.Key.(jose.JSONWebKey)
	private.KeyID = ""
	for name, key := range map[string]jose.SigningKey{
		"none":       {},
		"HS256":      {Algorithm: jose.HS256, Key: []byte("0123456789abcdef0123456789abcdef")},
		"no kid":     {Algorithm: jose.EdDSA, Key: private},
		"raw key":    {Algorithm: jose.EdDSA, Key: private.Key},
		"wrong pair": {Algorithm: jose.ES256, Key: kit.ed.Key},
		"nil key":    {Algorithm: jose.EdDSA, Key: (*jose.JSONWebKey)(nil)},
	} {
		if _, err := Sign(goodClaims(t), key); agentid.KindOf(err) != agentid.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRefusalIsCheap: a hostile token costs less than 64 kB of memory.
func TestRefusalIsCheap(t *testing.T) {
	kit := newTokenKit(t)
	v := kit.verifier(t)
	enc := base64.RawURLEncoding.EncodeToString
	for name, token := range map[string]string{
		"1 MB of dots":   strings.Repeat(".", 1<<20),
		"zip bomb":       enc([]byte(`{"alg":"dir","enc":"A128GCM","zip":"DEF"}`)) + "..AAAA." + strings.Repeat("A", 15_000) + ".AAAA",
		"PBES2 p2c 2^31": enc([]byte(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483648,"p2s":"AAAA"}`)) + ".AAAA.AAAA.AAAA.AAAA",
		"empty key JWE":  enc([]byte(`{"alg":"A128KW","enc":"A128GCM"}`)) + "..AAAA.AAAA.AAAA",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := v.Verify(t.Context(), token)
		runtime.ReadMemStats(&after)
		wantError(t, err, agentid.KindUnauthenticated, ReasonMalformed, "")
		if got := after.TotalAlloc - before.TotalAlloc; got > 64<<10 {
			t.Errorf("%s allocates %d bytes", name, got)
		}
	}
}

// FuzzClaims: a signed payload is refused, or is one that we would sign.
func FuzzClaims(f *testing.F) {
	payload, err := json.Marshal(goodClaims(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	f.Add([]byte(`{"iss":"https://id.example","aud":["x"]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		v, err := strictjson.Parse(payload, strictjson.Limits{})
		if err != nil {
			return
		}
		c, err := claimsFrom(v)
		if err != nil {
			if agentid.KindOf(err) != agentid.KindInvalid {
				t.Fatal(err)
			}
			return
		}
		if v, err = strictjson.Parse([]byte(mustJSON(c)), strictjson.Limits{}); err != nil {
			t.Fatal(err)
		}
		again, err := claimsFrom(v)
		if err != nil || mustJSON(again) != mustJSON(c) {
			t.Fatalf("%s: %s, %v", mustJSON(c), mustJSON(again), err)
		}
	})
}
