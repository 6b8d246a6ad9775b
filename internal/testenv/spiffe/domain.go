// Package spiffe is a SPIFFE trust domain for tests: it issues JWT-SVIDs and X.509-SVIDs,
// rolls its keys, and publishes its bundle by a Workload API on a Unix socket, a bundle
// endpoint, and a file, in the formats of go-spiffe.
package spiffe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// TrustDomain is an authority with its keys. It is safe for concurrent use.
type TrustDomain struct {
	t    testing.TB
	name spiffeid.TrustDomain

	mu       sync.Mutex
	rolls    int
	ca       *x509.Certificate
	caKey    *ecdsa.PrivateKey
	jwtKey   *ecdsa.PrivateKey
	jwtKeyID string
	bundle   *spiffebundle.Bundle
	changed  chan struct{} // closed, and replaced, whenever the keys roll
}

// New makes a trust domain with fresh keys.
func New(t testing.TB, name string) *TrustDomain {
	t.Helper()
	td, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		t.Fatal(err)
	}
	d := &TrustDomain{t: t, name: td, bundle: spiffebundle.New(td), changed: make(chan struct{})}
	d.Roll(false)
	return d
}

// Name is the trust domain.
func (d *TrustDomain) Name() spiffeid.TrustDomain { return d.name }

// Roll replaces the keys for JWTs and for certificates. What the old ones signed still
// verifies by the bundle if keep is true. The bundle's sequence number goes up.
func (d *TrustDomain) Roll(keep bool) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !keep {
		d.bundle = spiffebundle.New(d.name)
	}
	d.rolls++
	d.jwtKey, d.caKey = newKey(d.t), newKey(d.t)
	d.jwtKeyID = fmt.Sprintf("jwt-%d", d.rolls)
	d.ca = d.authority()
	d.bundle.SetSequenceNumber(uint64(d.rolls))
	d.bundle.AddX509Authority(d.ca)
	if err := d.bundle.AddJWTAuthority(d.jwtKeyID, d.jwtKey.Public()); err != nil {
		d.t.Fatal(err)
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

// Bundle is the bundle as it is now.
func (d *TrustDomain) Bundle() *spiffebundle.Bundle {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bundle.Clone()
}

// state is the bundle, and what is closed when it is no longer the newest.
func (d *TrustDomain) state() (*spiffebundle.Bundle, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bundle.Clone(), d.changed
}

// Document is the bundle in the SPIFFE bundle format.
func (d *TrustDomain) Document() []byte {
	d.t.Helper()
	doc, err := d.Bundle().Marshal()
	if err != nil {
		d.t.Fatal(err)
	}
	return doc
}

// File writes the bundle to a file of the test's.
func (d *TrustDomain) File() string {
	d.t.Helper()
	path := filepath.Join(d.t.TempDir(), "bundle.json")
	if err := os.WriteFile(path, d.Document(), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// ServeHTTP is a bundle endpoint of the profile https_web: serve it over TLS.
func (d *TrustDomain) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(d.Document())
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
