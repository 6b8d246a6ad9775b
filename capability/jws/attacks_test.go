package jws

import (
	"bytes"
	"compress/flate"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

var strict = Policy{Types: []string{"at+jwt"}, Algorithms: []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256}, RequireKeyID: true}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

type edKey struct {
	private ed25519.PrivateKey
	public  jose.JSONWebKey
}

func newEdKey(t testing.TB) edKey {
	t.Helper()
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return edKey{private, jose.JSONWebKey{Key: pub, KeyID: "k1", Algorithm: "EdDSA", Use: "sig"}}
}

// sign makes a message with any header and payload, correctly signed.
func (k edKey) sign(header, payload string) string {
	input := b64(header) + "." + b64(payload)
	return input + "." + b64(string(ed25519.Sign(k.private, []byte(input))))
}

const goodHeader = `{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}`

func faultOf(t *testing.T, err error) Fault {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("want a *jws.Error, have %v", err)
	}
	return e.Fault
}

func verify(compact string, policy Policy, key jose.JSONWebKey) error {
	u, err := Parse(compact, policy)
	if err != nil {
		return err
	}
	_, err = u.Verify(key)
	return err
}

func TestAcceptsGoodMessage(t *testing.T) {
	k := newEdKey(t)
	u, err := Parse(k.sign(goodHeader, `{"sub":"a"}`), strict)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := u.Verify(k.public)
	if err != nil {
		t.Fatal(err)
	}
	if sub, ok := claims.Get("sub").Text(); !ok || sub != "a" {
		t.Fatalf("sub is %q", sub)
	}
	if err := verify(k.sign(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1","unknown":[1]}`, `{}`), strict, k.public); err != nil {
		t.Errorf("an unknown header parameter: %v", err)
	}
}

func TestHeaderAttacksRefused(t *testing.T) {
	k := newEdKey(t)
	for name, c := range map[string]struct {
		header string
		fault  Fault
	}{
		"alg none":                 {`{"alg":"none","typ":"at+jwt","kid":"k1"}`, FaultAlgorithm},
		"alg NONE":                 {`{"alg":"NoNe","typ":"at+jwt","kid":"k1"}`, FaultAlgorithm},
		"alg missing":              {`{"typ":"at+jwt","kid":"k1"}`, FaultAlgorithm},
		"alg number":               {`{"alg":1,"typ":"at+jwt","kid":"k1"}`, FaultMalformed},
		"alg in another case":      {`{"alg":"eddsa","typ":"at+jwt","kid":"k1"}`, FaultAlgorithm},
		"typ missing":              {`{"alg":"EdDSA","kid":"k1"}`, FaultType},
		"typ JWT":                  {`{"alg":"EdDSA","typ":"JWT","kid":"k1"}`, FaultType},
		"typ in another case":      {`{"alg":"EdDSA","typ":"AT+JWT","kid":"k1"}`, FaultType},
		"typ empty":                {`{"alg":"EdDSA","typ":"","kid":"k1"}`, FaultType},
		"typ refresh":              {`{"alg":"EdDSA","typ":"rt+jwt","kid":"k1"}`, FaultType},
		"kid missing":              {`{"alg":"EdDSA","typ":"at+jwt"}`, FaultKey},
		"kid empty":                {`{"alg":"EdDSA","typ":"at+jwt","kid":""}`, FaultKey},
		"kid of 10 kB":             {`{"alg":"EdDSA","typ":"at+jwt","kid":"` + strings.Repeat("k", 10_000) + `"}`, FaultMalformed},
		"kid of 300 B":             {`{"alg":"EdDSA","typ":"at+jwt","kid":"` + strings.Repeat("k", 300) + `"}`, FaultKey},
		"kid path":                 {`{"alg":"EdDSA","typ":"at+jwt","kid":"../../dev/null"}`, FaultKey},
		"kid SQL":                  {`{"alg":"EdDSA","typ":"at+jwt","kid":"k1' OR '1'='1"}`, FaultKey},
		"jku":                      {`{"alg":"EdDSA","typ":"at+jwt","kid":"k1","jku":"https://evil.example/jwks"}`, FaultMalformed},
		"x5u":                      {`{"alg":"EdDSA","typ":"at+jwt","kid":"k1","x5u":"https://evil.example/x"}`, FaultMalformed},
		"x5c":                      {`{"alg":"EdDSA","typ":"at+jwt","kid":"k1","x5c":["AA=="]}`, FaultMalformed},
		"jwk":                      {`{"alg":"EdDSA","typ":"at+jwt","kid":"k1","jwk":{}}`, FaultMalformed},
		"unknown crit":             {`{"alg":"EdDSA","typ":"at+jwt","kid":"k1","crit":["exp"],"exp":1}`, FaultMalformed},
		"crit b64":                 {`{"alg":"EdDSA","typ":"at+jwt","kid":"k1","crit":["b64"],"b64":false}`, FaultMalformed},
		"b64 false":                {`{"alg":"EdDSA","typ":"at+jwt","kid":"k1","b64":false}`, FaultMalformed},
		"crit empty":               {`{"alg":"EdDSA","typ":"at+jwt","kid":"k1","crit":[]}`, FaultMalformed},
		"zip":                      {`{"alg":"EdDSA","typ":"at+jwt","kid":"k1","zip":"DEF"}`, FaultMalformed},
		"enc":                      {`{"alg":"EdDSA","typ":"at+jwt","kid":"k1","enc":"A256GCM"}`, FaultMalformed},
		"alg twice":                {`{"alg":"EdDSA","alg":"none","typ":"at+jwt","kid":"k1"}`, FaultMalformed},
		"Alg case variant":         {`{"Alg":"EdDSA","typ":"at+jwt","kid":"k1"}`, FaultMalformed},
		"Crit case variant":        {`{"alg":"EdDSA","typ":"at+jwt","kid":"k1","Crit":["x"]}`, FaultMalformed},
		"trailing data":            {goodHeader + `{}`, FaultMalformed},
		"array":                    {`["alg","EdDSA"]`, FaultMalformed},
		"NUL in a name":            {`{"alg":"EdDSA","typ":"at+jwt","kid":"k1","a\u0000":1}`, FaultMalformed},
		"PBES2 with p2c of 2^31":   {`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483648,"p2s":"AA"}`, FaultMalformed},
		"ES256 with an EdDSA key":  {`{"alg":"ES256","typ":"at+jwt","kid":"k1"}`, FaultKey},
		"RS256 is not in the list": {`{"alg":"RS256","typ":"at+jwt","kid":"k1"}`, FaultAlgorithm},
	} {
		t.Run(name, func(t *testing.T) {
			err := verify(k.sign(c.header, `{}`), strict, k.public)
			if err == nil {
				t.Fatal("accepted")
			}
			if got := faultOf(t, err); got != c.fault {
				t.Fatalf("fault %d, want %d: %v", got, c.fault, err)
			}
		})
	}
}

// TestBareHeaderIsAlgTypKid: under Bare nothing else is let through.
func TestBareHeaderIsAlgTypKid(t *testing.T) {
	k := newEdKey(t)
	bare := strict
	bare.Bare = true
	if err := verify(k.sign(goodHeader, `{}`), bare, k.public); err != nil {
		t.Fatal(err)
	}
	err := verify(k.sign(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1","x5t":"AA"}`, `{}`), bare, k.public)
	if err == nil || faultOf(t, err) != FaultMalformed {
		t.Fatal(err)
	}
}

// TestHS256WithPublicKeyBytesRefused: the public key is no HMAC secret.
func TestHS256WithPublicKeyBytesRefused(t *testing.T) {
	k := newEdKey(t)
	input := b64(`{"alg":"HS256","typ":"at+jwt","kid":"k1"}`) + "." + b64(`{}`)
	mac := hmac.New(sha256.New, k.public.Key.(ed25519.PublicKey))
	_, _ = mac.Write([]byte(input))
	policy := strict
	policy.Algorithms = append([]jose.SignatureAlgorithm{jose.HS256}, strict.Algorithms...)
	for _, p := range []Policy{strict, policy} {
		if err := verify(input+"."+b64(string(mac.Sum(nil))), p, k.public); faultOf(t, err) != FaultAlgorithm {
			t.Fatal(err)
		}
	}
}

func TestSyntaxRefused(t *testing.T) {
	k := newEdKey(t)
	good := k.sign(goodHeader, `{"a":1}`)
	parts := strings.Split(good, ".")
	for name, compact := range map[string]string{
		"empty":                       "",
		"JSON serialisation":          fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, parts[1], parts[0], parts[2]),
		"1 MB of dots":                strings.Repeat(".", 1<<20),
		"8 kB of dots":                strings.Repeat(".", 8000),
		"two parts":                   parts[0] + "." + parts[1],
		"four parts":                  good + ".AA",
		"five parts (JWE)":            "AA.AA.AA.AA.AA",
		"JWE with an empty key":       b64(`{"alg":"A128KW","enc":"A128GCM"}`) + "..AA.AA.AA",
		"detached payload":            parts[0] + ".." + parts[2],
		"no signature":                parts[0] + "." + parts[1] + ".",
		"padded base64":               parts[0] + "." + parts[1] + "." + parts[2] + "==",
		"standard alphabet":           strings.NewReplacer("-", "+", "_", "/").Replace(k.sign(goodHeader, `{"a":"???>>>~~~ÿÿÿ"}`)) + "+",
		"newline inside":              parts[0] + "." + parts[1][:2] + "\n" + parts[1][2:] + "." + parts[2],
		"carriage return inside":      parts[0] + "." + parts[1] + "." + parts[2] + "\r",
		"space in front":              " " + good,
		"stray bits":                  parts[0] + "." + parts[1] + "." + parts[2][:len(parts[2])-1] + "_",
		"over the cap":                k.sign(goodHeader, `{"a":"`+strings.Repeat("a", 9000)+`"}`),
		"payload text":                k.sign(goodHeader, `hello`),
		"payload array":               k.sign(goodHeader, `[]`),
		"payload with trailing data":  k.sign(goodHeader, `{"sub":"a"}{"sub":"b"}`),
		"duplicate JSON key":          k.sign(goodHeader, `{"sub":"a","sub":"b"}`),
		"case variant beside its own": k.sign(goodHeader, `{"sub":"a","Sub":"b"}`),
		"NUL in key":                  k.sign(goodHeader, `{"sub\u0000":"a"}`),
		"payload nested 1000 deep":    k.sign(goodHeader, strings.Repeat(`{"a":`, 1000)+"1"+strings.Repeat("}", 1000)),
	} {
		t.Run(name, func(t *testing.T) {
			if err := verify(compact, strict, k.public); err == nil {
				t.Fatal("accepted")
			} else if got := faultOf(t, err); got != FaultMalformed {
				t.Fatalf("fault %d: %v", got, err)
			}
		})
	}
}

func TestSignatureRefused(t *testing.T) {
	k, other := newEdKey(t), newEdKey(t)
	good := k.sign(goodHeader, `{"a":1}`)
	parts := strings.Split(good, ".")
	if err := verify(good, strict, other.public); faultOf(t, err) != FaultSignature {
		t.Fatal(err)
	}
	if err := verify(parts[0]+"."+b64(`{"a":2}`)+"."+parts[2], strict, k.public); faultOf(t, err) != FaultSignature {
		t.Fatal(err)
	}
	foreign := k.public
	foreign.KeyID = "k2"
	if err := verify(good, strict, foreign); faultOf(t, err) != FaultKey {
		t.Fatal(err)
	}
}

// TestBombsAreBounded: every message that is not a small compact JWS is refused in
// less than 64 kB of allocations, without being unpacked.
func TestBombsAreBounded(t *testing.T) {
	var packed bytes.Buffer
	w, _ := flate.NewWriter(&packed, 9)
	_, _ = w.Write(make([]byte, 1<<24))
	_ = w.Close()
	k := newEdKey(t)
	for name, compact := range map[string]string{
		"1 MB of dots":        strings.Repeat(".", 1<<20),
		"1 MB of A":           strings.Repeat("A", 1<<20),
		"8 kB of dots":        strings.Repeat(".", 8000),
		"zip bomb as JWE":     b64(`{"alg":"dir","enc":"A128GCM","zip":"DEF"}`) + "..AAAA." + b64(packed.String()[:4000]) + ".AAAA",
		"zip bomb as JWS":     k.sign(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1","zip":"DEF"}`, packed.String()[:4000]),
		"PBES2 p2c 2^31":      b64(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483648,"p2s":"AAAA"}`) + ".AAAA.AAAA.AAAA.AAAA",
		"deep header":         b64(strings.Repeat("[", 2900)) + ".AA.AA",
		"deep payload":        k.sign(goodHeader, strings.Repeat("[", 5000)),
		"many header members": b64("{"+strings.Repeat(`"a":1,`, 400)+"}") + ".AA.AA",
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, err := Parse(compact, strict)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Fatal("accepted")
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 64<<10 {
				t.Errorf("allocates %d bytes", got)
			}
			t.Logf("%s, %d bytes", took, after.TotalAlloc-before.TotalAlloc)
		})
	}
}

func TestKeyPolicyRefusals(t *testing.T) {
	good, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed := newEdKey(t)
	size := func(bits uint) *rsa.PublicKey {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
	}
	small := func(first, last byte) ed25519.PublicKey {
		return append(append(ed25519.PublicKey{first}, make([]byte, 30)...), last)
	}
	//nolint:staticcheck // only a key built from raw coordinates can be off its curve
	offCurve := &ecdsa.PublicKey{Curve: elliptic.P256(), X: good.X, Y: new(big.Int).Add(good.Y, big.NewInt(1))}
	//nolint:staticcheck // only a key built from raw coordinates can be at infinity
	infinity := &ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int), Y: new(big.Int)}
	for name, c := range map[string]struct {
		key jose.JSONWebKey
		alg jose.SignatureAlgorithm
	}{
		"no key":                     {jose.JSONWebKey{}, jose.EdDSA},
		"private Ed25519":            {jose.JSONWebKey{Key: ed.private}, jose.EdDSA},
		"private EC":                 {jose.JSONWebKey{Key: good}, jose.ES256},
		"symmetric":                  {jose.JSONWebKey{Key: []byte("secret")}, jose.HS256},
		"all-zero Ed25519":           {jose.JSONWebKey{Key: small(0, 0)}, jose.EdDSA},
		"Ed25519 identity":           {jose.JSONWebKey{Key: small(1, 0)}, jose.EdDSA},
		"Ed25519 identity, signed":   {jose.JSONWebKey{Key: small(1, 0x80)}, jose.EdDSA},
		"Ed25519 of order 2":         {jose.JSONWebKey{Key: ed25519.PublicKey(nearPrime(0xec))}, jose.EdDSA},
		"Ed25519 of 31 bytes":        {jose.JSONWebKey{Key: ed.public.Key.(ed25519.PublicKey)[:31]}, jose.EdDSA},
		"P-256 point not on curve":   {jose.JSONWebKey{Key: offCurve}, jose.ES256},
		"P-256 point at infinity":    {jose.JSONWebKey{Key: infinity}, jose.ES256},
		"P-256 without point":        {jose.JSONWebKey{Key: &ecdsa.PublicKey{Curve: elliptic.P256()}}, jose.ES256},
		"EC nil":                     {jose.JSONWebKey{Key: (*ecdsa.PublicKey)(nil)}, jose.ES256},
		"P-256 for ES384":            {jose.JSONWebKey{Key: &good.PublicKey}, jose.ES384},
		"EdDSA key for ES256":        {ed.public, jose.ES256},
		"alg of the key differs":     {jose.JSONWebKey{Key: &good.PublicKey, Algorithm: "ES384"}, jose.ES256},
		"use enc":                    {jose.JSONWebKey{Key: &good.PublicKey, Use: "enc"}, jose.ES256},
		"RSA nil":                    {jose.JSONWebKey{Key: (*rsa.PublicKey)(nil)}, jose.RS256},
		"RSA 1024 bit":               {jose.JSONWebKey{Key: size(1024)}, jose.RS256},
		"RSA 16384 bit":              {jose.JSONWebKey{Key: size(16384)}, jose.RS256},
		"RSA exponent 1":             {jose.JSONWebKey{Key: &rsa.PublicKey{N: size(2048).N, E: 1}}, jose.RS256},
		"RSA even exponent":          {jose.JSONWebKey{Key: &rsa.PublicKey{N: size(2048).N, E: 65538}}, jose.RS256},
		"RSA for EdDSA":              {jose.JSONWebKey{Key: size(2048)}, jose.EdDSA},
		"RSA for an unknown alg":     {jose.JSONWebKey{Key: size(2048)}, "RS1"},
		"Ed25519 for an unknown alg": {ed.public, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := CheckKey(c.key, c.alg); err == nil || faultOf(t, err) != FaultKey {
				t.Fatalf("accepted: %v", err)
			}
		})
	}
	for name, c := range map[string]struct {
		key any
		alg jose.SignatureAlgorithm
	}{
		"Ed25519":      {ed.public.Key, jose.EdDSA},
		"P-256":        {&good.PublicKey, jose.ES256},
		"RSA 2048 bit": {size(2048), jose.RS256},
		"RSA 8192 bit": {size(8192), jose.PS512},
	} {
		if err := CheckKey(jose.JSONWebKey{Key: c.key}, c.alg); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLowOrderPointsAreAll: the list holds exactly what go-jose calls weak.
func TestLowOrderPointsAreAll(t *testing.T) {
	for _, y := range lowOrder {
		for _, sign := range []byte{0, 0x80} {
			key := bytes.Clone(y)
			key[31] |= sign
			if _, err := (&jose.JSONWebKey{Key: ed25519.PublicKey(key)}).MarshalJSON(); err == nil {
				t.Errorf("go-jose takes %x", key)
			}
		}
	}
	if len(lowOrder) != 7 {
		t.Fatalf("%d points", len(lowOrder))
	}
}

func publicJSON(t *testing.T, key jose.JSONWebKey, change map[string]any) []byte {
	t.Helper()
	text, err := key.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]any{}
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	for name, value := range change {
		if m[name] = value; value == nil {
			delete(m, name)
		}
	}
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestParseKey(t *testing.T) {
	ed := newEdKey(t).public
	for name, change := range map[string]map[string]any{
		"as it is": {}, "no alg": {"alg": nil}, "no use": {"use": nil}, "key_ops verify": {"key_ops": []string{"sign", "verify"}}, "unknown member": {"x": ed2x(ed), "foo": 1},
	} {
		if _, err := ParseKey(publicJSON(t, ed, change)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]map[string]any{
		"private part":       {"d": "AAAA"},
		"symmetric part":     {"k": "AAAA"},
		"kty oct":            {"kty": "oct"},
		"kty missing":        {"kty": nil},
		"kty number":         {"kty": 1},
		"crv X25519":         {"crv": "X25519"},
		"alg ES256":          {"alg": "ES256"},
		"alg unknown":        {"alg": "Ed448"},
		"use enc":            {"use": "enc"},
		"key_ops encrypt":    {"key_ops": []string{"encrypt"}},
		"key_ops empty":      {"key_ops": []string{}},
		"key_ops text":       {"key_ops": "verify"},
		"x missing":          {"x": nil},
		"x short":            {"x": "AAAA"},
		"x padded":           {"x": ed2x(ed) + "="},
		"all-zero Ed25519":   {"x": strings.Repeat("A", 43)},
		"kid of 300 bytes":   {"kid": strings.Repeat("k", 300)},
		"kid number":         {"kid": 7},
		"EC without y":       {"kty": "EC", "crv": "P-256"},
		"RSA without n":      {"kty": "RSA"},
		"RSA with 16384 bit": {"kty": "RSA", "alg": nil, "n": b64(strings.Repeat("\xff", 2048)), "e": "AQAB"},
		"RSA with e of 5 B":  {"kty": "RSA", "alg": nil, "n": b64(strings.Repeat("\xff", 256)), "e": "AQAAAAE"},
	} {
		if _, err := ParseKey(publicJSON(t, ed, change)); err == nil {
			t.Errorf("%s accepted", name)
		} else if faultOf(t, err) != FaultKey {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{"array": `[]`, "empty": ``, "twice": `{"kty":"OKP","kty":"EC"}`, "case": `{"kty":"OKP","Kty":"EC"}`} {
		if _, err := ParseKey([]byte(text)); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

func ed2x(key jose.JSONWebKey) string { return b64(string(key.Key.(ed25519.PublicKey))) }

func TestParseKeySet(t *testing.T) {
	a, b := newEdKey(t).public, newEdKey(t).public
	b.KeyID = "k2"
	set := func(keys ...string) []byte { return []byte(`{"keys":[` + strings.Join(keys, ",") + `]}`) }
	ka, kb := string(publicJSON(t, a, nil)), string(publicJSON(t, b, nil))
	got, err := ParseKeySet(set(ka, kb, `{"kty":"new","kid":"x"}`, string(publicJSON(t, a, map[string]any{"use": "enc", "kid": "e"}))), KeySetPolicy{})
	if err != nil || len(got.Keys) != 2 {
		t.Fatalf("%d keys, %v", len(got.Keys), err)
	}
	for name, text := range map[string][]byte{
		"two keys with one kid": set(ka, string(publicJSON(t, b, map[string]any{"kid": "k1"}))),
		"private key":           set(ka, string(publicJSON(t, b, map[string]any{"d": "AAAA"}))),
		"symmetric key":         set(ka, `{"kty":"oct","k":"AAAA","kid":"s"}`),
		"weak key":              set(ka, `{"kty":"OKP","crv":"Ed25519","kid":"w","x":"`+strings.Repeat("A", 43)+`"}`),
		"no keys":               []byte(`{}`),
		"keys object":           []byte(`{"keys":{}}`),
		"65 keys":               set(strings.Split(strings.Repeat(`{"kty":"new"} `, 65), " ")[:65]...),
		"10 k keys":             set(strings.Split(strings.Repeat(`{} `, 10_000), " ")[:10_000]...),
		"300 kB":                []byte(`{"keys":[],"pad":"` + strings.Repeat("a", 300_000) + `"}`),
	} {
		if _, err := ParseKeySet(text, KeySetPolicy{}); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

// TestThumbprint is the example of RFC 8037 appendix A.3 and that of RFC 7638
// section 3.1.
func TestThumbprint(t *testing.T) {
	for text, want := range map[string]string{
		`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
		`{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
	} {
		key, err := ParseKey([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Thumbprint(key); err != nil || got != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) // the same in every worker
	k := edKey{private, jose.JSONWebKey{Key: private.Public(), KeyID: "k1"}}
	f.Add(k.sign(goodHeader, `{"sub":"a"}`))
	f.Add(k.sign(`{"alg":"EdDSA","typ":"at+jwt","kid":"k1","crit":["x"]}`, `{}`))
	f.Add("..")
	f.Add("AA.AA.AA.AA.AA")
	f.Fuzz(func(t *testing.T, compact string) {
		u, err := Parse(compact, strict)
		if err != nil {
			return
		}
		if h := u.Header(); h.Type != "at+jwt" || h.KeyID == "" || h.Algorithm != jose.EdDSA && h.Algorithm != jose.ES256 {
			t.Fatalf("header %+v", h)
		}
		if _, err := u.Verify(k.public); err != nil {
			return
		}
		if _, err := jose.ParseSignedCompact(compact, strict.Algorithms); err != nil {
			t.Fatalf("verified what go-jose does not parse: %v", err)
		}
	})
}

func FuzzParseKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY","y":"UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":""}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := ParseKeySet(data, KeySetPolicy{})
		if err != nil {
			return
		}
		for _, key := range set.Keys {
			if !key.IsPublic() || !key.Valid() {
				t.Fatalf("accepted %T", key.Key)
			}
			if _, err := Thumbprint(key); err != nil {
				t.Fatal(err)
			}
		}
	})
}
