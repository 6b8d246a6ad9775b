package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
)

func ref(t *testing.T, text string) agentid.Ref {
	t.Helper()
	r, err := agentid.ParseRef(text)
	require.NoError(t, err)
	return r
}

// chainToken is a leaf's token below a parent's, and the key set that vouches for it.
func chainToken(t *testing.T, edit func(*capability.Claims)) (token string, keys []byte) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	lineage := []agentid.Ref{ref(t, "agent:acme/leaf"), ref(t, "agent:acme/root")}
	now := time.Now().Add(-time.Hour).Truncate(time.Second)
	c := capability.Capability{Resource: ref(t, "payments_customer:acme/cus_1"), Operations: []string{"payments:refund"}}
	c.Constraints, err = capability.ParseConstraints(json.RawMessage(`{"uses":{"max":1}}`))
	require.NoError(t, err)
	claims := capability.Claims{
		Issuer: "https://id.example.com/acme", Subject: "principal:acme/alice", ClientID: "agent:acme/leaf", Audience: "https://gw.example",
		ID: "leafs", Scope: "payments:refund", IssuedAt: now, Expiry: now.Add(5 * time.Minute), Actor: capability.NewActor(lineage),
		Capabilities: []capability.Capability{c},
		Context: capability.Context{
			Tenant: "acme", AgentType: ref(t, "agent_type:acme/worker"), Zookie: "z", Incarnation: "i", PolicyVersion: "p",
			LineageDigest: capability.LineageDigest(lineage), Attenuated: lineage[1:], Chain: []string{"roots"},
			Counters: map[string][]capability.Counter{c.Digest(): {{Token: "roots", Capability: c.Digest(), Max: 1}}},
		},
	}
	if edit != nil {
		edit(&claims)
	}
	token, err = capability.Sign(claims, jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: "k1"}})
	require.NoError(t, err)
	keys, err = json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, KeyID: "k1", Algorithm: "EdDSA", Use: "sig"}}})
	require.NoError(t, err)
	return token, keys
}

func lineageVerify(in string, args ...string) (int, string) {
	var out bytes.Buffer
	code := run(context.Background(), append([]string{"lineage", "verify"}, args...), streams{in: strings.NewReader(in), out: &out, err: &out})
	return code, out.String()
}

func TestLineageVerify(t *testing.T) {
	token, keys := chainToken(t, nil)
	file := filepath.Join(t.TempDir(), "jwks.json")
	require.NoError(t, os.WriteFile(file, keys, 0o600))

	code, out := lineageVerify(token+"\n", "--jwks", file, "-o", "json")
	require.Equal(t, exitOK, code, out)
	var doc map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &doc))
	require.Equal(t, []any{"agent:acme/leaf", "agent:acme/root"}, doc["lineage"])
	require.Equal(t, []any{"leafs", "roots"}, doc["chain"])
	require.Equal(t, "principal:acme/alice", doc["principal"])
	require.Equal(t, true, doc["expired"])
	require.Len(t, doc["counts"], 1)
	code, out = lineageVerify("", token, "--jwks", file)
	require.Equal(t, exitOK, code, out)
	require.Contains(t, out, "agent:acme/leaf,agent:acme/root")

	// From the issuer's key set, over the loopback.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/oauth2/jwks" {
			http.Redirect(w, r, "/oauth2/jwks", http.StatusFound)
			return
		}
		_, _ = w.Write(keys)
	}))
	t.Cleanup(server.Close)
	code, out = lineageVerify(token, "--issuer", server.URL)
	require.Equal(t, exitOK, code, out)

	_, others := chainToken(t, nil)
	otherFile := filepath.Join(t.TempDir(), "other.json")
	require.NoError(t, os.WriteFile(otherFile, others, 0o600))
	foreign, foreignKeys := chainToken(t, func(c *capability.Claims) { c.Issuer = "https://id.example.com/rival" })
	foreignFile := filepath.Join(t.TempDir(), "foreign.json")
	require.NoError(t, os.WriteFile(foreignFile, foreignKeys, 0o600))
	for name, c := range map[string]struct {
		args []string
		in   string
		code int
		says string
	}{
		"another's keys":       {[]string{"--jwks", otherFile}, token, exitFailed, "token_signature"},
		"altered":              {[]string{"--jwks", file}, token[:len(token)-8] + "AAAAAAAA", exitFailed, "token_signature"},
		"other tenant's":       {[]string{"--jwks", foreignFile}, foreign, exitFailed, "token_issuer"},
		"no token":             {[]string{"--jwks", file}, "", exitUsage, "token"},
		"no file":              {[]string{"--jwks", file + "x"}, token, exitFailed, "no such file"},
		"not a key set":        {[]string{"--jwks", os.Args[0]}, token, exitFailed, "key set"},
		"plain http":           {[]string{"--jwks", "http://id.example.com/oauth2/jwks"}, token, exitUsage, "https"},
		"another scheme":       {[]string{"--jwks", "ftp://id.example.com/jwks"}, token, exitUsage, "https"},
		"sent somewhere else":  {[]string{"--jwks", server.URL + "/elsewhere"}, token, exitFailed, "somewhere else"},
		"unknown output":       {[]string{"--jwks", file, "-o", "xml"}, token, exitUsage, "xml"},
		"two tokens":           {[]string{"--jwks", file, token, token}, "", exitUsage, "arg"},
		"group without a verb": {[]string{"--jwks", file, "-o"}, token, exitUsage, "-o"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out := lineageVerify(c.in, c.args...)
			require.Equal(t, c.code, code, out)
			require.Contains(t, out, c.says)
			require.NotContains(t, out, "lineage_digest")
		})
	}
}
