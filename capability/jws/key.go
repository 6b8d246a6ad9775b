package jws

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// The sizes of RSA moduli that are accepted, in bits.
const (
	MinRSABits = 2048
	MaxRSABits = 8192
)

// minRSAExponent is the least public exponent (NIST SP 800-56B, section 6.2).
const minRSAExponent = 65537

// CheckKey holds a verification key against the policy for one algorithm: public,
// not weak, of the type and curve that the algorithm means, and, where the JWK
// says so, for that algorithm ("alg") and for signatures ("use"). key_ops is
// looked at by ParseKey and ParseKeySet: go-jose does not keep it. The error is an
// *Error with FaultKey.
func CheckKey(key jose.JSONWebKey, alg jose.SignatureAlgorithm) error {
	alg, _ = polymorphic(alg)
	if key.Use != "" && key.Use != "sig" {
		return faultf(FaultKey, "the key is not for signatures")
	}
	if own, _ := polymorphic(jose.SignatureAlgorithm(key.Algorithm)); own != "" && own != alg {
		return faultf(FaultKey, "the key is for another algorithm")
	}
	return checkPublic(key.Key, alg)
}

func checkPublic(key any, alg jose.SignatureAlgorithm) error {
	switch pub := key.(type) {
	case ed25519.PublicKey:
		if alg == jose.EdDSA {
			return checkEd25519(pub)
		}
	case *ecdsa.PublicKey:
		if pub != nil && pub.Curve != nil && curves[alg] == pub.Curve {
			return checkPoint(pub)
		}
	case *rsa.PublicKey:
		if slices.Contains(rsaAlgorithms, alg) {
			return checkRSA(pub)
		}
	default:
		return faultf(FaultKey, "not a public key of a known type")
	}
	return faultf(FaultKey, "the key does not fit the algorithm")
}

var curves = map[jose.SignatureAlgorithm]elliptic.Curve{
	jose.ES256: elliptic.P256(), jose.ES384: elliptic.P384(), jose.ES512: elliptic.P521(),
}

var rsaAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}

func asymmetric(alg jose.SignatureAlgorithm) bool {
	return alg == jose.EdDSA || curves[alg] != nil || slices.Contains(rsaAlgorithms, alg)
}

// Ed25519 is the fully specified name of what EdDSA means for an Ed25519 key (RFC
// 9864 section 2.2). Where EdDSA is accepted so is this name.
const Ed25519 jose.SignatureAlgorithm = "Ed25519"

// polymorphic maps Ed25519 to EdDSA, and says whether it did.
func polymorphic(alg jose.SignatureAlgorithm) (jose.SignatureAlgorithm, bool) {
	if alg == Ed25519 {
		return jose.EdDSA, true
	}
	return alg, false
}

// lowOrder are the encodings of y, without the sign bit, of the points whose order
// divides eight. A signature under such a key verifies for chosen messages.
var lowOrder = [][]byte{
	append([]byte{0x00}, bytes.Repeat([]byte{0x00}, 31)...),
	append([]byte{0x01}, bytes.Repeat([]byte{0x00}, 31)...),
	nearPrime(0xec), nearPrime(0xed), nearPrime(0xee),
	{
		0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
	},
	{
		0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
	},
}

// nearPrime is 2^255-1 with another lowest byte: p-1, p and p+1.
func nearPrime(lowest byte) []byte {
	b := append([]byte{lowest}, bytes.Repeat([]byte{0xff}, 31)...)
	b[31] = 0x7f
	return b
}

func checkEd25519(pub ed25519.PublicKey) error {
	if len(pub) != ed25519.PublicKeySize {
		return faultf(FaultKey, "an Ed25519 key has 32 bytes")
	}
	var y [ed25519.PublicKeySize]byte
	copy(y[:], pub)
	y[31] &= 0x7f
	for _, weak := range lowOrder {
		if bytes.Equal(y[:], weak) {
			return faultf(FaultKey, "the Ed25519 key is a point of low order")
		}
	}
	return nil
}

// checkPoint refuses a point off its curve and the point at infinity. Bytes does
// that check, in constant memory.
func checkPoint(pub *ecdsa.PublicKey) error {
	if pub.X == nil || pub.Y == nil { //nolint:staticcheck // a key built by hand may lack them
		return faultf(FaultKey, "the key has no point")
	}
	if _, err := pub.Bytes(); err != nil {
		return &Error{Fault: FaultKey, Detail: "the point is not on the curve", Cause: err}
	}
	return nil
}

func checkRSA(pub *rsa.PublicKey) error {
	if pub == nil || pub.N == nil {
		return faultf(FaultKey, "the key has no modulus")
	}
	if bits := pub.N.BitLen(); bits < MinRSABits || bits > MaxRSABits {
		return faultf(FaultKey, "an RSA key has %d to %d bits", MinRSABits, MaxRSABits)
	}
	if pub.E < minRSAExponent || pub.E > 1<<31-1 || pub.E%2 == 0 || pub.N.Bit(0) == 0 {
		return faultf(FaultKey, "the RSA key is not well formed")
	}
	if roca(pub.N) {
		return faultf(FaultKey, "the RSA key is of a weak generator (CVE-2017-15361)")
	}
	return nil
}

// rocaPrimes are the primes modulo which a key made by the weak generator is a
// power of 65537 (Nemec et al., "The Return of Coppersmith's Attack", section 3).
var rocaPrimes = []int64{3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167}

func roca(n *big.Int) bool {
	residue := new(big.Int)
	for _, p := range rocaPrimes {
		r := residue.Mod(n, big.NewInt(p)).Int64()
		inGroup := false
		for power, first := int64(1), true; first || power != 1; first = false {
			if power == r {
				inGroup = true
				break
			}
			power = power * 65537 % p
		}
		if !inGroup {
			return false
		}
	}
	return true
}

// Thumbprint is the RFC 7638 SHA-256 thumbprint of a key, in base64url: the value
// of cnf.jkt. The key may be private; only its public part counts.
func Thumbprint(key jose.JSONWebKey) (string, error) {
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", &Error{Fault: FaultKey, Detail: "the key has no thumbprint", Cause: err}
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}
