package server_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/clientauth"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/keyset"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/testenv/spiffe"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/tokens"
)

// trust makes acme take SVIDs of a trust domain, whose workloads below /refunds are
// refund-agents for alice.
func (w *world) trust(name, domain string, edit func(*ledger.WorkloadIssuer)) {
	w.tb.Helper()
	ref := must(agentid.ResourceRef(ledger.TypeWorkloadIssuer, "acme", name))
	issuer := ledger.WorkloadIssuer{Ref: ref, Kind: "spiffe", Issuer: "spiffe://" + domain, AllowPrivate: true}
	edit(&issuer)
	_, _, err := w.ledger.PutWorkloadIssuer(context.Background(), issuer)
	require.NoError(w.tb, err)
	_, _, err = w.ledger.PutEnrolmentRule(context.Background(), ledger.EnrolmentRule{
		Ref: must(agentid.ResourceRef(ledger.TypeEnrolmentRule, "acme", name)), Issuer: ref, Audience: w.base + "/acme",
		Claims: json.RawMessage(`{"sub":{"like":"spiffe://` + domain + `/refunds/**"}}`), Type: must(agentid.AgentTypeRef("acme", "refund-agent")),
		Principal: must(agentid.PrincipalRef("acme", "alice")), Lifetime: time.Hour, MaxLive: 10,
	})
	require.NoError(w.tb, err)
}

func spiffeAssertion(token string) []string {
	return []string{"client_assertion_type", tokens.AssertionSPIFFE, "client_assertion", token}
}

// TestJWTSVIDOfTheWorkloadAPI: a workload gets its SVID by go-spiffe; the broker gets the
// bundle by the same API.
func TestJWTSVIDOfTheWorkloadAPI(t *testing.T) {
	w := newWorld(t)
	domain := spiffe.New(t, "prod.example")
	api := spiffe.Serve(t, domain, "/refunds/worker")
	w.trust("prod", "prod.example", func(i *ledger.WorkloadIssuer) { i.WorkloadAPI = api.Addr })
	client, err := workloadapi.New(t.Context(), workloadapi.WithAddr(api.Addr))
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	svid, err := client.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: w.base + "/acme"})
	require.NoError(t, err)
	job := worker(t)
	for range 2 { // no replay protection by jti: vendors keep and send an SVID again
		resp, doc := w.present(job, spiffeAssertion(svid.Marshal())...)
		require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	}
	resp, doc := w.present(worker(t), spiffeAssertion(svid.Marshal())...)
	require.Equal(t, http.StatusOK, resp.StatusCode, "another key is another instance: %v", doc)
	resp, doc = w.present(worker(t), append(spiffeAssertion(svid.Marshal()), "client_id", "spiffe://prod.example/refunds/worker")...)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	resp, doc = w.present(worker(t), "client_assertion_type", clientauth.AssertionType, "client_assertion", svid.Marshal())
	require.Equal(t, http.StatusOK, resp.StatusCode, "as jwt-bearer: %v", doc)
	resp, doc = w.grant(worker(t), svid.Marshal())
	require.Equal(t, http.StatusOK, resp.StatusCode, "as a grant: %v", doc)

	t.Run("a rolled key is picked up", func(t *testing.T) {
		domain.Roll(false)
		w.shift.Add(int64(keyset.DefaultInterval + time.Second))
		svid, err := client.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: w.base + "/acme"})
		require.NoError(t, err)
		resp, doc := w.present(job, spiffeAssertion(svid.Marshal())...)
		require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	})
}

func TestJWTSVIDRefusals(t *testing.T) {
	w := newWorld(t)
	local, federated := spiffe.New(t, "prod.example"), spiffe.New(t, "partner.example")
	w.trust("prod", "prod.example", func(i *ledger.WorkloadIssuer) { i.BundleFile = local.File() })
	w.trust("partner", "partner.example", func(i *ledger.WorkloadIssuer) { i.BundleFile = federated.File() })
	audience := w.base + "/acme"
	resp, doc := w.present(worker(t), spiffeAssertion(federated.JWTSVID("/refunds/a", time.Minute, audience))...)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	claimed := func(d *spiffe.TrustDomain, sub string) string {
		return d.Sign(map[string]any{"sub": sub, "aud": []string{audience}, "exp": w.now().Add(time.Minute).Unix()})
	}
	for name, c := range map[string]struct{ token, reason string }{
		"federated bundle claims the local trust domain": {claimed(federated, "spiffe://prod.example/refunds/a"), keyset.ReasonSignature},
		"hostile path":               {claimed(local, "spiffe://prod.example/refunds/../admin"), federation.ReasonIssuer},
		"encoded slash":              {claimed(local, "spiffe://prod.example/refunds%2fa"), federation.ReasonIssuer},
		"upper-case trust domain":    {claimed(local, "spiffe://PROD.example/refunds/a"), federation.ReasonIssuer},
		"a domain that is not ours":  {claimed(local, "spiffe://other.example/refunds/a"), federation.ReasonIssuer},
		"another path than the rule": {claimed(local, "spiffe://prod.example/admin"), "rule_none"},
		"two audiences":              {local.JWTSVID("/refunds/a", time.Minute, audience, "https://other.example"), federation.ReasonAudience},
		"the token endpoint":         {local.JWTSVID("/refunds/a", time.Minute, audience+"/oauth2/token"), federation.ReasonAudience},
		"expired":                    {local.JWTSVID("/refunds/a", -time.Minute, audience), federation.ReasonExpired},
	} {
		resp, doc := w.present(worker(t), spiffeAssertion(c.token)...)
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode, "%s: %v", name, doc)
		require.Equal(t, "invalid_client", doc["error"], name)
		require.Equal(t, c.reason, w.cause(resp).Reason, name)
	}
}

// secure serves the broker over TLS, as with client_certificates.
func (w *world) secure(t *testing.T) (*httptest.Server, func(svid *x509svid.SVID) *http.Client) {
	t.Helper()
	s := httptest.NewUnstartedServer(w.router)
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s, func(svid *x509svid.SVID) *http.Client {
		cfg := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		if svid != nil {
			pair := tls.Certificate{PrivateKey: svid.PrivateKey}
			for _, c := range svid.Certificates {
				pair.Certificate = append(pair.Certificate, c.Raw)
			}
			cfg.Certificates = []tls.Certificate{pair}
		}
		transport := &http.Transport{TLSClientConfig: cfg}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
}

// TestX509SVIDOverMTLS: the certificate of the connection is who the workload is, and what
// its token is bound to.
func TestX509SVIDOverMTLS(t *testing.T) {
	w := newWorld(t)
	domain, rogue := spiffe.New(t, "prod.example"), spiffe.New(t, "prod.example")
	w.trust("prod", "prod.example", func(i *ledger.WorkloadIssuer) { i.BundleFile = domain.File() })
	s, client := w.secure(t)
	ask := func(svid *x509svid.SVID, form ...string) (*http.Response, map[string]any) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/acme/oauth2/token", strings.NewReader(w.tokenCall(form...).form.Encode()))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := client(svid).Do(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		doc := map[string]any{}
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&doc))
		return resp, doc
	}
	svid := domain.X509SVID("/refunds/worker", time.Hour)
	resp, doc := ask(svid)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%v", doc)
	require.Equal(t, "Bearer", doc["token_type"], "RFC 8705: bound by the connection")
	c := w.claims(doc["access_token"].(string))
	sum := sha256.Sum256(svid.Certificates[0].Raw)
	require.Equal(t, base64.RawURLEncoding.EncodeToString(sum[:]), c.Confirmation.X5T)
	require.Empty(t, c.Confirmation.JKT)
	page, err := w.ledger.Audit().Query(t.Context(), auditlog.Query{Request: resp.Header.Get("X-Request-Id")})
	require.NoError(t, err)
	minted := page.Records[len(page.Records)-1]
	require.Equal(t, "mtls", minted.Notes["binding"])
	require.Equal(t, "prod", minted.Notes["rule"])
	require.Equal(t, "spiffe://prod.example/refunds/worker", minted.Notes["workload_subject"])

	again, doc := ask(svid)
	require.Equal(t, http.StatusOK, again.StatusCode, "%v", doc)
	require.Equal(t, c.Agent(), w.claims(doc["access_token"].(string)).Agent())

	jwt := domain.JWTSVID("/refunds/other", time.Minute, w.base+"/acme")
	resp, doc = ask(svid, "grant_type", discovery.GrantJWTBearer, "assertion", jwt)
	require.Equal(t, http.StatusForbidden, resp.StatusCode, "the key is another instance's: %v", doc)
	other := domain.X509SVID("/refunds/other", time.Hour)
	resp, doc = ask(other, "grant_type", discovery.GrantJWTBearer, "assertion", jwt)
	require.Equal(t, http.StatusOK, resp.StatusCode, "a token, bound by the certificate: %v", doc)
	require.NotEmpty(t, w.claims(doc["access_token"].(string)).Confirmation.X5T)

	id := func(text string) *url.URL { return must(url.Parse(text)) }
	for name, svid := range map[string]*x509svid.SVID{
		"of another authority":       rogue.X509SVID("/refunds/worker", time.Hour),
		"two URI SANs":               domain.Certify(time.Hour, id("spiffe://prod.example/refunds/a"), id("spiffe://prod.example/admin")),
		"of another domain":          domain.Certify(time.Hour, id("spiffe://other.example/refunds/a")),
		"of a path that no rule has": domain.X509SVID("/admin", time.Hour),
		"expired":                    domain.X509SVID("/refunds/a", -time.Minute),
		"no certificate":             nil,
	} {
		resp, doc := ask(svid)
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode, "%s: %v", name, doc)
		require.Equal(t, "invalid_client", doc["error"], name)
	}
}
