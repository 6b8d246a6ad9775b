package spiffe_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/federationtest"
	"github.com/agentid-dev/agentid/federation/keyset"
	"github.com/agentid-dev/agentid/federation/spiffe"
)

const domain = "prod.example"

// published fetches the issuer's keys and reads them as the bundle of a trust domain.
func published(t *testing.T, issuer *federationtest.Issuer) spiffe.Fetch {
	client := federationtest.KeyConfig(t, issuer).Client
	return func(ctx context.Context, td spiffeid.TrustDomain) (*spiffebundle.Bundle, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, issuer.KeysURL(), nil)
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer func() { _ = resp.Body.Close() }()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		return spiffebundle.Parse(td, []byte(strings.ReplaceAll(string(data), `"use":"sig"`, `"use":"jwt-svid"`)))
	}
}

func jwtSource(t *testing.T, issuer *federationtest.Issuer) federation.Source {
	k := federationtest.KeyConfig(t, issuer)
	s, err := spiffe.New(spiffe.Config{TrustDomain: domain, Fetch: published(t, issuer), Keys: k})
	require.NoError(t, err)
	return s
}

func TestSuite(t *testing.T) {
	for _, alg := range []jose.SignatureAlgorithm{jose.ES256, jose.PS256} {
		federationtest.Run(t, federationtest.Subject{
			New: jwtSource, Unnamed: true, Algorithm: alg, Claims: map[string]any{"sub": "spiffe://prod.example/ns/refunds/sa/worker"},
		})
	}
}

func TestJWTSVIDRules(t *testing.T) {
	issuer := federationtest.NewIssuer(t)
	issuer.Roll(jose.ES256)
	s := jwtSource(t, issuer)
	good := federationtest.Subject{Unnamed: true, Claims: map[string]any{"sub": "spiffe://prod.example/refunds"}}.Good(issuer)
	good["jti"] = "sent again by design"
	verify := func(header map[string]any) error {
		_, _, err := s.Verify(t.Context(), federationtest.Present(federationtest.Sign(t, issuer.Key(), header, good)))
		return err
	}
	for _, typ := range []any{nil, "JWT", "JOSE"} {
		require.NoError(t, verify(map[string]any{"typ": typ}))
	}
	id, _, err := s.Verify(t.Context(), federationtest.Present(federationtest.Sign(t, issuer.Key(), nil, good)))
	require.NoError(t, err)
	require.Empty(t, id.ID, "jti is not for replay")
	require.Equal(t, federation.Claims{"sub": id.Subject, "trust_domain": domain, "path": "/refunds"},
		federation.Claims{"sub": id.Claims["sub"], "trust_domain": id.Claims["trust_domain"], "path": id.Claims["path"]})
	require.Equal(t, keyset.ReasonMalformed, agentid.ReasonOf(verify(map[string]any{"x5t": "AA"})), "another header")
	require.Equal(t, keyset.ReasonKey, agentid.ReasonOf(verify(map[string]any{"kid": nil})), "no kid")
	for _, alg := range []jose.SignatureAlgorithm{jose.EdDSA} {
		key := federationtest.NewKey(t, alg)
		_, _, err := s.Verify(t.Context(), federationtest.Present(federationtest.Sign(t, key, nil, good)))
		require.Equal(t, keyset.ReasonAlgorithm, agentid.ReasonOf(err), alg)
	}
}

// hostile are SPIFFE ids that no workload has.
func hostile() map[string]string {
	return map[string]string{
		"dot segments":            "spiffe://prod.example/a/../b",
		"a dot":                   "spiffe://prod.example/./b",
		"encoded slash":           "spiffe://prod.example/a%2fb",
		"encoded dots":            "spiffe://prod.example/%2e%2e/b",
		"upper-case domain":       "spiffe://PROD.example/a",
		"upper-case scheme":       "SPIFFE://prod.example/a",
		"empty segment":           "spiffe://prod.example/a//b",
		"trailing slash":          "spiffe://prod.example/a/",
		"2049 bytes":              "spiffe://prod.example/" + strings.Repeat("a", 2049-22),
		"a port":                  "spiffe://prod.example:443/a",
		"a user":                  "spiffe://u@prod.example/a",
		"a query":                 "spiffe://prod.example/a?b",
		"a fragment":              "spiffe://prod.example/a#b",
		"no path":                 "spiffe://prod.example",
		"another scheme":          "https://prod.example/a",
		"look-alike":              "spiffe://prod.еxample/a",
		"of a federated domain":   "spiffe://other.example/a",
		"of a domain behind":      "spiffe://prod.example.evil/a",
		"empty":                   "",
		"NUL":                     "spiffe://prod.example/a\x00b",
		"line feed":               "spiffe://prod.example/a\n",
		"a space before":          " spiffe://prod.example/a",
		"no authority":            "spiffe:///a",
		"only what looks like it": "prod.example/a",
	}
}

func TestHostileSPIFFEIDs(t *testing.T) {
	issuer := federationtest.NewIssuer(t)
	issuer.Roll(jose.ES256)
	s := jwtSource(t, issuer)
	for name, sub := range hostile() {
		c := federationtest.Subject{Unnamed: true, Claims: map[string]any{"sub": sub}}.Good(issuer)
		_, trace, err := s.Verify(t.Context(), federationtest.Present(issuer.Sign(c)))
		require.Equal(t, federation.ReasonClaim, agentid.ReasonOf(err), name)
		require.Equal(t, federation.StepIssuer, trace.Failed(), name)
	}
	longest := "spiffe://prod.example/" + strings.Repeat("a", 2048-22)
	c := federationtest.Subject{Unnamed: true, Claims: map[string]any{"sub": longest}}.Good(issuer)
	_, _, err := s.Verify(t.Context(), federationtest.Present(issuer.Sign(c)))
	require.NoError(t, err, "2048 bytes")
}

// TestFederatedBundleCannotClaimTheLocalTrustDomain: an SVID with our trust domain in its
// id is held against our bundle, whoever signed it.
func TestFederatedBundleCannotClaimTheLocalTrustDomain(t *testing.T) {
	local, other := federationtest.NewIssuer(t), federationtest.NewIssuer(t)
	local.Roll(jose.ES256)
	other.Roll(jose.ES256)
	s := jwtSource(t, local)
	c := federationtest.Subject{Unnamed: true, Claims: map[string]any{"sub": "spiffe://prod.example/refunds"}}.Good(other)
	_, _, err := s.Verify(t.Context(), federationtest.Present(other.Sign(c)))
	require.Equal(t, keyset.ReasonKey, agentid.ReasonOf(err))
	federated, err := spiffe.New(spiffe.Config{TrustDomain: "other.example", Fetch: published(t, other), Keys: federationtest.KeyConfig(t, other)})
	require.NoError(t, err)
	_, _, err = federated.Verify(t.Context(), federationtest.Present(other.Sign(c)))
	require.Equal(t, federation.ReasonClaim, agentid.ReasonOf(err))
}

// authority signs X.509-SVIDs.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func certificate(t *testing.T, template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	require.NoError(t, err)
	out, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return out
}

func newAuthority(t *testing.T, expires time.Time) authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: federationtest.Now.Add(-24 * time.Hour), NotAfter: expires, URIs: uris(t, "spiffe://"+domain),
	}
	return authority{key, certificate(t, template, template, &key.PublicKey, key)}
}

func uris(t *testing.T, list ...string) []*url.URL {
	var out []*url.URL
	for _, text := range list {
		u, err := url.Parse(text)
		require.NoError(t, err)
		out = append(out, u)
	}
	return out
}

func (a authority) svid(t *testing.T, change func(*x509.Certificate), ids ...string) []*x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		NotBefore: federationtest.Now.Add(-time.Minute), NotAfter: federationtest.Now.Add(time.Hour), URIs: uris(t, ids...),
	}
	if change != nil {
		change(template)
	}
	return []*x509.Certificate{certificate(t, template, a.cert, &key.PublicKey, a.key)}
}

// domainOf is a trust domain whose bundle the test changes.
type domainOf struct {
	mu     sync.Mutex
	bundle *spiffebundle.Bundle
	err    error
	now    time.Time
}

func (d *domainOf) set(t *testing.T, sequence *uint64, err error, authorities ...authority) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	td := spiffeid.RequireTrustDomainFromString(domain)
	d.bundle, d.err = spiffebundle.New(td), err
	for _, a := range authorities {
		d.bundle.AddX509Authority(a.cert)
	}
	if sequence != nil {
		d.bundle.SetSequenceNumber(*sequence)
	}
}

func (d *domainOf) source(t *testing.T) *spiffe.Source {
	d.now = federationtest.Now
	s, err := spiffe.New(spiffe.Config{
		TrustDomain: domain,
		Fetch: func(context.Context, spiffeid.TrustDomain) (*spiffebundle.Bundle, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.bundle, d.err
		},
		Keys: keyset.Config{Now: func() time.Time { d.mu.Lock(); defer d.mu.Unlock(); return d.now }},
	})
	require.NoError(t, err)
	return s
}

func (d *domainOf) pass(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.now.Add(by)
}

func present(certs []*x509.Certificate) federation.Presented {
	return federation.Presented{Certificates: certs, Now: federationtest.Now}
}

func TestX509SVID(t *testing.T) {
	ca, rogue := newAuthority(t, federationtest.Now.AddDate(1, 0, 0)), newAuthority(t, federationtest.Now.AddDate(1, 0, 0))
	var d domainOf
	d.set(t, nil, nil, ca)
	s := d.source(t)
	const good = "spiffe://prod.example/refunds"
	id, trace, err := s.Verify(t.Context(), present(ca.svid(t, nil, good)))
	require.NoError(t, err)
	require.Empty(t, trace.Failed())
	require.Equal(t, good, id.Subject)
	require.Equal(t, "spiffe://prod.example", id.Issuer)
	require.Equal(t, federationtest.Now.Add(time.Hour).Unix(), id.Expires.Unix())
	for name, certs := range map[string][]*x509.Certificate{
		"of another authority": rogue.svid(t, nil, good),
		"two URI SANs":         ca.svid(t, nil, good, "spiffe://prod.example/admin"),
		"no URI SAN":           ca.svid(t, nil),
		"of another domain":    ca.svid(t, nil, "spiffe://other.example/refunds"),
		"no path":              ca.svid(t, nil, "spiffe://prod.example"),
		"expired":              ca.svid(t, func(c *x509.Certificate) { c.NotAfter = federationtest.Now.Add(-time.Second) }, good),
		"not valid yet":        ca.svid(t, func(c *x509.Certificate) { c.NotBefore = federationtest.Now.Add(time.Minute) }, good),
		"an authority":         ca.svid(t, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }, good),
		"not for signatures":   ca.svid(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, good),
		"none":                 nil,
		"the authority itself": {ca.cert},
	} {
		_, trace, err := s.Verify(t.Context(), present(certs))
		require.Equal(t, agentid.KindUnauthenticated, agentid.KindOf(err), "%s: %v", name, err)
		require.NotEmpty(t, trace.Failed(), name)
	}
	for name, sub := range hostile() {
		u, err := url.Parse(sub)
		if err != nil || u.Scheme == "" || !ascii(u.String()) || u.String() != sub {
			continue // no certificate can say it, or the parser of URLs brings it into its one form
		}
		certs := ca.svid(t, nil, sub)
		_, _, err = s.Verify(t.Context(), present(certs))
		require.Equal(t, agentid.KindUnauthenticated, agentid.KindOf(err), "%s: %v", name, err)
	}
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 0x7e || r < 0x21 })
}

// TestBundleNeverGoesBack: a lower sequence number, an authority that expired, an empty
// bundle and one that cannot be had leave the newer bundle in force.
func TestBundleNeverGoesBack(t *testing.T) {
	older, newer := newAuthority(t, federationtest.Now.AddDate(1, 0, 0)), newAuthority(t, federationtest.Now.AddDate(1, 0, 0))
	var d domainOf
	two, one, three := uint64(2), uint64(1), uint64(3)
	d.set(t, &two, nil, newer)
	s := d.source(t)
	require.NoError(t, s.Refresh(t.Context()))
	is := func(a authority) bool {
		_, _, err := s.Verify(t.Context(), present(a.svid(t, nil, "spiffe://prod.example/refunds")))
		return err == nil
	}
	require.True(t, is(newer))
	for name, change := range map[string]func(){
		"sequence rolled back": func() { d.set(t, &one, nil, older) },
		"sequence gone":        func() { d.set(t, nil, nil, older) },
		"empty":                func() { d.set(t, &three, nil) },
		"out of reach":         func() { d.set(t, &three, errors.New("down"), older) },
	} {
		change()
		d.pass(keyset.DefaultRefresh)
		require.Error(t, s.Refresh(t.Context()), name)
		require.True(t, is(newer), name)
		require.False(t, is(older), name)
	}
	d.set(t, &three, nil, older)
	d.pass(keyset.DefaultRefresh)
	require.NoError(t, s.Refresh(t.Context()))
	require.True(t, is(older), "a later bundle is taken")
	require.False(t, is(newer))

	expired := newAuthority(t, federationtest.Now.Add(-time.Hour))
	four := uint64(4)
	d.set(t, &four, nil, expired)
	d.pass(keyset.DefaultRefresh)
	require.NoError(t, s.Refresh(t.Context()))
	require.False(t, is(expired), "an authority that expired vouches for nobody")
	d.set(t, &four, errors.New("down"))
	d.pass(keyset.DefaultMaxStale)
	_, _, err := s.Verify(t.Context(), present(older.svid(t, nil, "spiffe://prod.example/refunds")))
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err), "a bundle that is too old is an outage")
}

// A new authority is picked up by the first certificate that needs it.
func TestNewAuthorityIsPickedUp(t *testing.T) {
	first, second := newAuthority(t, federationtest.Now.AddDate(1, 0, 0)), newAuthority(t, federationtest.Now.AddDate(1, 0, 0))
	var d domainOf
	d.set(t, nil, nil, first)
	s := d.source(t)
	require.NoError(t, s.Refresh(t.Context()))
	d.set(t, nil, nil, first, second)
	d.pass(keyset.DefaultInterval)
	_, _, err := s.Verify(t.Context(), present(second.svid(t, nil, "spiffe://prod.example/refunds")))
	require.NoError(t, err)
}

func TestBundleFile(t *testing.T) {
	key := federationtest.NewKey(t, jose.ES256)
	public := key.Public()
	public.Use = "jwt-svid"
	data, err := json.Marshal(map[string]any{"keys": []jose.JSONWebKey{public}, "spiffe_sequence": 1})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "bundle.json")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	s, err := spiffe.New(spiffe.Config{TrustDomain: domain, Fetch: spiffe.File(path)})
	require.NoError(t, err)
	require.NoError(t, s.Refresh(t.Context()))
	c := map[string]any{"sub": "spiffe://prod.example/a", "aud": federationtest.Audience, "exp": federationtest.Now.Add(time.Minute).Unix()}
	_, _, err = s.Verify(t.Context(), federationtest.Present(federationtest.Sign(t, key, nil, c)))
	require.NoError(t, err)

	missing, err := spiffe.New(spiffe.Config{TrustDomain: domain, Fetch: spiffe.File(path + ".none")})
	require.NoError(t, err)
	require.Error(t, missing.Refresh(t.Context()))

	// The path may name any file of the broker: nothing of what it holds comes back.
	for _, other := range []string{"hunter2", `{"keys": "hunter2"}`, `{"keys": [{"kty": "hunter2"}]}`, "hhhhhhhhh"} {
		require.NoError(t, os.WriteFile(path+".other", []byte(other), 0o600))
		foreign, err := spiffe.New(spiffe.Config{TrustDomain: domain, Fetch: spiffe.File(path + ".other")})
		require.NoError(t, err)
		err = foreign.Refresh(t.Context())
		require.ErrorContains(t, err, "not a SPIFFE bundle")
		require.NotContains(t, fmt.Sprint(err), "hunter2")
		require.NotContains(t, fmt.Sprint(err), "'h'")
	}
	for _, bad := range []string{"", "PROD.example", "spiffe://prod.example", "prod.example/a", "a:1", strings.Repeat("a", 256)} {
		_, err := spiffe.New(spiffe.Config{TrustDomain: bad, Fetch: spiffe.File(path)})
		require.Error(t, err, bad)
	}
}
