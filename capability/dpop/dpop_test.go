package dpop

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
)

const (
	token  = "the.access.token"
	target = "https://stripe.gateway.example/v1/refunds"
)

var proofTime = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func enc(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

type kit struct {
	private ed25519.PrivateKey
	signer  *Signer
}

func newKit(t testing.TB) kit {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return kitOf(t, private)
}

// fuzzKit has the same key in every fuzzing worker.
func fuzzKit(f *testing.F) kit {
	f.Helper()
	return kitOf(f, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
}

func kitOf(t testing.TB, private ed25519.PrivateKey) kit {
	t.Helper()
	signer, err := NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: private})
	if err != nil {
		t.Fatal(err)
	}
	return kit{private, signer}
}

func (k kit) jwk() map[string]any {
	return map[string]any{"kty": "OKP", "crv": "Ed25519", "x": enc(k.private.Public().(ed25519.PublicKey))}
}

// proof signs any header and claims: the good ones with some replaced; nil removes.
func (k kit) proof(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	sum := sha256.Sum256([]byte(token))
	part := func(good, change map[string]any) string {
		maps.Copy(good, change)
		maps.DeleteFunc(good, func(_ string, v any) bool { return v == nil })
		out, err := json.Marshal(good)
		if err != nil {
			t.Fatal(err)
		}
		return enc(out)
	}
	input := part(map[string]any{"typ": "dpop+jwt", "alg": "EdDSA", "jwk": k.jwk()}, header) + "." +
		part(map[string]any{"jti": "id-1", "htm": "POST", "htu": target, "iat": proofTime.Unix(), "ath": enc(sum[:])}, claims)
	return input + "." + enc(ed25519.Sign(k.private, []byte(input)))
}

func (k kit) expect() Expect {
	return Expect{Method: "POST", URL: target, Now: proofTime, AccessToken: token, Thumbprint: k.signer.Thumbprint()}
}

func wantReason(t testing.TB, err error, reason, field string) {
	t.Helper()
	e := agentid.AsError(err)
	if err == nil || e.Kind != agentid.KindUnauthenticated || e.Reason != reason || e.Field != field {
		t.Errorf("want %s (%s), have %v", reason, field, err)
	}
}

func TestSignVerify(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]jose.SigningKey{
		"EdDSA":     {Algorithm: jose.EdDSA, Key: ed},
		"EdDSA JWK": {Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: ed, KeyID: "k"}},
		"ES256":     {Algorithm: jose.ES256, Key: ec},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := NewSigner(key)
			if err != nil {
				t.Fatal(err)
			}
			proof, err := s.Sign(Request{Method: "GET", URL: "HTTPS://Gateway.Example:443/a?b#c", AccessToken: token, Nonce: "n", ID: "x", Now: proofTime})
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(proof, enc(ed.Seed())) {
				t.Fatal("the private key is in the proof")
			}
			p, err := Verify(proof, Expect{Method: "GET", URL: "https://gateway.example/a", Now: proofTime, AccessToken: token, Thumbprint: s.Thumbprint()})
			if err != nil {
				t.Fatal(err)
			}
			if p.JKT != s.Thumbprint() || p.ID != "x" || p.Nonce != "n" || !p.IssuedAt.Equal(proofTime) {
				t.Errorf("%+v", p)
			}
			first, err := s.Sign(Request{Method: "GET", URL: target, Now: proofTime})
			if err != nil {
				t.Fatal(err)
			}
			second, err := s.Sign(Request{Method: "GET", URL: target, Now: proofTime})
			if err != nil || first == second {
				t.Error("two proofs are the same", err)
			}
		})
	}
}

func TestTokenEndpointProof(t *testing.T) {
	k := newKit(t)
	p, err := Verify(k.proof(t, nil, map[string]any{"ath": nil}), Expect{Method: "POST", URL: target, Now: proofTime})
	if err != nil || p.JKT != k.signer.Thumbprint() {
		t.Fatal(p, err)
	}
}

func TestAccepts(t *testing.T) {
	k := newKit(t)
	for name, c := range map[string]struct{ header, claims map[string]any }{
		"as it is":                 {},
		"unknown header parameter": {map[string]any{"foo": "bar"}, nil},
		"unknown claim":            {nil, map[string]any{"foo": map[string]any{"a": 1}}},
		"iat 10 s ago":             {nil, map[string]any{"iat": proofTime.Unix() - 10}},
		"iat in 10 s":              {nil, map[string]any{"iat": proofTime.Unix() + 10}},
		"iat 60 s ago":             {nil, map[string]any{"iat": proofTime.Unix() - 60}},
		"query and fragment":       {nil, map[string]any{"htu": target + "?a=b#c"}},
		"host in capitals":         {nil, map[string]any{"htu": "https://STRIPE.gateway.example/v1/refunds"}},
		"default port":             {nil, map[string]any{"htu": "https://stripe.gateway.example:443/v1/refunds"}},
		"escaped letters":          {nil, map[string]any{"htu": "https://stripe.gateway.example/v1/%72efunds"}},
		"dot segments":             {nil, map[string]any{"htu": "https://stripe.gateway.example/v1/./x/../refunds"}},
		"kid in the header":        {map[string]any{"kid": "any"}, nil},
		"alg and use in the jwk":   {map[string]any{"jwk": with(k.jwk(), map[string]any{"alg": "EdDSA", "use": "sig"})}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Verify(k.proof(t, c.header, c.claims), k.expect()); err != nil {
				t.Error(err)
			}
		})
	}
}

func with(m, more map[string]any) map[string]any {
	maps.Copy(m, more)
	return m
}

// TestRefuses: the checks of RFC 9449 section 4.3, and ATTACKS.
func TestRefuses(t *testing.T) {
	k, other := newKit(t), newKit(t)
	for name, c := range map[string]struct {
		header, claims map[string]any
		field          string
	}{
		"typ missing":              {map[string]any{"typ": nil}, nil, "typ"},
		"typ JWT":                  {map[string]any{"typ": "JWT"}, nil, "typ"},
		"alg none":                 {map[string]any{"alg": "none"}, nil, "alg"},
		"alg HS256":                {map[string]any{"alg": "HS256"}, nil, "alg"},
		"alg RS256":                {map[string]any{"alg": "RS256"}, nil, "alg"},
		"alg does not fit the key": {map[string]any{"alg": "ES256"}, nil, "jwk"},
		"jwk missing":              {map[string]any{"jwk": nil}, nil, "jwk"},
		"jwk text":                 {map[string]any{"jwk": "x"}, nil, "jwk"},
		"private key in jwk":       {map[string]any{"jwk": with(k.jwk(), map[string]any{"d": enc(k.private.Seed())})}, nil, "jwk"},
		"symmetric jwk":            {map[string]any{"jwk": map[string]any{"kty": "oct", "k": "AAAA"}}, nil, "jwk"},
		"all-zero jwk":             {map[string]any{"jwk": map[string]any{"kty": "OKP", "crv": "Ed25519", "x": strings.Repeat("A", 43)}}, nil, "jwk"},
		"jwk of another key":       {map[string]any{"jwk": other.jwk()}, nil, "signature"},
		"jwk for encryption":       {map[string]any{"jwk": with(k.jwk(), map[string]any{"use": "enc"})}, nil, "jwk"},
		"crit":                     {map[string]any{"crit": []string{"foo"}, "foo": 1}, nil, ""},
		"b64 false":                {map[string]any{"b64": false}, nil, ""},
		"jku":                      {map[string]any{"jku": "https://evil.example"}, nil, ""},
		"jti missing":              {nil, map[string]any{"jti": nil}, "jti"},
		"jti empty":                {nil, map[string]any{"jti": ""}, "jti"},
		"jti number":               {nil, map[string]any{"jti": 7}, "jti"},
		"jti of 257 bytes":         {nil, map[string]any{"jti": strings.Repeat("j", 257)}, "jti"},
		"htm missing":              {nil, map[string]any{"htm": nil}, "htm"},
		"other htm":                {nil, map[string]any{"htm": "GET"}, "htm"},
		"htm in another case":      {nil, map[string]any{"htm": "post"}, "htm"},
		"htu missing":              {nil, map[string]any{"htu": nil}, "htu"},
		"other path":               {nil, map[string]any{"htu": "https://stripe.gateway.example/v1/charges"}, "htu"},
		"path in another case":     {nil, map[string]any{"htu": "https://stripe.gateway.example/V1/refunds"}, "htu"},
		"trailing slash":           {nil, map[string]any{"htu": target + "/"}, "htu"},
		"encoded slash":            {nil, map[string]any{"htu": "https://stripe.gateway.example/v1%2Frefunds"}, "htu"},
		"other host":               {nil, map[string]any{"htu": "https://evil.example/v1/refunds"}, "htu"},
		"other port":               {nil, map[string]any{"htu": "https://stripe.gateway.example:8443/v1/refunds"}, "htu"},
		"other scheme":             {nil, map[string]any{"htu": "http://stripe.gateway.example/v1/refunds"}, "htu"},
		"user information":         {nil, map[string]any{"htu": "https://a@stripe.gateway.example/v1/refunds"}, "htu"},
		"relative htu":             {nil, map[string]any{"htu": "/v1/refunds"}, "htu"},
		"htu no URL":               {nil, map[string]any{"htu": "https://%zz"}, "htu"},
		"iat missing":              {nil, map[string]any{"iat": nil}, "iat"},
		"iat text":                 {nil, map[string]any{"iat": "now"}, "iat"},
		"iat fraction":             {nil, map[string]any{"iat": 1.5}, "iat"},
		"iat an hour ago":          {nil, map[string]any{"iat": proofTime.Unix() - 3600}, "iat"},
		"iat in an hour":           {nil, map[string]any{"iat": proofTime.Unix() + 3600}, "iat"},
		"iat 61 s ago":             {nil, map[string]any{"iat": proofTime.Unix() - 61}, "iat"},
		"iat in 61 s":              {nil, map[string]any{"iat": proofTime.Unix() + 61}, "iat"},
		"iat beyond reason":        {nil, map[string]any{"iat": -9007199254740992}, "iat"},
		"ath missing":              {nil, map[string]any{"ath": nil}, "ath"},
		"ath mismatch":             {nil, map[string]any{"ath": enc(make([]byte, 32))}, "ath"},
		"ath padded":               {nil, map[string]any{"ath": accessTokenHash(token) + "="}, "ath"},
		"nonce number":             {nil, map[string]any{"nonce": 7}, "nonce"},
		"nonce empty":              {nil, map[string]any{"nonce": ""}, "nonce"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Verify(k.proof(t, c.header, c.claims), k.expect())
			wantReason(t, err, ReasonInvalid, c.field)
			if p != (Proof{}) {
				t.Errorf("a refused proof gives %+v", p)
			}
		})
	}
}

func TestRefusesForeignAndMalformed(t *testing.T) {
	k, other := newKit(t), newKit(t)
	_, err := Verify(other.proof(t, nil, nil), k.expect())
	wantReason(t, err, ReasonInvalid, "jwk")
	for name, text := range map[string]string{"empty": "", "two proofs": k.proof(t, nil, nil) + "," + k.proof(t, nil, nil), "dots": strings.Repeat(".", 1<<20), "token": token} {
		if _, err := Verify(text, k.expect()); agentid.ReasonOf(err) != ReasonInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := k.proof(t, nil, nil)
	_, err = Verify(good[:len(good)-4]+"AAAA", k.expect())
	wantReason(t, err, ReasonInvalid, "signature")
}

// TestHS256WithJWKBytesRefused: the embedded key is no HMAC secret.
func TestHS256WithJWKBytesRefused(t *testing.T) {
	k := newKit(t)
	parts := strings.Split(k.proof(t, map[string]any{"alg": "HS256"}, nil), ".")
	mac := hmac.New(sha256.New, k.private.Public().(ed25519.PublicKey))
	_, _ = mac.Write([]byte(parts[0] + "." + parts[1]))
	_, err := Verify(parts[0]+"."+parts[1]+"."+enc(mac.Sum(nil)), k.expect())
	wantReason(t, err, ReasonInvalid, "alg")
}

// TestIncompleteExpectRefuses: a server that forgets a check gets no answer.
func TestIncompleteExpectRefuses(t *testing.T) {
	k := newKit(t)
	for name, change := range map[string]func(*Expect){
		"method":                   func(e *Expect) { e.Method = "" },
		"URL":                      func(e *Expect) { e.URL = "" },
		"relative URL":             func(e *Expect) { e.URL = "/v1/refunds" },
		"time":                     func(e *Expect) { e.Now = time.Time{} },
		"token without thumbprint": func(e *Expect) { e.Thumbprint = "" },
		"thumbprint without token": func(e *Expect) { e.AccessToken = "" },
	} {
		e := k.expect()
		change(&e)
		if _, err := Verify(k.proof(t, nil, nil), e); err == nil || agentid.KindOf(err) != agentid.KindInternal {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	k := newKit(t)
	for name, key := range map[string]jose.SigningKey{
		"none":       {},
		"HMAC":       {Algorithm: jose.HS256, Key: []byte("0123456789abcdef0123456789abcdef")},
		"RSA":        {Algorithm: jose.RS256, Key: weak},
		"public key": {Algorithm: jose.EdDSA, Key: k.private.Public()},
		"wrong pair": {Algorithm: jose.ES256, Key: k.private},
	} {
		if _, err := NewSigner(key); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
	for name, r := range map[string]Request{
		"no method":    {URL: target, Now: proofTime},
		"no URL":       {Method: "GET", Now: proofTime},
		"relative URL": {Method: "GET", URL: "/x", Now: proofTime},
		"no time":      {Method: "GET", URL: target},
	} {
		if _, err := k.signer.Sign(r); agentid.KindOf(err) != agentid.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNormalURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://A.example":                    "https://a.example/",
		"https://a.example/":                   "https://a.example/",
		"http://a.example:80/x":                "http://a.example/x",
		"http://a.example:443/x":               "http://a.example:443/x",
		"https://a.example:/x":                 "https://a.example/x",
		"https://a.example/a/b/../c/./d":       "https://a.example/a/c/d",
		"https://a.example/../..":              "https://a.example/",
		"https://a.example/a/..":               "https://a.example/",
		"https://a.example/a/.":                "https://a.example/a/",
		"https://a.example/%7euser/%2f%3A":     "https://a.example/~user/%2F%3A",
		"https://a.example/%2e%2e/x":           "https://a.example/x",
		"https://a.example//x":                 "https://a.example//x",
		"https://[2001:DB8::1]:443/x?y=/../z#": "https://[2001:db8::1]/x",
	} {
		if got, err := normalURL(in); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "/x", "//a.example/x", "ftp://a.example", "https://", "https://:443/", "https:a.example", "https://u:p@a.example/", "https://a.example/\x00", "https://a b/", "https://" + strings.Repeat("a", 5000)} {
		if got, err := normalURL(in); err == nil {
			t.Errorf("%q accepted as %s", in, got)
		}
	}
}

func newGuard(t testing.TB, size int) (*Guard, *time.Time) {
	t.Helper()
	now := proofTime
	g, err := NewGuard(GuardConfig{NoncePeriod: time.Minute, MaxProofs: size, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return g, &now
}

func TestGuard(t *testing.T) {
	g, now := newGuard(t, 0)
	nonce := g.Nonce()
	p := Proof{JKT: "key", ID: "1", Nonce: nonce}
	if err := g.Check(p); err != nil {
		t.Fatal(err)
	}
	wantReason(t, g.Check(p), ReasonInvalid, "jti") // a replay
	if err := g.Check(Proof{JKT: "other", ID: "1", Nonce: nonce}); err != nil {
		t.Error("the jti of another key counts:", err)
	}
	*now = now.Add(time.Minute)
	if g.Nonce() == nonce {
		t.Error("the nonce does not change")
	}
	if err := g.Check(Proof{JKT: "key", ID: "2", Nonce: nonce}); err != nil {
		t.Error("the previous nonce:", err)
	}
	wantReason(t, g.Check(p), ReasonInvalid, "jti")
	*now = now.Add(time.Minute)
	wantReason(t, g.Check(Proof{JKT: "key", ID: "3", Nonce: nonce}), ReasonUseNonce, "nonce")
	wantReason(t, g.Check(p), ReasonUseNonce, "nonce")
}

func TestGuardNonceRefusals(t *testing.T) {
	g, _ := newGuard(t, 0)
	foreign, now := newGuard(t, 0)
	*now = now.Add(time.Hour)
	nonce := g.Nonce()
	for name, bad := range map[string]string{
		"missing":            "",
		"of another process": foreign.Nonce(),
		"modified":           "B" + nonce[1:],
		"truncated":          nonce[:len(nonce)-4],
		"extended":           nonce + "AAAA",
		"not base64":         "!" + nonce[1:],
		"with a newline":     nonce + "\n",
		"of the future":      g.nonce(1),
		"of the far future":  g.nonce(1 << 60),
		"negative":           g.nonce(-1),
	} {
		t.Run(name, func(t *testing.T) {
			wantReason(t, g.Check(Proof{JKT: "k", ID: name, Nonce: bad}), ReasonUseNonce, "nonce")
		})
	}
	wantReason(t, g.Check(Proof{ID: "x", Nonce: nonce}), ReasonInvalid, "jti")
	wantReason(t, g.Check(Proof{JKT: "x", Nonce: nonce}), ReasonInvalid, "jti")
}

// TestGuardFullRefuses: a full memory refuses and forgets nothing early.
func TestGuardFullRefuses(t *testing.T) {
	g, now := newGuard(t, 2)
	nonce := g.Nonce()
	for _, id := range []string{"1", "2"} {
		if err := g.Check(Proof{JKT: "k", ID: id, Nonce: nonce}); err != nil {
			t.Fatal(err)
		}
	}
	err := g.Check(Proof{JKT: "k", ID: "3", Nonce: nonce})
	if agentid.KindOf(err) != agentid.KindUnavailable || agentid.ReasonOf(err) != "dpop_replay_full" {
		t.Fatal(err)
	}
	wantReason(t, g.Check(Proof{JKT: "k", ID: "1", Nonce: nonce}), ReasonInvalid, "jti")
	*now = now.Add(2 * time.Minute)
	if err := g.Check(Proof{JKT: "k", ID: "4", Nonce: g.Nonce()}); err != nil {
		t.Fatal("not emptied:", err)
	}
}

// TestGuardClockStepBack: a proof seen before the step stays seen after it.
func TestGuardClockStepBack(t *testing.T) {
	g, now := newGuard(t, 0)
	old := Proof{JKT: "k", ID: "1", Nonce: g.Nonce()}
	if err := g.Check(old); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(time.Hour)
	fresh := Proof{JKT: "k", ID: "2", Nonce: g.Nonce()}
	if err := g.Check(fresh); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(-time.Hour)
	wantReason(t, g.Check(old), ReasonUseNonce, "nonce")
	wantReason(t, g.Check(fresh), ReasonInvalid, "jti")
	if err := g.Check(Proof{JKT: "k", ID: "3", Nonce: g.Nonce()}); err != nil {
		t.Error("no proof passes after a step back:", err)
	}
}

// TestGuardConcurrentReplay: of many copies of one proof, one passes.
func TestGuardConcurrentReplay(t *testing.T) {
	g, _ := newGuard(t, 0)
	p := Proof{JKT: "k", ID: "1", Nonce: g.Nonce()}
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if g.Check(p) == nil {
				passed.Add(1)
			}
		})
	}
	wg.Wait()
	if passed.Load() != 1 {
		t.Fatalf("%d passed", passed.Load())
	}
}

func TestNewGuardRefuses(t *testing.T) {
	for _, cfg := range []GuardConfig{{}, {Now: time.Now, MaxProofs: -1}, {Now: time.Now, NoncePeriod: -1}} {
		if _, err := NewGuard(cfg); agentid.KindOf(err) != agentid.KindInvalid {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	k := fuzzKit(f)
	f.Add(k.proof(f, nil, nil))
	f.Add(k.proof(f, map[string]any{"alg": "none"}, nil))
	f.Add("..")
	f.Fuzz(func(t *testing.T, proof string) {
		p, err := Verify(proof, k.expect())
		if err == nil && (p.JKT != k.signer.Thumbprint() || p.ID == "") {
			t.Fatalf("%+v", p)
		}
		if err != nil && agentid.ReasonOf(err) != ReasonInvalid {
			t.Fatal(err)
		}
	})
}

func FuzzNormalURL(f *testing.F) {
	f.Add("https://A.example:443/a/%2e%2e/b?c#d")
	f.Add("http://[::1]:80/%7e")
	f.Fuzz(func(t *testing.T, s string) {
		once, err := normalURL(s)
		if err != nil {
			return
		}
		twice, err := normalURL(once)
		if err != nil || once != twice {
			t.Fatalf("%q: %q, then %q, %v", s, once, twice, err)
		}
	})
}

func benchVerify(b *testing.B, key jose.SigningKey) {
	s, err := NewSigner(key)
	if err != nil {
		b.Fatal(err)
	}
	proof, err := s.Sign(Request{Method: "POST", URL: target, AccessToken: token, Nonce: "n", Now: proofTime})
	if err != nil {
		b.Fatal(err)
	}
	expect := Expect{Method: "POST", URL: target, Now: proofTime, AccessToken: token, Thumbprint: s.Thumbprint()}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Verify(proof, expect); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyEdDSA(b *testing.B) {
	benchVerify(b, jose.SigningKey{Algorithm: jose.EdDSA, Key: newKit(b).private})
}

func BenchmarkVerifyES256(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	benchVerify(b, jose.SigningKey{Algorithm: jose.ES256, Key: key})
}

func BenchmarkSign(b *testing.B) {
	k := newKit(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.signer.Sign(Request{Method: "POST", URL: target, AccessToken: token, Nonce: "n", Now: proofTime}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGuard(b *testing.B) {
	now := proofTime
	g, err := NewGuard(GuardConfig{MaxProofs: 1 << 30, Now: func() time.Time { return now }})
	if err != nil {
		b.Fatal(err)
	}
	nonce := g.Nonce()
	b.ReportAllocs()
	var n int
	for b.Loop() {
		n++
		if n%100_000 == 0 {
			now = now.Add(2 * time.Minute)
			nonce = g.Nonce()
		}
		if err := g.Check(Proof{JKT: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", ID: string(rune(n)), Nonce: nonce}); err != nil && agentid.ReasonOf(err) != ReasonInvalid {
			b.Fatal(err)
		}
	}
}
