package spiffe

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// ID is the SPIFFE ID of a workload of the domain; path begins with a slash.
func (d *TrustDomain) ID(path string) spiffeid.ID {
	d.t.Helper()
	id, err := spiffeid.FromPath(d.name, path)
	if err != nil {
		d.t.Fatal(err)
	}
	return id
}

// JWTSVID issues one with the claims that the standard asks for and no others: sub, aud,
// exp, and the time of issue.
func (d *TrustDomain) JWTSVID(path string, life time.Duration, audience ...string) string {
	d.t.Helper()
	now := time.Now()
	return d.Sign(map[string]any{
		"sub": d.ID(path).String(), "aud": audience, "exp": now.Add(life).Unix(), "iat": now.Unix(),
	})
}

// Sign signs any claims by the domain's key for JWTs, as an authority that is wrong about
// them would.
func (d *TrustDomain) Sign(claims map[string]any) string {
	d.t.Helper()
	d.mu.Lock()
	key := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: d.jwtKey, KeyID: d.jwtKeyID}}
	d.mu.Unlock()
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		d.t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		d.t.Fatal(err)
	}
	return token
}

// X509SVID issues a certificate, with a key of its own.
func (d *TrustDomain) X509SVID(path string, life time.Duration) *x509svid.SVID {
	d.t.Helper()
	return d.Certify(life, d.ID(path).URL())
}

// Certify is X509SVID for any URI names, as an authority that is wrong about them would.
// The SVID's ID is empty when the first of them is no SPIFFE ID.
func (d *TrustDomain) Certify(life time.Duration, names ...*url.URL) *x509svid.SVID {
	d.t.Helper()
	d.mu.Lock()
	ca, caKey := d.ca, d.caKey
	d.mu.Unlock()
	key := newKey(d.t)
	cert := d.certificate(&x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"workload"}}, URIs: names,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, ca, key.Public(), caKey)
	svid := &x509svid.SVID{Certificates: []*x509.Certificate{cert}, PrivateKey: key}
	if len(names) > 0 {
		svid.ID, _ = spiffeid.FromURI(names[0])
	}
	return svid
}

// authority makes the certificate of the domain's key for certificates.
func (d *TrustDomain) authority() *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: d.name.Name()}, URIs: []*url.URL{d.name.ID().URL()},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	return d.certificate(template, template, d.caKey.Public(), d.caKey)
}

func (d *TrustDomain) certificate(template, parent *x509.Certificate, public, signer any) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		d.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		d.t.Fatal(err)
	}
	return cert
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return n.Add(n, big.NewInt(1))
}
