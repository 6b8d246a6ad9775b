package admin_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/federation/federationtest"
)

// openProvider is an identity provider on loopback that answers as named, or as itself.
func openProvider(t *testing.T) *federationtest.Issuer {
	t.Helper()
	return federationtest.NewIssuer(t)
}

func provider(issuer string, more doc) doc {
	out := doc{
		"kind": "identity_provider", "tenant": "acme", "name": "corp", "issuer": issuer, "client_id": "agentid", "client_secret": "s3cret",
		"flows": []string{"exchange"}, "allow_private": true,
		"groups": []doc{
			{"group": "support", "resource": "agent_type:acme/refunds", "relation": "launcher"},
			{"group": "support", "resource": "payments_account:acme/stripe", "relation": "refunder"},
			{"group": "staff", "resource": "tenant:acme", "relation": "member"},
		},
	}
	for k, v := range more {
		if out[k] = v; v == nil {
			delete(out, k)
		}
	}
	return out
}

func TestIdentityProvider(t *testing.T) {
	r := newRig(t)
	at := openProvider(t)
	code, answer := r.apply(false, append(r.acme(), provider(at.URL(), nil))...)
	require.Equal(t, http.StatusOK, code, "%v", answer)
	require.NotContains(t, string(mustJSON(t, answer)), "s3cret")
	_, shown := r.call(http.MethodGet, "/tenants/acme/identity-providers/corp", nil)
	require.Equal(t, true, shown["client_secret_set"])
	require.NotContains(t, shown, "client_secret")
	secret, _, err := r.ledger.ProviderSecret(t.Context(), "acme", "corp")
	require.NoError(t, err)
	require.Equal(t, "s3cret", secret.Reveal())

	at.Down() // what is in place is not asked again
	code, answer = r.apply(false, provider(at.URL(), nil))
	require.Equal(t, http.StatusOK, code, "%v", answer)
	require.Equal(t, "unchanged", answer["changes"].([]any)[0].(doc)["action"])
	code, _ = r.call(http.MethodPost, "/tenants/acme/principals/alice/sync", doc{})
	require.Equal(t, http.StatusConflict, code, "this broker takes nobody in")
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	out, err := json.Marshal(v)
	require.NoError(t, err)
	return out
}

// A provider that is unreachable, names another issuer, has http outside of loopback, or
// lies at a private address, is refused when it is added, as is a rule that gives what it
// must not.
func TestIdentityProvidersAreRefused(t *testing.T) {
	r := newRig(t)
	code, answer := r.apply(false, r.acme()...)
	require.Equal(t, http.StatusOK, code, "%v", answer)
	good := openProvider(t)
	lies := openProvider(t)
	lies.Pretend("https://evil.example", "")
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	moved := httptest.NewServer(http.RedirectHandler("http://169.254.169.254/", http.StatusFound))
	t.Cleanup(moved.Close)
	rule := func(group, resource, relation string) doc {
		return doc{"groups": []doc{{"group": group, "resource": resource, "relation": relation}}}
	}
	for name, c := range map[string]struct {
		issuer string
		more   doc
		field  string
	}{
		"unreachable":                    {gone.URL, nil, "issuer"},
		"another issuer in its document": {lies.URL(), nil, "issuer"},
		"with a slash that it has not":   {good.URL() + "/", nil, "issuer"},
		"a redirect to metadata":         {moved.URL, nil, "issuer"},
		"http outside of loopback":       {"http://login.example", nil, "issuer"},
		"a private address":              {good.URL(), doc{"allow_private": nil}, "issuer"},
		"link-local":                     {"https://169.254.169.254", nil, "issuer"},
		"a file":                         {"file:///etc/passwd", nil, "issuer"},
		"with a query":                   {good.URL() + "?x=1", nil, "issuer"},
		"no client":                      {good.URL(), doc{"client_id": ""}, "client_id"},
		"no flow":                        {good.URL(), doc{"flows": []string{}}, "flows"},
		"an unknown flow":                {good.URL(), doc{"flows": []string{"implicit"}}, "flows[0]"},
		"sign-ins without an endpoint":   {good.URL(), doc{"flows": []string{"login"}}, "flows"},
		"an audience with a space":       {good.URL(), doc{"audiences": []string{"a b"}}, "audiences[0]"},
		"keys for ever":                  {good.URL(), doc{"max_stale_seconds": 1 << 40}, "max_stale_seconds"},
		"another tenant's type":          {good.URL(), rule("g", "agent_type:rival/refunds", "launcher"), "groups[0].resource"},
		"a type that is not there":       {good.URL(), rule("g", "agent_type:acme/nothing", "launcher"), "groups[0].resource"},
		"a relation that is kept":        {good.URL(), rule("g", "agent_type:acme/refunds", "enabled"), "groups[0].relation"},
		"the account's switch":           {good.URL(), rule("g", "payments_account:acme/stripe", "enabled"), "groups[0].relation"},
		"an account that is not there":   {good.URL(), rule("g", "payments_account:acme/nothing", "refunder"), "groups[0].resource"},
		"an agent":                       {good.URL(), rule("g", "agent:acme/ag-1", "enabled"), "groups[0].resource"},
		"no group":                       {good.URL(), rule("", "tenant:acme", "member"), "groups[0].group"},
		"what only answers say":          {good.URL(), doc{"client_secret_set": true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			code, answer := r.apply(false, provider(c.issuer, c.more))
			require.Equal(t, http.StatusBadRequest, code, "%v", answer)
			if c.field != "" {
				require.Equal(t, c.field, answer["faults"].([]any)[0].(doc)["field"], "%v", answer)
			}
			status, _ := r.call(http.MethodGet, "/tenants/acme/identity-providers/corp", nil)
			require.Equal(t, http.StatusNotFound, status, "nothing was written")
		})
	}
}

func TestLoginClients(t *testing.T) {
	r := newRig(t)
	r.apply(false, r.acme()...)
	for uri, taken := range map[string]bool{
		"https://console.example/cb": true, "http://127.0.0.1:8080/cb": true, "http://[::1]:1/": true, "https://console.example/a.b/cb?x=1": true,
		"http://console.example/cb": false, "https://console.example/cb/../x": false, "https://console.example/cb#x": false,
		"https://user@console.example/cb": false, "https://console.example/*": false, "javascript:alert(1)": false, "": false, "https://": false,
		"https://console.example/%2e%2e/cb": false, "http://localhost/cb": false,
	} {
		code, answer := r.apply(true, doc{"kind": "login_client", "tenant": "acme", "name": "console", "redirect_uris": []string{uri}})
		require.Equal(t, taken, code == http.StatusOK, "%q: %v", uri, answer)
	}
	for _, name := range []string{"agentid-cli", "a/b", strings.Repeat("x", 300)} {
		code, _ := r.apply(true, doc{"kind": "login_client", "tenant": "acme", "name": name, "redirect_uris": []string{"https://console.example/cb"}})
		require.Equal(t, http.StatusBadRequest, code)
	}
}
