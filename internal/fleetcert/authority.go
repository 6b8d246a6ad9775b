package fleetcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/agentid-dev/agentid"
)

// The lifetimes of what an authority makes.
const (
	AuthorityLifetime = 10 * 365 * 24 * time.Hour
	BrokerLifetime    = 90 * 24 * time.Hour
	GatewayLifetime   = 7 * 24 * time.Hour
	MaxLifetime       = 398 * 24 * time.Hour
	backdate          = 5 * time.Minute // for a clock that lags
)

// The files of a folder that Init or Write made.
const (
	AuthorityFile    = "ca.crt"
	AuthorityKeyFile = "ca.key"
	CertFile         = "tls.crt"
	KeyFile          = "tls.key"
)

// Authority makes certificates for one cluster.
type Authority struct {
	cluster string
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
}

// Pair is a certificate with its private key and the authority to verify peers by, as PEM.
type Pair struct{ Cert, Key, Authority []byte }

// NewAuthority makes an authority for a cluster.
func NewAuthority(cluster string, now time.Time) (*Authority, error) {
	if err := CheckName("cluster", cluster); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("fleetcert: %w", err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "AgentID fleet " + cluster, Organization: []string{cluster}},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(AuthorityLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &Authority{cluster: cluster, cert: cert, key: key}, nil
}

// Cluster is the name of the cluster.
func (a *Authority) Cluster() string { return a.cluster }

// Gateway makes a gateway's certificate, for the time given.
func (a *Authority) Gateway(name string, connectors []agentid.Ref, all bool, lifetime time.Duration, now time.Time) (Pair, error) {
	if err := CheckName("gateway", name); err != nil {
		return Pair{}, err
	}
	switch {
	case all == (len(connectors) > 0):
		return Pair{}, agentid.Invalidf("connectors", "name the connectors that the gateway may serve, or all")
	case len(connectors) > MaxConnectors:
		return Pair{}, agentid.Invalidf("connectors", "are more than %d", MaxConnectors)
	}
	for _, c := range connectors {
		if c.Type() != agentid.TypeConnector {
			return Pair{}, agentid.Invalidf("connectors", "want connector:<tenant>/<name>")
		}
	}
	id := Identity{Cluster: a.cluster, Role: RoleGateway, Name: name, Connectors: connectors, All: all}
	return a.issue(id, "gateway "+name, nil, x509.ExtKeyUsageClientAuth, lifetime, now)
}

// Broker makes the broker's certificate for the host names and addresses by which
// gateways reach it.
func (a *Authority) Broker(hosts []string, lifetime time.Duration, now time.Time) (Pair, error) {
	if len(hosts) == 0 {
		return Pair{}, agentid.Invalidf("host", "name at least one host or address by which gateways reach the broker")
	}
	return a.issue(Identity{Cluster: a.cluster, Role: RoleBroker}, "broker", hosts, x509.ExtKeyUsageServerAuth, lifetime, now)
}

func (a *Authority) issue(id Identity, name string, hosts []string, usage x509.ExtKeyUsage, lifetime time.Duration, now time.Time) (Pair, error) {
	if lifetime < time.Minute || lifetime > MaxLifetime {
		return Pair{}, agentid.Invalidf("lifetime", "want 1m to %s", MaxLifetime)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("fleetcert: %w", err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name, Organization: []string{a.cluster}},
		NotBefore: now.Add(-backdate), NotAfter: earlier(now.Add(lifetime), a.cert.NotAfter),
		URIs: id.uris(), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	cert, err := sign(template, a.cert, key.Public(), a.key)
	if err != nil {
		return Pair{}, err
	}
	secret, err := encodeKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: encodeCert(cert), Key: secret, Authority: encodeCert(a.cert)}, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func sign(template, parent *x509.Certificate, public any, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	var serial [16]byte
	if _, err := rand.Read(serial[:]); err != nil {
		return nil, fmt.Errorf("fleetcert: %w", err)
	}
	serial[0] &= 0x7f
	template.SerialNumber = new(big.Int).SetBytes(serial[:])
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("fleetcert: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("fleetcert: %w", err)
	}
	return cert, nil
}

func encodeCert(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("fleetcert: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Init puts a new authority into dir. A folder that has one is refused: gateways that
// hold its certificates would be lost.
func Init(dir, cluster string, now time.Time) (*Authority, error) {
	if _, err := os.Stat(filepath.Join(dir, AuthorityKeyFile)); err == nil {
		return nil, agentid.Errorf(agentid.KindConflict, "fleet_exists", "%s holds a certificate authority already", dir)
	}
	a, err := NewAuthority(cluster, now)
	if err != nil {
		return nil, err
	}
	secret, err := encodeKey(a.key)
	if err != nil {
		return nil, err
	}
	return a, writeAll(dir, map[string][]byte{AuthorityFile: encodeCert(a.cert), AuthorityKeyFile: secret})
}

// Load reads the authority that Init made.
func Load(dir string) (*Authority, error) {
	certPEM, err := os.ReadFile(filepath.Join(dir, AuthorityFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, agentid.Errorf(agentid.KindNotFound, "fleet_unknown", "%s holds no certificate authority; agentid fleet init makes one", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("fleetcert: %w", err)
	}
	keyPEM, err := readSecret(filepath.Join(dir, AuthorityKeyFile))
	if err != nil {
		return nil, err
	}
	cert, err := parseCert(certPEM)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("fleetcert: the authority's key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || len(cert.Subject.Organization) != 1 || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.Join(errors.New("fleetcert: the authority's files do not belong together"), err)
	}
	return &Authority{cluster: cert.Subject.Organization[0], cert: cert, key: key}, nil
}

func parseCert(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("fleetcert: the certificate is not PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("fleetcert: %w", err)
	}
	return cert, nil
}
