package fleetcert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Source says where a side's certificate lies. Cert and Authority are paths of PEM
// files; Key reads the private key, as PEM.
type Source struct {
	Cert, Authority string
	Key             func() ([]byte, error)
}

// Keeper holds a side's certificate and reads it again when its file has changed, so
// that a renewal needs no restart.
type Keeper struct {
	src   Source
	roots *x509.CertPool

	mu      sync.Mutex
	current *tls.Certificate
	changed time.Time
	former  *tls.Certificate // for what was sealed to it a moment ago
}

// Open reads a source. The certificate's key must be P-256, which is what upstream
// credentials are sealed to.
func Open(src Source) (*Keeper, error) {
	k := &Keeper{src: src, roots: x509.NewCertPool()}
	authority, err := os.ReadFile(src.Authority)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	if !k.roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("ca: %s holds no certificate", src.Authority)
	}
	info, err := os.Stat(src.Cert)
	if err != nil {
		return nil, fmt.Errorf("cert: %w", err)
	}
	if k.current, err = k.load(); err != nil {
		return nil, err
	}
	k.changed = info.ModTime()
	return k, nil
}

func (k *Keeper) load() (*tls.Certificate, error) {
	chain, err := os.ReadFile(k.src.Cert)
	if err != nil {
		return nil, fmt.Errorf("cert: %w", err)
	}
	key, err := k.src.Key()
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("cert: %w", err)
	}
	if _, err := PublicKey(pair.Leaf); err != nil {
		return nil, fmt.Errorf("cert: %w", err)
	}
	return &pair, nil
}

// Refresh reads the certificate again if its file has changed, and reports whether
// another one is in use now. With an error the one that was there stays.
func (k *Keeper) Refresh() (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := os.Stat(k.src.Cert)
	if err != nil {
		return false, fmt.Errorf("cert: %w", err)
	}
	if info.ModTime().Equal(k.changed) {
		return false, nil
	}
	next, err := k.load()
	if err != nil {
		return false, err
	}
	k.changed = info.ModTime()
	if next.Leaf.Equal(k.current.Leaf) {
		return false, nil
	}
	k.former, k.current = k.current, next
	return true, nil
}

// Leaf is the certificate in use.
func (k *Keeper) Leaf() *x509.Certificate { return k.pair().Leaf }

func (k *Keeper) pair() *tls.Certificate {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current
}

// PrivateKey is the key of the certificate with this fingerprint: the one in use, or
// the one before it.
func (k *Keeper) PrivateKey(fingerprint string) (crypto.PrivateKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range []*tls.Certificate{k.current, k.former} {
		if p != nil && Fingerprint(p.Leaf) == fingerprint {
			return p.PrivateKey, nil
		}
	}
	return nil, errors.New("fleetcert: sealed to another certificate")
}

// ServerTLS asks every peer for a certificate of the authority, over TLS 1.3.
func (k *Keeper) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: k.roots,
		// A resumed session would go past the check of a certificate's end.
		SessionTicketsDisabled: true,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.pair(), nil },
	}
}

// ClientTLS presents the certificate and verifies the broker's against the authority
// and the host that was dialled, over TLS 1.3.
func (k *Keeper) ClientTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: k.roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return k.pair(), nil },
	}
}

// Fingerprint names a certificate: the SHA-256 of its DER, in hex.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// PublicKey is the certificate's key, which must be P-256.
func PublicKey(c *x509.Certificate) (*ecdsa.PublicKey, error) {
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the certificate's key must be ECDSA on P-256")
	}
	return key, nil
}
