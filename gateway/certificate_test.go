package gateway_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/capability"
)

// selfSigned is a certificate that nobody vouches for: whose it is, the broker looked at.
func selfSigned(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// pool trusts one certificate.
func pool(c tls.Certificate) *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(c.Leaf)
	return roots
}

// TestTokenBoundToACertificate: such a token is taken over a connection with that
// certificate, and in no other way.
func TestTokenBoundToACertificate(t *testing.T) {
	w := newWorld(t, options{})
	own, server, other := selfSigned(t), selfSigned(t), selfSigned(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	secure := tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12})
	s := w.gateway.Server("")
	go func() { _ = s.Serve(w.gateway.Listener(secure)) }()
	t.Cleanup(func() { _ = s.Close() })
	roots := pool(server)
	base, err := url.Parse(w.base)
	require.NoError(t, err)

	sum := sha256.Sum256(own.Leaf.Raw)
	token := w.token(func(c *capability.Claims) {
		c.Confirmation = capability.Confirmation{X5T: base64.RawURLEncoding.EncodeToString(sum[:])}
	}, w.grant("", "payments:read_charge"))
	ask := func(header http.Header, certs ...tls.Certificate) answer {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs}}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+l.Addr().String()+"/v1/charges/ch_1", nil)
		require.NoError(t, err)
		req.Host, req.Header = base.Host, header
		resp, err := transport.RoundTrip(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return answer{resp.StatusCode, resp.Header, string(text)}
	}
	bearer := http.Header{"Authorization": {"Bearer " + token}}
	a := ask(bearer, own)
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Equal(t, "mtls", w.last().Notes["binding"])

	a = ask(bearer, other)
	require.Equal(t, http.StatusUnauthorized, a.status)
	require.Equal(t, "certificate_mismatch", a.reason(), a.body)
	a = ask(bearer)
	require.Equal(t, "certificate_missing", a.reason(), a.body)
	encoded := url.QueryEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]})))
	for _, name := range []string{"X-Client-Cert", "X-Forwarded-Client-Cert", "Client-Cert", "X-Ssl-Client-Cert"} {
		a = ask(http.Header{"Authorization": {"Bearer " + token}, name: {encoded}})
		require.Equal(t, http.StatusUnauthorized, a.status, "%s: a header is no certificate", name)
	}
	a = w.raw(get("/v1/charges/ch_1"), bearer)
	require.Equal(t, "certificate_missing", a.reason(), "in clear: %s", a.body)
	a = w.send(token, get("/v1/charges/ch_1"))
	require.Equal(t, http.StatusUnauthorized, a.status, "as DPoP")
}
