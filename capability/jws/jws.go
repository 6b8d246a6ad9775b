package jws

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha512" // for crypto.Hash.New
	"encoding/base64"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid/capability/strictjson"
)

// Defaults and bounds, in bytes.
const (
	DefaultMaxBytes = 8 << 10
	MaxKeyIDBytes   = 256
	maxHeaderBytes  = 4 << 10
)

// Policy says what is accepted. The zero Policy accepts nothing.
type Policy struct {
	// Types are the accepted values of typ, compared byte by byte. The empty
	// string stands for a header without typ.
	Types []string
	// Algorithms are the accepted values of alg. Only asymmetric ones count:
	// "none" and HMAC are refused even when listed.
	Algorithms []jose.SignatureAlgorithm
	// MaxBytes bounds the message; zero is DefaultMaxBytes.
	MaxBytes int
	// Depth bounds the nesting of the payload; zero is strictjson's default.
	Depth int
	// RequireKeyID refuses a header without kid.
	RequireKeyID bool
	// EmbeddedKey reads the key from the header's jwk, which is then required, as
	// RFC 9449 has it. Otherwise a header with a jwk is refused.
	EmbeddedKey bool
	// Bare refuses a header with any other parameter than alg, typ and kid, as JWT-SVIDs
	// have it.
	Bare bool
}

// Header is what a reader may know of the protected header.
type Header struct {
	Algorithm jose.SignatureAlgorithm // jose.EdDSA also for the name Ed25519
	Type      string
	KeyID     string
	Key       jose.JSONWebKey // only with Policy.EmbeddedKey

	fully bool // alg was fully specified: Ed25519
}

// Unverified is a well-formed message whose signature nobody has looked at. Its
// claims cannot be had before Verify; see Hint.
type Unverified struct {
	compact string
	header  Header
	claims  strictjson.Value
	payload []byte
}

// Parse reads a compact JWS whose payload is a JSON object. Work and memory are
// bounded by the policy's MaxBytes, before anything is decoded. Errors are of type
// *Error: FaultMalformed, FaultType, FaultAlgorithm, and FaultKey for a bad
// embedded key.
func Parse(compact string, policy Policy) (*Unverified, error) {
	u, err := parseMessage(compact, policy)
	if err != nil {
		return nil, err
	}
	claims, err := strictjson.Parse(u.payload, strictjson.Limits{Depth: policy.Depth})
	if err != nil {
		return nil, &Error{Fault: FaultMalformed, Detail: "the payload is not strict JSON", Cause: err}
	}
	if claims.Kind() != strictjson.Object {
		return nil, faultf(FaultMalformed, "the payload is not a JSON object")
	}
	u.claims = claims
	return u, nil
}

// parseMessage is Parse without the reading of the payload.
func parseMessage(compact string, policy Policy) (*Unverified, error) {
	limit := policy.MaxBytes
	if limit <= 0 {
		limit = DefaultMaxBytes
	}
	if len(compact) > limit {
		return nil, faultf(FaultMalformed, "longer than %d bytes", limit)
	}
	head, rest, ok := strings.Cut(compact, ".")
	body, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || head == "" || body == "" || signature == "" || len(head) > maxHeaderBytes {
		return nil, faultf(FaultMalformed, "not three parts of a compact JWS")
	}
	headJSON, err := decode(head)
	if err != nil {
		return nil, err
	}
	u := &Unverified{compact: compact}
	if u.header, err = parseHeader(headJSON, policy); err != nil {
		return nil, err
	}
	if _, err = decode(signature); err != nil {
		return nil, err
	}
	if u.payload, err = decode(body); err != nil {
		return nil, err
	}
	return u, nil
}

// Header is the protected header.
func (u *Unverified) Header() Header { return u.header }

// Hint returns a string claim before the signature is checked, to choose the key
// with and for nothing else.
func (u *Unverified) Hint(claim string) (string, bool) { return u.claims.Get(claim).Text() }

// Verify checks the signature with key and returns the claims. The key must pass
// CheckKey for the header's algorithm, and its kid, where both have one, must be
// the header's. Errors are of type *Error: FaultKey or FaultSignature.
func (u *Unverified) Verify(key jose.JSONWebKey) (strictjson.Value, error) {
	if err := u.verify(key); err != nil {
		return strictjson.Value{}, err
	}
	return u.claims, nil
}

func (u *Unverified) verify(key jose.JSONWebKey) error {
	if err := CheckKey(key, u.header.Algorithm); err != nil {
		return err
	}
	if u.header.KeyID != "" && key.KeyID != "" && u.header.KeyID != key.KeyID {
		return faultf(FaultKey, "kid names another key")
	}
	if u.header.fully || u.header.Algorithm == jose.EdDSA {
		return u.verifyEd25519(key)
	}
	parsed, err := jose.ParseSignedCompact(u.compact, []jose.SignatureAlgorithm{u.header.Algorithm})
	if err != nil {
		return &Error{Fault: FaultMalformed, Detail: "not a compact JWS", Cause: err}
	}
	if err := parsed.DetachedVerify(u.payload, key.Key); err != nil {
		return &Error{Fault: FaultSignature, Detail: "the signature does not verify", Cause: err}
	}
	return u.verifySalt(key)
}

// verifyEd25519 checks what Parse has read already: go-jose would read all of it again,
// and does not know the algorithm's fully-specified name.
func (u *Unverified) verifyEd25519(key jose.JSONWebKey) error {
	pub, ok := key.Key.(ed25519.PublicKey)
	dot := strings.LastIndexByte(u.compact, '.')
	signature, err := decode(u.compact[dot+1:])
	if !ok || err != nil || !ed25519.Verify(pub, []byte(u.compact[:dot]), signature) {
		return &Error{Fault: FaultSignature, Detail: "the signature does not verify", Cause: err}
	}
	return nil
}

// verifySalt checks an RSASSA-PSS signature again for the salt length that RFC 7518
// section 3.5 demands, the digest's; go-jose accepts any.
func (u *Unverified) verifySalt(key jose.JSONWebKey) error {
	digest, isPSS := pssDigests[u.header.Algorithm]
	if !isPSS {
		return nil
	}
	pub, ok := key.Key.(*rsa.PublicKey)
	dot := strings.LastIndexByte(u.compact, '.')
	signature, err := decode(u.compact[dot+1:])
	if !ok || err != nil {
		return &Error{Fault: FaultSignature, Detail: "the signature does not verify", Cause: err}
	}
	h := digest.New()
	_, _ = h.Write([]byte(u.compact[:dot]))
	if err := rsa.VerifyPSS(pub, digest, h.Sum(nil), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}); err != nil {
		return &Error{Fault: FaultSignature, Detail: "the signature does not verify", Cause: err}
	}
	return nil
}

var pssDigests = map[jose.SignatureAlgorithm]crypto.Hash{jose.PS256: crypto.SHA256, jose.PS384: crypto.SHA384, jose.PS512: crypto.SHA512}

// parseHeader holds the header against the policy. Every parameter that moves
// trust or changes the reading is refused: crit (we understand no extension), b64,
// zip, enc, jku, x5u, x5c, and jwk where it is not the key's place.
func parseHeader(data []byte, policy Policy) (Header, error) {
	v, err := strictjson.Parse(data, strictjson.Limits{Bytes: maxHeaderBytes, Depth: 8, Values: 64})
	if err != nil {
		return Header{}, &Error{Fault: FaultMalformed, Detail: "the header is not strict JSON", Cause: err}
	}
	members, ok := v.Members()
	if !ok {
		return Header{}, faultf(FaultMalformed, "the header is not a JSON object")
	}
	var h Header
	for _, m := range members {
		if err := h.read(m, policy); err != nil {
			return Header{}, err
		}
	}
	if !slices.Contains(policy.Types, h.Type) {
		return Header{}, faultf(FaultType, "typ is not the expected one")
	}
	if !slices.Contains(policy.Algorithms, h.Algorithm) || !asymmetric(h.Algorithm) {
		return Header{}, faultf(FaultAlgorithm, "alg is not an accepted one")
	}
	if policy.RequireKeyID && h.KeyID == "" {
		return Header{}, faultf(FaultKey, "kid is missing")
	}
	if policy.EmbeddedKey {
		return h, h.embedded(v.Get("jwk"))
	}
	return h, nil
}

func (h *Header) read(m strictjson.Member, policy Policy) error {
	text, isText := m.Value.Text()
	switch m.Name {
	case "alg":
		h.Algorithm, h.fully = polymorphic(jose.SignatureAlgorithm(text))
	case "typ":
		if isText && text == "" {
			return faultf(FaultType, "typ is empty")
		}
		h.Type = text
	case "kid":
		if text == "" || len(text) > MaxKeyIDBytes {
			return faultf(FaultKey, "kid is empty or longer than %d bytes", MaxKeyIDBytes)
		}
		h.KeyID = text
	case "jwk":
		if !policy.EmbeddedKey {
			return faultf(FaultMalformed, "jwk is not accepted in this header")
		}
		return nil
	case "crit", "b64", "zip", "enc", "jku", "x5u", "x5c":
		return faultf(FaultMalformed, "%s is not accepted in a header", m.Name)
	default:
		for _, known := range []string{"alg", "typ", "kid", "jwk", "crit", "b64", "zip", "enc", "jku", "x5u", "x5c"} {
			if strings.EqualFold(m.Name, known) {
				return faultf(FaultMalformed, "%s is misspelt", known)
			}
		}
		if policy.Bare {
			return faultf(FaultMalformed, "the header has another parameter than alg, typ and kid")
		}
		return nil
	}
	if !isText {
		return faultf(FaultMalformed, "%s is not a string", m.Name)
	}
	return nil
}

func (h *Header) embedded(v strictjson.Value) error {
	if v.Kind() == strictjson.Invalid {
		return faultf(FaultKey, "jwk is missing")
	}
	key, err := keyFrom(v)
	if err != nil {
		return err
	}
	h.Key = key
	return CheckKey(key, h.Algorithm)
}

var base64url = base64.RawURLEncoding.Strict()

// decode reads one part: the URL alphabet only, without padding, white space or
// stray bits.
func decode(part string) ([]byte, error) {
	for i := range len(part) {
		if part[i] == '\r' || part[i] == '\n' { // the only ones that encoding/base64 skips
			return nil, faultf(FaultMalformed, "a part is not base64url")
		}
	}
	out, err := base64url.DecodeString(part)
	if err != nil {
		return nil, &Error{Fault: FaultMalformed, Detail: "a part is not base64url", Cause: err}
	}
	return out, nil
}
