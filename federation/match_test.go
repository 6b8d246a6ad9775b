package federation_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
	"github.com/agentid-dev/agentid/federation"
)

func TestPatternsKnowSeparators(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"repo:acme/refunds:ref:refs/heads/main", []string{"repo:acme/refunds:ref:refs/heads/main"}, []string{
			"repo:acme/refunds:ref:refs/heads/main2", "xrepo:acme/refunds:ref:refs/heads/main", "repo:acme/refunds:ref:refs/heads/main\n", "REPO:acme/refunds:ref:refs/heads/main",
		}},
		{"repo:acme/*:ref:refs/heads/main", []string{"repo:acme/refunds:ref:refs/heads/main", "repo:acme/x-y_z:ref:refs/heads/main"}, []string{
			"repo:acme/:ref:refs/heads/main", "repo:acme/a/b:ref:refs/heads/main", "repo:acme/a:environment:prod:ref:refs/heads/main",
			"repo:acme-evil/refunds:ref:refs/heads/main", "repo:acme/é:ref:refs/heads/main", "repo:acme/a\x00b:ref:refs/heads/main",
			"repo:acme/a b:ref:refs/heads/main", "repo:acme/*:ref:refs/heads/main/x", "repo:acme/a.b:ref:refs/heads/main",
		}},
		{"spiffe://prod.example/ns/**", []string{"spiffe://prod.example/ns/a", "spiffe://prod.example/ns/a/sa/b.c"}, []string{
			"spiffe://prod.example/ns", "spiffe://prod.example/ns/", "spiffe://prod.example/ns/..", "spiffe://prod.example/ns/a/../b",
			"spiffe://prod.example/ns//a", "spiffe://prod.example/ns/a/", "spiffe://prod.example/nsx/a", "spiffe://prod.example.evil/ns/a", "spiffe://prod.example/ns/a:b",
		}},
		{"system:serviceaccount:prod:*", []string{"system:serviceaccount:prod:refunds"}, []string{
			"system:serviceaccount:prod:", "system:serviceaccount:prod:a:b", "system:serviceaccount:prod2:a",
		}},
		{"/subscriptions/s/*", []string{"/subscriptions/s/x"}, []string{"/subscriptions/s/x/y", "subscriptions/s/x"}},
		{"a+b.c/*", []string{"a+b.c/x"}, []string{"aab.c/x", "a+bxc/x"}},
	} {
		p, err := federation.ParsePattern(c.pattern)
		require.NoError(t, err, c.pattern)
		for _, v := range c.yes {
			require.True(t, p.Matches(v), "%s %q", c.pattern, v)
		}
		for _, v := range append(c.no, "", strings.Repeat("a", 3000)) {
			require.False(t, p.Matches(v), "%s %q", c.pattern, v)
		}
	}
	require.False(t, federation.Pattern{}.Matches("x"))
	for _, bad := range []string{"", "*", "**", "/**", "*/x", "/*", "acme*", "acme/*x", "a/**/b", "a:**", "a/***", strings.Repeat("a", 600)} {
		_, err := federation.ParsePattern(bad)
		require.Error(t, err, bad)
	}
}

func TestMatchIsStrict(t *testing.T) {
	for text, ok := range map[string]bool{
		`"x"`: true, `{"is":"x"}`: true, `{"in":["x","y"]}`: true, `{"like":"x:*"}`: true,
		`""`: false, `{}`: false, `{"is":"x","like":"x:*"}`: false, `{"in":[]}`: false, `{"in":[""]}`: false, `{"like":"x*"}`: false,
		`{"Is":"x"}`: false, `{"is":"x","is":"y"}`: false, `{"regex":".*"}`: false, `1`: false, `["x"]`: false, `{"is":1}`: false,
	} {
		var m federation.Match
		err := json.Unmarshal([]byte(text), &m)
		if err == nil {
			err = m.Validate()
		}
		require.Equal(t, ok, err == nil, "%s: %v", text, err)
	}
}

func claims(t *testing.T, text string) (federation.Claims, error) {
	t.Helper()
	v, err := strictjson.Parse([]byte(text), strictjson.Limits{})
	require.NoError(t, err)
	return federation.Flatten(v)
}

func TestClaimsAreFlat(t *testing.T) {
	c, err := claims(t, `{"sub":"s","n":7,"ok":true,"groups":["a","b"],"half":1.5,"none":null,"objects":[{"a":1}],
		"kubernetes.io":{"namespace":"prod","serviceaccount":{"name":"refunds"}},"https://sts.amazonaws.com/":{"aws_account":"1"}}`)
	require.NoError(t, err)
	require.Equal(t, federation.Claims{
		"sub": "s", "n": int64(7), "ok": true, "groups": []string{"a", "b"},
		"kubernetes.io.namespace": "prod", "kubernetes.io.serviceaccount.name": "refunds", "https://sts.amazonaws.com/.aws_account": "1",
	}, c)
	_, err = claims(t, `{"a.b":"1","a":{"b":"2"}}`)
	require.Error(t, err, "two claims with one flat name")
}

func TestRequirements(t *testing.T) {
	c, err := claims(t, `{"sub":"repo:acme/x:ref:refs/heads/main","repository_id":"7","n":7,"ok":true,"groups":["a","b"],"empty":""}`)
	require.NoError(t, err)
	for name, r := range map[string]struct {
		want  map[string]federation.Match
		fails string
	}{
		"all hold":            {map[string]federation.Match{"sub": {Like: "repo:acme/*:ref:refs/heads/main"}, "repository_id": {Is: "7"}, "n": {Is: "7"}, "ok": {Is: "true"}, "groups": {In: []string{"x", "b"}}}, ""},
		"one does not":        {map[string]federation.Match{"repository_id": {Is: "8"}}, "repository_id"},
		"a claim is missing":  {map[string]federation.Match{"repository_owner_id": {Is: "8"}}, "repository_owner_id"},
		"an empty claim":      {map[string]federation.Match{"empty": {Like: "x/*"}}, "empty"},
		"another case":        {map[string]federation.Match{"SUB": {Is: "repo:acme/x:ref:refs/heads/main"}}, "SUB"},
		"a prefix":            {map[string]federation.Match{"sub": {Is: "repo:acme/x"}}, "sub"},
		"no element of array": {map[string]federation.Match{"groups": {Is: "ab"}}, "groups"},
	} {
		q, err := federation.Require(r.want)
		require.NoError(t, err, name)
		err = q.Check(c)
		if r.fails == "" {
			require.NoError(t, err, name)
			continue
		}
		require.Equal(t, federation.ReasonClaim, agentid.ReasonOf(err), name)
		require.Equal(t, r.fails, agentid.AsError(err).Field, name)
	}
	require.Error(t, federation.Requirements{}.Check(c), "nothing required admits nobody")
	_, err = federation.Require(nil)
	require.Error(t, err)
	_, err = federation.Require(map[string]federation.Match{"sub": {}})
	require.Equal(t, "claims.sub", agentid.AsError(err).Field)
}
