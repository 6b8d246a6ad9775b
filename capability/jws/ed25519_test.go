package jws_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/capability/jws"
)

// TestFullySpecifiedAlgorithm: clients that name the algorithm Ed25519 (RFC 9864) are
// taken where EdDSA is, and held to the same key and signature.
func TestFullySpecifiedAlgorithm(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	other, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	enc := base64.RawURLEncoding.EncodeToString
	input := enc([]byte(`{"alg":"Ed25519","typ":"x+jwt"}`)) + "." + enc([]byte(`{"sub":"a"}`))
	token := input + "." + enc(ed25519.Sign(private, []byte(input)))

	read := func(token string, algs ...jose.SignatureAlgorithm) (*jws.Unverified, error) {
		return jws.Parse(token, jws.Policy{Types: []string{"x+jwt"}, Algorithms: algs})
	}
	u, err := read(token, jose.EdDSA)
	require.NoError(t, err)
	_, err = u.Verify(jose.JSONWebKey{Key: public})
	require.NoError(t, err)
	_, err = u.Verify(jose.JSONWebKey{Key: public, Algorithm: "Ed25519"})
	require.NoError(t, err)
	_, err = u.Verify(jose.JSONWebKey{Key: public, Algorithm: "EdDSA"})
	require.NoError(t, err)

	_, err = read(token, jose.ES256)
	require.Error(t, err, "not where EdDSA is not accepted")
	_, err = u.Verify(jose.JSONWebKey{Key: other})
	require.Error(t, err, "another key")
	_, err = u.Verify(jose.JSONWebKey{Key: public, Algorithm: "ES256"})
	require.Error(t, err, "a key for another algorithm")
	forged, err := read(input+"."+enc(make([]byte, ed25519.SignatureSize)), jose.EdDSA)
	require.NoError(t, err)
	_, err = forged.Verify(jose.JSONWebKey{Key: public})
	require.Error(t, err, "no signature")
}
