package keyproof_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/capability/keyproof"
)

var now = time.Unix(1_800_000_000, 0)

func pair(t *testing.T) (jose.SigningKey, jose.JSONWebKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return jose.SigningKey{Algorithm: jose.EdDSA, Key: private}, jose.JSONWebKey{Key: public}
}

func agent(t *testing.T, name string) agentid.Ref {
	t.Helper()
	ref, err := agentid.AgentRef("acme", name)
	require.NoError(t, err)
	return ref
}

func TestAProofIsForOneKeyOneIssuerOneSubjectAndNow(t *testing.T) {
	key, public := pair(t)
	_, other := pair(t)
	want := keyproof.Claims{Issuer: "https://id.example.com", Subject: agent(t, "parent")}
	proof, err := keyproof.Sign(key, want, now)
	require.NoError(t, err)
	require.NoError(t, keyproof.Verify(proof, public, want, now))

	assertion, err := clientauth.Sign(key, clientauth.Request{ClientID: want.Subject.String(), Issuer: want.Issuer, Now: now})
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		proof string
		key   jose.JSONWebKey
		want  keyproof.Claims
		now   time.Time
		field string
	}{
		"another key":         {proof, other, want, now, "key_proof"},
		"another issuer":      {proof, public, keyproof.Claims{Issuer: "https://id.example.com/acme", Subject: want.Subject}, now, "key_proof.aud"},
		"another subject":     {proof, public, keyproof.Claims{Issuer: want.Issuer, Subject: agent(t, "other")}, now, "key_proof.sub"},
		"too late":            {proof, public, want, now.Add(time.Hour), "key_proof.exp"},
		"too early":           {proof, public, want, now.Add(-time.Hour), "key_proof.iat"},
		"a client assertion":  {assertion, public, want, now, "key_proof"},
		"nothing":             {"", public, want, now, "key_proof"},
		"not a JWT":           {"a.b", public, want, now, "key_proof"},
		"a cut off signature": {proof[:len(proof)-4], public, want, now, "key_proof"},
	} {
		t.Run(name, func(t *testing.T) {
			err := keyproof.Verify(tc.proof, tc.key, tc.want, tc.now)
			require.Error(t, err)
			require.Equal(t, keyproof.ReasonProof, agentid.ReasonOf(err))
			require.Equal(t, tc.field, agentid.AsError(err).Field)
		})
	}
	require.Error(t, keyproof.Verify(proof, public, keyproof.Claims{}, now), "checked against nothing")
}

func TestKeysThatAnAgentMayHave(t *testing.T) {
	curve := func(c elliptic.Curve) any {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		require.NoError(t, err)
		return &key.PublicKey
	}
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		key any
		ok  bool
	}{
		"Ed25519": {edPublic, true}, "P-256": {curve(elliptic.P256()), true},
		"P-384": {curve(elliptic.P384()), false}, "RSA": {&rsaKey.PublicKey, false},
		"private": {edPrivate, false}, "symmetric": {[]byte("0123456789abcdef0123456789abcdef"), false},
	} {
		raw, err := jose.JSONWebKey{Key: tc.key}.MarshalJSON()
		require.NoError(t, err, name)
		_, err = keyproof.ParseKey(raw)
		if tc.ok {
			require.NoError(t, err, name)
			continue
		}
		require.Error(t, err, name)
		require.Equal(t, keyproof.ReasonForbidden, agentid.ReasonOf(err), name)
	}
	for _, raw := range []string{
		"", "{}", "[]", `{"kty":"OKP"}`,
		`{"kty":"OKP","crv":"Ed25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`,
	} {
		_, err := keyproof.ParseKey([]byte(raw))
		require.Equal(t, keyproof.ReasonForbidden, agentid.ReasonOf(err), raw)
	}
}
