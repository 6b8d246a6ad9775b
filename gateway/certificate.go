package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/agentid-dev/agentid/capability"
)

type connectionKey struct{}

// withConnection keeps the TLS connection of a request, which the guarded listener hides
// from net/http.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	for {
		if secure, ok := c.(*tls.Conn); ok {
			return context.WithValue(ctx, connectionKey{}, &connection{conn: secure})
		}
		below, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return ctx
		}
		c = below.NetConn()
	}
}

// connection is a TLS connection with the thumbprint of its client's certificate. The
// certificate is that of the handshake for as long as the connection lasts: there is no
// renegotiation on our side.
type connection struct {
	conn *tls.Conn
	x5t  atomic.Pointer[string] // nil until the handshake is known to be over
}

func (c *connection) thumbprint() string {
	if known := c.x5t.Load(); known != nil {
		return *known
	}
	state := c.conn.ConnectionState()
	x5t := thumbprint(&state)
	if state.HandshakeComplete {
		c.x5t.Store(&x5t)
	}
	return x5t
}

// thumbprint is RFC 8705's of the certificate that a connection was opened with; empty when
// there is none. That its holder has the key was shown in the handshake.
func thumbprint(state *tls.ConnectionState) string {
	if state == nil || !state.HandshakeComplete || len(state.PeerCertificates) == 0 {
		return ""
	}
	sum := sha256.Sum256(state.PeerCertificates[0].Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// presented is the thumbprint of the certificate of a request's connection. A header that
// claims one is never looked at.
func presented(r *http.Request) string {
	if c, ok := r.Context().Value(connectionKey{}).(*connection); ok && r.TLS == nil {
		return c.thumbprint()
	}
	return thumbprint(r.TLS)
}

// certificate holds a token that is bound to a client certificate (RFC 8705 section 3)
// against the one of this connection. Whose certificate it is does not count: the broker
// looked at that when it bound the token.
func certificate(x *exchange, claims *capability.Claims) error {
	have := presented(x.r)
	if have == "" {
		return unauthenticated("certificate_missing", "the token is bound to a client certificate, and the connection has none")
	}
	if subtle.ConstantTimeCompare([]byte(have), []byte(claims.Confirmation.X5T)) != 1 {
		return unauthenticated("certificate_mismatch", "the token is bound to another client certificate")
	}
	x.record.Notes["binding"] = "mtls"
	return nil
}
