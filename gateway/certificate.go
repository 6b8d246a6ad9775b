package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net"
	"net/http"

	"github.com/agentid-dev/agentid/capability"
)

type connectionKey struct{}

// withConnection keeps the TLS connection of a request, which the guarded listener hides
// from net/http.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	for {
		if secure, ok := c.(*tls.Conn); ok {
			return context.WithValue(ctx, connectionKey{}, secure)
		}
		below, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return ctx
		}
		c = below.NetConn()
	}
}

// peer is the certificate that the request's connection was opened with; nil when there is
// none. That its holder has the key was shown in the handshake. A header that claims one is
// never looked at.
func peer(r *http.Request) *x509.Certificate {
	state := r.TLS
	if secure, ok := r.Context().Value(connectionKey{}).(*tls.Conn); ok && state == nil {
		s := secure.ConnectionState()
		state = &s
	}
	if state == nil || !state.HandshakeComplete || len(state.PeerCertificates) == 0 {
		return nil
	}
	return state.PeerCertificates[0]
}

// certificate holds a token that is bound to a client certificate (RFC 8705 section 3)
// against the one of this connection. Whose certificate it is does not count: the broker
// looked at that when it bound the token.
func certificate(x *exchange, claims *capability.Claims) error {
	cert := peer(x.r)
	if cert == nil {
		return unauthenticated("certificate_missing", "the token is bound to a client certificate, and the connection has none")
	}
	sum := sha256.Sum256(cert.Raw)
	have := base64.RawURLEncoding.EncodeToString(sum[:])
	if subtle.ConstantTimeCompare([]byte(have), []byte(claims.Confirmation.X5T)) != 1 {
		return unauthenticated("certificate_mismatch", "the token is bound to another client certificate")
	}
	x.record.Notes["binding"] = "mtls"
	return nil
}
