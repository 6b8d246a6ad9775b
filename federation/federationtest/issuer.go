// Package federationtest is what sources of identity are tested with: an issuer on
// loopback that serves discovery and keys, rolls them and breaks in every way, and the
// suite that each source passes.
package federationtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
)

// Issuer is an issuer of tokens on loopback, over http. It is safe for concurrent use.
type Issuer struct {
	t      testing.TB
	server *httptest.Server

	mu        sync.Mutex
	key       jose.JSONWebKey // the private key that signs now
	published []jose.JSONWebKey
	fault     http.HandlerFunc
	named     string // issuer in the discovery document; "" is the real one
	keysURL   string
	fetched   map[string]int
}

// NewIssuer starts an issuer with one RS256 key. It ends with the test.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{t: t, fetched: map[string]int{}}
	i.server = httptest.NewServer(http.HandlerFunc(i.serve))
	t.Cleanup(i.server.Close)
	i.Roll(jose.RS256)
	return i
}

// URL is the issuer's identifier.
func (i *Issuer) URL() string { return i.server.URL }

// KeysURL is where its keys are.
func (i *Issuer) KeysURL() string { return i.server.URL + "/keys" }

// Key is the key that signs now; its public part is published unless Withhold took it out.
func (i *Issuer) Key() jose.JSONWebKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.key
}

// Roll makes a new key for alg, publishes it beside the older ones and signs with it.
func (i *Issuer) Roll(alg jose.SignatureAlgorithm) jose.JSONWebKey {
	key := NewKey(i.t, alg)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.key = key
	i.published = append(i.published, key.Public())
	return key
}

// Publish replaces the published keys, with use and members as given.
func (i *Issuer) Publish(keys ...jose.JSONWebKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.published = keys
}

// Break answers every request with h; nil mends it.
func (i *Issuer) Break(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fault = h
}

// Down makes every request fail without an answer, until Break(nil).
func (i *Issuer) Down() {
	i.Break(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
}

// Pretend puts another issuer, and another URL of the keys, into the discovery document.
// Empty is the real one.
func (i *Issuer) Pretend(issuer, keysURL string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.named, i.keysURL = issuer, keysURL
}

// Fetches is how often the keys were asked for.
func (i *Issuer) Fetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetched["/keys"]
}

func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.fetched[r.URL.Path]++
	fault, named, keysURL, keys := i.fault, i.named, i.keysURL, i.published
	i.mu.Unlock()
	if fault != nil {
		fault(w, r)
		return
	}
	if named == "" {
		named = i.URL()
	}
	if keysURL == "" {
		keysURL = i.KeysURL()
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": named, "jwks_uri": keysURL, "response_types_supported": []string{"id_token"},
			"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		})
	case "/keys":
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: keys})
	default:
		http.NotFound(w, r)
	}
}

// Sign makes a token of claims with the key that signs now. A nil typ leaves the header
// out.
func (i *Issuer) Sign(claims map[string]any) string {
	return Sign(i.t, i.Key(), map[string]any{"typ": "JWT"}, claims)
}

// Sign makes a token with a key; header adds to alg and kid, or replaces them. A nil value
// takes a parameter out.
func Sign(t testing.TB, key jose.JSONWebKey, header map[string]any, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	require.NoError(t, err)
	return SignRaw(t, key, header, payload)
}

// SignRaw is Sign for any payload.
func SignRaw(t testing.TB, key jose.JSONWebKey, header map[string]any, payload []byte) string {
	t.Helper()
	all := map[string]any{"alg": key.Algorithm, "kid": key.KeyID}
	for name, value := range header {
		if value == nil {
			delete(all, name)
			continue
		}
		all[name] = value
	}
	head, err := json.Marshal(all)
	require.NoError(t, err)
	input := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(payload)
	return input + "." + base64.RawURLEncoding.EncodeToString(signature(t, key, []byte(input)))
}

// signature signs the input as it stands, whatever its header says. go-jose writes its own
// header, so it signs a message of its own and lends its key only.
func signature(t testing.TB, key jose.JSONWebKey, input []byte) []byte {
	t.Helper()
	var hash crypto.Hash
	switch {
	case strings.HasSuffix(key.Algorithm, "512"):
		hash = crypto.SHA512
	case strings.HasSuffix(key.Algorithm, "384"):
		hash = crypto.SHA384
	default:
		hash = crypto.SHA256
	}
	h := hash.New()
	_, _ = h.Write(input)
	switch private := key.Key.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(private, input)
	case *rsa.PrivateKey:
		var opts crypto.SignerOpts = hash
		if strings.HasPrefix(key.Algorithm, "PS") {
			opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
		}
		out, err := private.Sign(rand.Reader, h.Sum(nil), opts)
		require.NoError(t, err)
		return out
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, private, h.Sum(nil))
		require.NoError(t, err)
		size := (private.Curve.Params().BitSize + 7) / 8
		out := make([]byte, 2*size)
		r.FillBytes(out[:size])
		s.FillBytes(out[size:])
		return out
	}
	t.Fatalf("no signature for %T", key.Key)
	return nil
}

// NewKey makes a private key for alg, with a random kid.
func NewKey(t testing.TB, alg jose.SignatureAlgorithm) jose.JSONWebKey {
	t.Helper()
	var private any
	var err error
	switch alg {
	case jose.EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case jose.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.ES512:
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	default:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	require.NoError(t, err)
	return jose.JSONWebKey{Key: private, KeyID: rand.Text(), Algorithm: string(alg), Use: "sig"}
}
