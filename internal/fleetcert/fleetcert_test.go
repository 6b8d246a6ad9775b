package fleetcert_test

import (
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/fleetcert"
)

func leaf(t *testing.T, p fleetcert.Pair) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(p.Cert)
	require.NotNil(t, block)
	cert, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return cert
}

func connector(t *testing.T, tenant, name string) agentid.Ref {
	t.Helper()
	ref, err := agentid.ConnectorRef(tenant, name)
	require.NoError(t, err)
	return ref
}

func TestACertificateSaysWhoAndForWhat(t *testing.T) {
	now := time.Now()
	a, err := fleetcert.NewAuthority("one", now)
	require.NoError(t, err)
	stripe, other := connector(t, "acme", "stripe"), connector(t, "globex", "stripe")
	pair, err := a.Gateway("gw-1", []agentid.Ref{stripe}, false, time.Hour, now)
	require.NoError(t, err)
	id, err := fleetcert.Of(leaf(t, pair))
	require.NoError(t, err)
	require.Equal(t, fleetcert.Identity{Cluster: "one", Role: fleetcert.RoleGateway, Name: "gw-1", Connectors: []agentid.Ref{stripe}}, id)
	require.True(t, id.Serves(stripe))
	require.False(t, id.Serves(other))
	require.True(t, id.ServesTenant("acme"))
	require.False(t, id.ServesTenant("globex"))

	pair, err = a.Gateway("gw-2", nil, true, time.Hour, now)
	require.NoError(t, err)
	id, err = fleetcert.Of(leaf(t, pair))
	require.NoError(t, err)
	require.True(t, id.Serves(other))
	require.False(t, fleetcert.Identity{}.Serves(stripe), "the zero identity serves nothing")

	pair, err = a.Broker([]string{"127.0.0.1", "broker.internal"}, time.Hour, now)
	require.NoError(t, err)
	cert := leaf(t, pair)
	id, err = fleetcert.Of(cert)
	require.NoError(t, err)
	require.Equal(t, fleetcert.RoleBroker, id.Role)
	require.False(t, id.Serves(stripe))
	require.NoError(t, cert.VerifyHostname("broker.internal"))
	require.NoError(t, cert.VerifyHostname("127.0.0.1"))
	require.Error(t, cert.VerifyHostname("elsewhere.internal"))
}

func TestWhatAnAuthorityRefuses(t *testing.T) {
	now := time.Now()
	_, err := fleetcert.NewAuthority("not/a name", now)
	require.Error(t, err)
	a, err := fleetcert.NewAuthority("one", now)
	require.NoError(t, err)
	stripe := connector(t, "acme", "stripe")
	agent, err := agentid.AgentRef("acme", "a")
	require.NoError(t, err)
	for name, try := range map[string]func() error{
		"no name":             func() error { _, err := a.Gateway("", nil, true, time.Hour, now); return err },
		"a path for a name":   func() error { _, err := a.Gateway("../x", nil, true, time.Hour, now); return err },
		"no connectors":       func() error { _, err := a.Gateway("g", nil, false, time.Hour, now); return err },
		"all and some":        func() error { _, err := a.Gateway("g", []agentid.Ref{stripe}, true, time.Hour, now); return err },
		"not a connector":     func() error { _, err := a.Gateway("g", []agentid.Ref{agent}, false, time.Hour, now); return err },
		"too short a life":    func() error { _, err := a.Gateway("g", nil, true, time.Second, now); return err },
		"too long a life":     func() error { _, err := a.Gateway("g", nil, true, 500*24*time.Hour, now); return err },
		"a broker of no host": func() error { _, err := a.Broker(nil, time.Hour, now); return err },
	} {
		require.Equal(t, agentid.KindInvalid, agentid.KindOf(try()), name)
	}
}

func TestCertificatesThatNameNobodyOrTwo(t *testing.T) {
	for name, uris := range map[string][]string{
		"none":                {},
		"another scheme":      {"spiffe://one/gateway/g"},
		"two gateways":        {"agentid://one/gateway/a", "agentid://one/gateway/b"},
		"a gateway and more":  {"agentid://one/gateway/a", "agentid://one/broker"},
		"two clusters":        {"agentid://one/gateway/a", "agentid://two/connectors"},
		"connectors alone":    {"agentid://one/connectors"},
		"broker with some":    {"agentid://one/broker", "agentid://one/connectors"},
		"unknown path":        {"agentid://one/gateway/a", "agentid://one/root"},
		"no connector's name": {"agentid://one/gateway/a", "agentid://one/connector/acme"},
		"a wildcard":          {"agentid://one/gateway/a", "agentid://one/connector/acme/*"},
		"an escaped slash":    {"agentid://one/gateway/a%2fb"},
		"a query":             {"agentid://one/gateway/a?x=1"},
	} {
		var cert x509.Certificate
		for _, text := range uris {
			u, err := url.Parse(text)
			require.NoError(t, err)
			cert.URIs = append(cert.URIs, u)
		}
		_, err := fleetcert.Of(&cert)
		require.Error(t, err, name)
	}
}

func TestARosterAdmitsWhomItLists(t *testing.T) {
	now := time.Now()
	a, err := fleetcert.NewAuthority("one", now)
	require.NoError(t, err)
	pair, err := a.Gateway("gw-1", nil, true, time.Hour, now)
	require.NoError(t, err)
	own := leaf(t, pair)
	stripe := connector(t, "acme", "stripe")
	foreign := &x509.Certificate{DNSNames: []string{"gw-9.example"}}

	id, err := fleetcert.Roster{Cluster: "one"}.Identify(own)
	require.NoError(t, err)
	require.True(t, id.All)
	_, err = fleetcert.Roster{Cluster: "two"}.Identify(own)
	require.ErrorContains(t, err, `for cluster "one", this is "two"`)
	_, err = fleetcert.Roster{Cluster: "one"}.Identify(foreign)
	require.Error(t, err)

	listed := fleetcert.Roster{Cluster: "one", Members: []fleetcert.Member{
		{Name: "gw-1", Connectors: []agentid.Ref{stripe}},
		{Name: "gw-9", Certificate: "dns:gw-9.example", All: true},
	}}
	id, err = listed.Identify(own)
	require.NoError(t, err)
	require.False(t, id.All, "the configuration narrows what the certificate says")
	require.True(t, id.Serves(stripe))
	id, err = listed.Identify(foreign)
	require.NoError(t, err)
	require.Equal(t, "gw-9", id.Name)
	_, err = listed.Identify(&x509.Certificate{DNSNames: []string{"gw-8.example"}})
	require.ErrorContains(t, err, "fleet.gateways does not list")
	broker, err := a.Broker([]string{"h"}, time.Hour, now)
	require.NoError(t, err)
	_, err = fleetcert.Roster{Cluster: "one"}.Identify(leaf(t, broker))
	require.ErrorContains(t, err, "not a gateway's")
}

func TestFilesAreTheOwnersAndAreReadAgain(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	a, err := fleetcert.Init(dir, "one", now)
	require.NoError(t, err)
	_, err = fleetcert.Init(dir, "one", now)
	require.Equal(t, "fleet_exists", agentid.ReasonOf(err))
	again, err := fleetcert.Load(dir)
	require.NoError(t, err)
	require.Equal(t, a.Cluster(), again.Cluster())
	_, err = fleetcert.Load(t.TempDir())
	require.Equal(t, "fleet_unknown", agentid.ReasonOf(err))

	out := filepath.Join(dir, "gw")
	write := func() {
		pair, err := again.Gateway("gw-1", nil, true, time.Hour, now)
		require.NoError(t, err)
		require.NoError(t, pair.Write(out))
	}
	write()
	key := filepath.Join(out, fleetcert.KeyFile)
	info, err := os.Stat(key)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	k, err := fleetcert.Open(fleetcert.Source{
		Cert: filepath.Join(out, fleetcert.CertFile), Authority: filepath.Join(out, fleetcert.AuthorityFile),
		Key: func() ([]byte, error) { return os.ReadFile(key) },
	})
	require.NoError(t, err)
	first := k.Leaf()
	changed, err := k.Refresh()
	require.NoError(t, err)
	require.False(t, changed)
	write()
	require.NoError(t, os.Chtimes(filepath.Join(out, fleetcert.CertFile), now, now.Add(time.Second)))
	changed, err = k.Refresh()
	require.NoError(t, err)
	require.True(t, changed)
	for _, cert := range []*x509.Certificate{first, k.Leaf()} {
		_, err = k.PrivateKey(fleetcert.Fingerprint(cert))
		require.NoError(t, err, "what was sealed to the one before can still be opened")
	}
	_, err = k.PrivateKey("of another")
	require.Error(t, err)

	require.NoError(t, os.WriteFile(filepath.Join(out, fleetcert.CertFile), []byte("nonsense"), 0o600))
	require.NoError(t, os.Chtimes(filepath.Join(out, fleetcert.CertFile), now, now.Add(2*time.Second)))
	held := k.Leaf()
	_, err = k.Refresh()
	require.Error(t, err)
	require.Same(t, held, k.Leaf(), "the one that was there stays")

	require.NoError(t, os.Chmod(filepath.Join(dir, fleetcert.AuthorityKeyFile), 0o644))
	_, err = fleetcert.Load(dir)
	require.ErrorContains(t, err, "chmod 600")
}
