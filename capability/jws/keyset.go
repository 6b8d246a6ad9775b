package jws

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"math/big"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid/capability/strictjson"
)

// KeySetPolicy bounds a JWK Set from outside. Zero fields take their defaults.
type KeySetPolicy struct {
	MaxBytes int // default 262,144
	MaxKeys  int // default 64
}

// ParseKey reads one public JWK (RFC 7517) from outside: Ed25519, P-256, P-384,
// P-521 or RSA. A private or symmetric key is refused, as are weak keys, keys for
// encryption, and members of a wrong type. The error is an *Error with FaultKey.
func ParseKey(data []byte) (jose.JSONWebKey, error) {
	v, err := strictjson.Parse(data, strictjson.Limits{Bytes: 16 << 10, Depth: 4, Values: 64})
	if err != nil {
		return jose.JSONWebKey{}, &Error{Fault: FaultKey, Detail: "the key is not strict JSON", Cause: err}
	}
	return keyFrom(v)
}

// ParseKeySet reads a JWK Set from outside. Keys of a type that we do not know, or
// that are for encryption only, are left out, as RFC 7517 section 5 has it. The
// whole set is refused if it holds a private or symmetric key, a key that ParseKey
// refuses for any other reason, or two keys with one kid: such a set was not made
// with care.
func ParseKeySet(data []byte, policy KeySetPolicy) (jose.JSONWebKeySet, error) {
	if policy.MaxBytes <= 0 {
		policy.MaxBytes = 256 << 10
	}
	if policy.MaxKeys <= 0 {
		policy.MaxKeys = 64
	}
	v, err := strictjson.Parse(data, strictjson.Limits{Bytes: policy.MaxBytes, Depth: 8, Values: 64 * policy.MaxKeys})
	if err != nil {
		return jose.JSONWebKeySet{}, &Error{Fault: FaultKey, Detail: "the key set is not strict JSON", Cause: err}
	}
	items, ok := v.Get("keys").Items()
	if !ok {
		return jose.JSONWebKeySet{}, faultf(FaultKey, "the key set has no array called keys")
	}
	if len(items) > policy.MaxKeys {
		return jose.JSONWebKeySet{}, faultf(FaultKey, "the key set has more than %d keys", policy.MaxKeys)
	}
	var set jose.JSONWebKeySet
	seen := map[string]bool{}
	for _, item := range items {
		if kid, _ := item.Get("kid").Text(); kid != "" {
			if seen[kid] {
				return jose.JSONWebKeySet{}, faultf(FaultKey, "the key set has two keys with one kid")
			}
			seen[kid] = true
		}
		if err := refuseSecret(item); err != nil {
			return jose.JSONWebKeySet{}, err
		}
		if !forSignatures(item) {
			continue
		}
		key, err := keyFrom(item)
		if err != nil {
			return jose.JSONWebKeySet{}, err
		}
		set.Keys = append(set.Keys, key)
	}
	return set, nil
}

// forSignatures is false for what a set may hold beside its signing keys.
func forSignatures(v strictjson.Value) bool {
	kty, _ := v.Get("kty").Text()
	crv, _ := v.Get("crv").Text()
	use, _ := v.Get("use").Text()
	known := kty == "RSA" || kty == "EC" && curveByName(crv) != "" || kty == "OKP" && crv == "Ed25519"
	return known && use != "enc"
}

func refuseSecret(v strictjson.Value) error {
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		if v.Get(name).Kind() != strictjson.Invalid {
			return faultf(FaultKey, "the key holds a secret part")
		}
	}
	if kty, _ := v.Get("kty").Text(); kty == "oct" {
		return faultf(FaultKey, "the key is symmetric")
	}
	return nil
}

func keyFrom(v strictjson.Value) (jose.JSONWebKey, error) {
	if v.Kind() != strictjson.Object {
		return jose.JSONWebKey{}, faultf(FaultKey, "the key is not a JSON object")
	}
	if err := refuseSecret(v); err != nil {
		return jose.JSONWebKey{}, err
	}
	texts := map[string]string{}
	for _, name := range []string{"kty", "crv", "alg", "use", "kid"} {
		member := v.Get(name)
		text, ok := member.Text()
		if !ok && member.Kind() != strictjson.Invalid {
			return jose.JSONWebKey{}, faultf(FaultKey, "%s of the key is not a string", name)
		}
		texts[name] = text
	}
	if len(texts["kid"]) > MaxKeyIDBytes {
		return jose.JSONWebKey{}, faultf(FaultKey, "kid is longer than %d bytes", MaxKeyIDBytes)
	}
	if err := checkOps(v.Get("key_ops")); err != nil {
		return jose.JSONWebKey{}, err
	}
	pub, algs, err := publicKey(v, texts["kty"], texts["crv"])
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	key := jose.JSONWebKey{Key: pub, KeyID: texts["kid"], Algorithm: texts["alg"], Use: texts["use"]}
	alg := algs[0]
	if key.Algorithm != "" {
		alg, _ = polymorphic(jose.SignatureAlgorithm(key.Algorithm))
		if !slices.Contains(algs, alg) {
			return jose.JSONWebKey{}, faultf(FaultKey, "alg of the key does not fit its type")
		}
	}
	return key, CheckKey(key, alg)
}

// checkOps refuses a key whose key_ops (RFC 7517 section 4.3) leave out verify.
func checkOps(v strictjson.Value) error {
	if v.Kind() == strictjson.Invalid {
		return nil
	}
	ops, ok := v.Items()
	if !ok {
		return faultf(FaultKey, "key_ops of the key is not an array")
	}
	for _, op := range ops {
		if text, _ := op.Text(); text == "verify" {
			return nil
		}
	}
	return faultf(FaultKey, "key_ops of the key leaves out verify")
}

func curveByName(crv string) jose.SignatureAlgorithm {
	switch crv {
	case "P-256":
		return jose.ES256
	case "P-384":
		return jose.ES384
	case "P-521":
		return jose.ES512
	}
	return ""
}

// publicKey reads the key's numbers and says which algorithms it can serve.
func publicKey(v strictjson.Value, kty, crv string) (any, []jose.SignatureAlgorithm, error) {
	switch {
	case kty == "OKP" && crv == "Ed25519":
		x, err := number(v, "x")
		return ed25519.PublicKey(x), []jose.SignatureAlgorithm{jose.EdDSA}, err
	case kty == "EC" && curveByName(crv) != "":
		pub, err := ecKey(v, curveByName(crv))
		return pub, []jose.SignatureAlgorithm{curveByName(crv)}, err
	case kty == "RSA":
		pub, err := rsaKey(v)
		return pub, rsaAlgorithms, err
	}
	return nil, nil, faultf(FaultKey, "not a key type that we know")
}

func ecKey(v strictjson.Value, alg jose.SignatureAlgorithm) (*ecdsa.PublicKey, error) {
	x, err := number(v, "x")
	if err != nil {
		return nil, err
	}
	y, err := number(v, "y")
	if err != nil {
		return nil, err
	}
	size := (curves[alg].Params().BitSize + 7) / 8
	if len(x) != size || len(y) != size {
		return nil, faultf(FaultKey, "a coordinate has %d bytes on this curve", size)
	}
	point := append(append([]byte{4}, x...), y...)
	pub, err := ecdsa.ParseUncompressedPublicKey(curves[alg], point)
	if err != nil {
		return nil, &Error{Fault: FaultKey, Detail: "the point is not on the curve", Cause: err}
	}
	return pub, nil
}

func rsaKey(v strictjson.Value) (*rsa.PublicKey, error) {
	n, err := number(v, "n")
	if err != nil {
		return nil, err
	}
	e, err := number(v, "e")
	if err != nil {
		return nil, err
	}
	if len(n) > MaxRSABits/8+1 || len(e) > 4 {
		return nil, faultf(FaultKey, "an RSA key has %d to %d bits and a small exponent", MinRSABits, MaxRSABits)
	}
	exponent := new(big.Int).SetBytes(e).Int64()
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent)}, nil
}

func number(v strictjson.Value, name string) ([]byte, error) {
	text, ok := v.Get(name).Text()
	if !ok || text == "" {
		return nil, faultf(FaultKey, "%s of the key is missing", name)
	}
	out, err := decode(text)
	if err != nil {
		return nil, &Error{Fault: FaultKey, Detail: name + " of the key is not base64url", Cause: err}
	}
	return out, nil
}
