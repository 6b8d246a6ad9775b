package federation

import (
	"context"
	"crypto/x509"
	"time"
)

// Skew is how far clocks may differ.
const Skew = 30 * time.Second

// Presented is what a caller showed, not verified yet: a token, or the certificates of its
// TLS connection.
type Presented struct {
	Token        string              // compact JWT, or what else the source reads
	Certificates []*x509.Certificate // of the connection's peer, leaf first, verified by nobody
	// Audiences are the names that are ours: the token must be for exactly one, which is
	// one of these, compared byte for byte. Empty refuses every token.
	Audiences []string
	Now       time.Time
}

// Identity is who a source says is calling. The zero Identity is nobody.
type Identity struct {
	Source   string // kind of the source: "github"
	Issuer   string // as configured, byte for byte; of SPIFFE "spiffe://" and the trust domain
	Subject  string // unique within the issuer and never given to another
	Audience string // the one of Presented.Audiences; "" for a certificate
	Claims   Claims // everything it says, flat
	ID       string // jti, where there is one and it may be used once; else ""
	Issued   time.Time
	Expires  time.Time // never zero
	// Confirmation is the thumbprint of the key or certificate that the identity is bound to
	// by itself, as in cnf; "" when the token says nothing.
	Confirmation string
}

// Source verifies identities of one issuer. It is safe for concurrent use.
type Source interface {
	// Kind is the source's kind: "github".
	Kind() string
	// Issuer is the name that its identities carry.
	Issuer() string
	// Verify checks all that the source's standard asks for. The Trace holds the steps up to
	// the one that failed. Errors are *agentid.Error: KindUnauthenticated refuses, with a
	// reason that names the check; KindUnavailable means that the issuer's keys cannot be
	// had, and carries the time to try again.
	Verify(ctx context.Context, p Presented) (Identity, *Trace, error)
}
