package admin_test

import (
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/federation/federationtest"
)

func issuerDoc(url string) doc {
	return doc{"kind": "workload_issuer", "tenant": "acme", "name": "ci", "type": "github", "issuer": url, "allow_private": true}
}

func ruleDoc() doc {
	return doc{
		"kind": "enrolment_rule", "tenant": "acme", "name": "jobs", "issuer": "ci", "audience": "https://broker.example/acme",
		"claims": doc{"repository_id": "74", "sub": doc{"like": "repo:acme/*:ref:refs/heads/main"}}, "agent_type": "refunds", "principal": "alice",
		"lifetime_seconds": 600, "max_live": 10, "authorization_details": []doc{{"type": "agentid_template", "template": "refund-customer", "arguments": doc{"customer": "cus_1", "max_amount": 5}}},
	}
}

func with(d doc, more doc) doc {
	out := maps.Clone(d)
	for name, value := range more {
		if value == nil {
			delete(out, name)
			continue
		}
		out[name] = value
	}
	return out
}

func TestWorkloadIssuersAndRulesAreDeclared(t *testing.T) {
	r := newRig(t)
	platform := federationtest.NewIssuer(t)
	set := append(r.acme(), ruleDoc(), issuerDoc(platform.URL()))
	status, plan := r.apply(false, set...)
	require.Equal(t, http.StatusOK, status, plan)
	require.Len(t, r.auditRows("enrolment_rule.create"), 1)
	require.Len(t, r.auditRows("workload_issuer.create"), 1)
	platform.Down()
	status, plan = r.apply(false, set...)
	require.Equal(t, http.StatusOK, status, plan)
	require.Equal(t, map[string]int{"unchanged": len(set)}, r.actions(plan), "an outage of the issuer is no fault of the set")
	platform.Break(nil)

	status, got := r.call(http.MethodGet, "/tenants/acme/enrolment-rules/jobs", nil)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, doc{"repository_id": doc{"is": "74"}, "sub": doc{"like": "repo:acme/*:ref:refs/heads/main"}}, got["claims"])
	status, list := r.call(http.MethodGet, "/tenants/acme/workload-issuers", nil)
	require.Equal(t, http.StatusOK, status)
	require.Len(t, list["items"], 1)
	status, _ = r.call(http.MethodDelete, "/tenants/acme/workload-issuers/ci", nil)
	require.Equal(t, http.StatusConflict, status, "a rule refers to it")
	status, _ = r.call(http.MethodDelete, "/tenants/acme/agent-types/refunds", nil)
	require.Equal(t, http.StatusConflict, status)
	status, _ = r.call(http.MethodDelete, "/tenants/acme/enrolment-rules/jobs", nil)
	require.Equal(t, http.StatusNoContent, status)
	status, _ = r.call(http.MethodDelete, "/tenants/acme/workload-issuers/ci", nil)
	require.Equal(t, http.StatusNoContent, status)
	status, _ = r.call(http.MethodGet, "/tenants/acme/workload-issuers/ci", nil)
	require.Equal(t, http.StatusNotFound, status)
}

// TestMisconfiguredIssuerIsRefusedWhenAdded: with what is wrong.
func TestMisconfiguredIssuerIsRefusedWhenAdded(t *testing.T) {
	r := newRig(t)
	status, plan := r.apply(false, r.acme()...)
	require.Equal(t, http.StatusOK, status, plan)
	platform, another, down := federationtest.NewIssuer(t), federationtest.NewIssuer(t), federationtest.NewIssuer(t)
	another.Pretend("https://evil.example", "")
	down.Down()
	keyless := federationtest.NewIssuer(t)
	keyless.Publish()
	good := issuerDoc(platform.URL())
	for name, c := range map[string]struct {
		d     doc
		field string
		says  string
	}{
		"unreachable":             {with(good, doc{"issuer": down.URL()}), "issuer", "could not be reached"},
		"another issuer inside":   {with(good, doc{"issuer": another.URL()}), "issuer", "names another issuer"},
		"no key":                  {with(good, doc{"issuer": keyless.URL()}), "issuer", "no array called keys"},
		"http outside loopback":   {with(good, doc{"issuer": "http://issuer.example"}), "issuer", "https"},
		"a private address":       {with(good, doc{"issuer": "https://10.0.0.1", "allow_private": nil}), "issuer", "not public"},
		"the metadata service":    {with(good, doc{"issuer": "https://169.254.169.254"}), "issuer", "not public"},
		"loopback, not allowed":   {with(good, doc{"allow_private": nil}), "issuer", "not public"},
		"an unknown type":         {with(good, doc{"type": "gitlab"}), "type", "want one of"},
		"a bundle for GitHub":     {with(good, doc{"bundle_file": "/etc/passwd"}), "type", "no bundle"},
		"two ways to keys":        {with(good, doc{"jwks_uri": platform.KeysURL(), "jwks": doc{"keys": []doc{}}}), "jwks", "together"},
		"keys that are secret":    {with(good, doc{"jwks": doc{"keys": []doc{{"kty": "oct", "k": "AAAA"}}}}), "jwks", "secret part"},
		"SPIFFE without a bundle": {with(good, doc{"type": "spiffe", "issuer": "spiffe://prod.example"}), "type", "exactly one of"},
		"SPIFFE in upper case":    {with(good, doc{"type": "spiffe", "issuer": "spiffe://PROD.example", "bundle_file": "/none"}), "issuer", "lower case"},
		"SPIFFE without a file":   {with(good, doc{"type": "spiffe", "issuer": "spiffe://prod.example", "bundle_file": "/none"}), "issuer", "cannot be had"},
		"another STS":             {with(good, doc{"type": "aws_caller", "issuer": "https://sts.evil.example"}), "issuer", "sts.{region}"},
		"another tenant":          {with(good, doc{"tenant": "nobody"}), "tenant", "no such tenant"},
		"a member unknown":        {with(good, doc{"audience": "x"}), "audience", "not a known field"},
	} {
		status, out := r.apply(false, c.d)
		require.Equal(t, http.StatusBadRequest, status, "%s: %v", name, out)
		fault := out["faults"].([]any)[0].(map[string]any)
		require.Equal(t, c.field, fault["field"], "%s: %v", name, fault)
		require.Contains(t, fault["message"], c.says, name)
	}
	require.Empty(t, r.auditRows("workload_issuer.create"))
}

func TestRulesThatAreTooWideAreRefusedWhenWritten(t *testing.T) {
	r := newRig(t)
	platform := federationtest.NewIssuer(t)
	status, plan := r.apply(false, append(r.acme(), issuerDoc(platform.URL()))...)
	require.Equal(t, http.StatusOK, status, plan)
	for name, c := range map[string]struct {
		more  doc
		field string
	}{
		"no audience":                 {doc{"audience": nil}, "audience"},
		"an empty audience":           {doc{"audience": ""}, "audience"},
		"a shared default audience":   {doc{"audience": "https://github.com/acme"}, "audience"},
		"no bound subject":            {doc{"claims": doc{"actor": "octocat"}}, "claims"},
		"no claims":                   {doc{"claims": nil}, "claims"},
		"a star for a part":           {doc{"claims": doc{"sub": doc{"like": "repo:acme*"}}}, "claims.sub"},
		"a star for everything":       {doc{"claims": doc{"sub": doc{"like": "*"}}}, "claims.sub"},
		"two kinds of match":          {doc{"claims": doc{"sub": doc{"is": "x", "like": "x:*"}}}, "claims.sub"},
		"an unknown issuer":           {doc{"issuer": "none"}, "issuer"},
		"an unknown type":             {doc{"agent_type": "none"}, "agent_type"},
		"an unknown principal":        {doc{"principal": "none"}, "principal"},
		"no limit":                    {doc{"max_live": nil}, "max_live"},
		"a negative limit":            {doc{"max_live": -1}, "max_live"},
		"a negative lifetime":         {doc{"lifetime_seconds": -1}, "lifetime_seconds"},
		"a template that is unknown":  {doc{"authorization_details": []doc{{"type": "agentid_template", "template": "none", "arguments": doc{}}}}, "authorization_details[0].template"},
		"details that do not read":    {doc{"authorization_details": []doc{{"type": "x"}}}, "authorization_details"},
		"another tenant's capability": {doc{"authorization_details": []doc{{"type": "agentid_capability", "identifier": "payments_customer:rival/c", "actions": []string{"payments:refund"}}}}, "authorization_details"},
	} {
		status, out := r.apply(false, with(ruleDoc(), c.more))
		require.Equal(t, http.StatusBadRequest, status, "%s: %v", name, out)
		fault := out["faults"].([]any)[0].(map[string]any)
		require.Equal(t, c.field, fault["field"], "%s: %v", name, fault)
	}
	status, plan = r.apply(false, with(ruleDoc(), doc{"principal": nil, "authorization_details": nil, "lifetime_seconds": nil}))
	require.Equal(t, http.StatusOK, status, plan)
}

func TestDryRunOfATokenEnrolsNobody(t *testing.T) {
	r := newRig(t)
	platform := federationtest.NewIssuer(t)
	platform.Roll(jose.ES256)
	status, plan := r.apply(false, append(r.acme(), issuerDoc(platform.URL()), ruleDoc())...)
	require.Equal(t, http.StatusOK, status, plan)
	now := time.Now()
	claims := map[string]any{
		"iss": platform.URL(), "aud": "https://broker.example/acme", "sub": "repo:acme/x:ref:refs/heads/main", "exp": now.Add(time.Minute).Unix(),
		"repository": "acme/x", "repository_id": "74", "repository_owner_id": "1", "job_workflow_ref": "acme/x@main", "jti": "1",
	}
	for range 2 {
		status, out := r.call(http.MethodPost, "/tenants/acme/federation/test", doc{"token": platform.Sign(claims)})
		require.Equal(t, http.StatusOK, status, out)
		require.Equal(t, true, out["ok"], out)
		require.Equal(t, "jobs", out["rule"])
		require.Equal(t, "agent_type:acme/refunds", out["agent_type"])
		require.Equal(t, "principal:acme/alice", out["principal"])
		require.Equal(t, "74", out["claims"].(map[string]any)["repository_id"])
	}
	claims["exp"] = now.Add(-time.Hour).Unix()
	status, out := r.call(http.MethodPost, "/tenants/acme/federation/test", doc{"token": platform.Sign(claims), "use": "client"})
	require.Equal(t, http.StatusOK, status, out)
	require.Equal(t, false, out["ok"])
	require.NotContains(t, out, "claims", "of a token that is refused nothing is repeated")
	_, list := r.call(http.MethodGet, "/tenants/acme/agents", nil)
	require.Len(t, list["items"], 1, "nobody was enrolled")
	for _, bad := range []doc{{}, {"token": "x", "use": "other"}, {"token": ""}} {
		status, _ := r.call(http.MethodPost, "/tenants/acme/federation/test", bad)
		require.Equal(t, http.StatusBadRequest, status)
	}
	status, _ = r.call(http.MethodPost, "/tenants/nobody/federation/test", doc{"token": "x"})
	require.Equal(t, http.StatusNotFound, status)
	status, _ = r.callAs("", http.MethodPost, "/tenants/acme/federation/test", doc{"token": "x"})
	require.Equal(t, http.StatusUnauthorized, status)
}
