package spiffe_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/federationtest"
	"github.com/agentid-dev/agentid/federation/keyset"
	"github.com/agentid-dev/agentid/federation/spiffe"
	"github.com/agentid-dev/agentid/internal/egress"
	"github.com/agentid-dev/agentid/internal/httperr"
	domains "github.com/agentid-dev/agentid/internal/testenv/spiffe"
)

const workload = "/ns/refunds/sa/worker"

// live is a real trust domain, and our source for it by one of the ways to its bundle.
type live struct {
	*domains.TrustDomain
	source *spiffe.Source
	shift  atomic.Int64 // what the source's clock is ahead, in nanoseconds
}

func (l *live) now() time.Time { return time.Now().Add(time.Duration(l.shift.Load())) }

func (l *live) pass(d time.Duration) { l.shift.Add(int64(d)) }

func (l *live) verify(t *testing.T, p federation.Presented) (federation.Identity, error) {
	t.Helper()
	p.Audiences, p.Now = []string{federationtest.Audience}, l.now()
	id, _, err := l.source.Verify(t.Context(), p)
	return id, err
}

func newLive(t *testing.T, fetch func(*domains.TrustDomain) spiffe.Fetch) *live {
	t.Helper()
	l := &live{TrustDomain: domains.New(t, domain)}
	var err error
	l.source, err = spiffe.New(spiffe.Config{TrustDomain: domain, Fetch: fetch(l.TrustDomain), Keys: keyset.Config{Now: l.now}})
	require.NoError(t, err)
	return l
}

// What a workload gets from a real Workload API is taken, whichever way our side has the
// bundle: the Workload API, the bundle endpoint, the bundle file. New keys are picked up
// by the first SVID that needs them; what the old ones signed is refused then.
func TestSVIDsOfARealTrustDomain(t *testing.T) {
	endpoint := func(d *domains.TrustDomain) spiffe.Fetch {
		web := httptest.NewTLSServer(d)
		t.Cleanup(web.Close)
		roots := x509.NewCertPool()
		roots.AddCert(web.Certificate())
		client := egress.Client(egress.Config{AllowPrivate: true, RootCAs: roots})
		t.Cleanup(client.CloseIdleConnections)
		return spiffe.Endpoint(client, web.URL)
	}
	var file string
	for name, fetch := range map[string]func(*domains.TrustDomain) spiffe.Fetch{
		"Workload API": func(d *domains.TrustDomain) spiffe.Fetch {
			return spiffe.WorkloadAPI(domains.Serve(t, d, "/broker").Addr)
		},
		"bundle endpoint": endpoint,
		"bundle file":     func(d *domains.TrustDomain) spiffe.Fetch { file = d.File(); return spiffe.File(file) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLive(t, fetch)
			api := domains.Serve(t, l.TrustDomain, workload)
			client, err := workloadapi.New(t.Context(), workloadapi.WithAddr(api.Addr))
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close() })
			svid := func(audience string) federation.Presented {
				token, err := client.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: audience})
				require.NoError(t, err)
				return federation.Presented{Token: token.Marshal()}
			}
			old := []federation.Presented{svid(federationtest.Audience), {Certificates: handshake(t, api.Addr)}}
			for _, p := range old {
				id, err := l.verify(t, p)
				require.NoError(t, err)
				require.Equal(t, "spiffe://"+domain+workload, id.Subject)
			}
			_, err = l.verify(t, svid("https://elsewhere.example"))
			require.Equal(t, federation.ReasonAudience, agentid.ReasonOf(err))

			l.Roll(false)
			if name == "bundle file" {
				require.NoError(t, os.WriteFile(file, l.Document(), 0o600))
			}
			l.pass(keyset.DefaultInterval)
			for _, p := range []federation.Presented{svid(federationtest.Audience), {Certificates: handshake(t, api.Addr)}} {
				_, err = l.verify(t, p)
				require.NoError(t, err)
			}
			for _, p := range old {
				_, err = l.verify(t, p)
				require.Equal(t, agentid.KindUnauthenticated, agentid.KindOf(err), "signed by keys that are gone")
			}
		})
	}
}

// A federated trust domain is in the Workload API's bundles, and its authority cannot
// speak for ours.
func TestFederatedTrustDomain(t *testing.T) {
	partner := domains.New(t, "partner.example")
	var api string
	l := newLive(t, func(d *domains.TrustDomain) spiffe.Fetch {
		api = domains.Serve(t, d, "/broker", partner).Addr
		return spiffe.WorkloadAPI(api)
	})
	theirs, err := spiffe.New(spiffe.Config{TrustDomain: "partner.example", Fetch: spiffe.WorkloadAPI(api), Keys: keyset.Config{Now: l.now}})
	require.NoError(t, err)
	good := federation.Presented{
		Token: partner.JWTSVID("/agent", time.Minute, federationtest.Audience), Audiences: []string{federationtest.Audience}, Now: l.now(),
	}
	id, _, err := theirs.Verify(t.Context(), good)
	require.NoError(t, err)
	require.Equal(t, "spiffe://partner.example/agent", id.Subject)

	claims := map[string]any{
		"sub": l.ID(workload).String(), "aud": []string{federationtest.Audience}, "exp": l.now().Add(time.Minute).Unix(), "iat": l.now().Unix(),
	}
	forged := []federation.Presented{
		{Token: partner.Sign(claims)},
		{Certificates: partner.Certify(time.Minute, l.ID(workload).URL()).Certificates},
	}
	for _, p := range forged {
		_, err = l.verify(t, p)
		require.Equal(t, agentid.KindUnauthenticated, agentid.KindOf(err))
		p.Audiences, p.Now = []string{federationtest.Audience}, l.now()
		_, _, err = theirs.Verify(t.Context(), p)
		require.Equal(t, agentid.KindUnauthenticated, agentid.KindOf(err))
	}
}

// Without the Workload API the bundle that is there serves until it is too old; then it is
// an outage, and the first answer ends it.
func TestWorkloadAPIOutage(t *testing.T) {
	var api *domains.WorkloadAPI
	l := newLive(t, func(d *domains.TrustDomain) spiffe.Fetch {
		api = domains.Serve(t, d, "/broker")
		return spiffe.WorkloadAPI(api.Addr)
	})
	svid := func() federation.Presented {
		now := l.now()
		return federation.Presented{Token: l.Sign(map[string]any{
			"sub": l.ID(workload).String(), "aud": federationtest.Audience, "exp": now.Add(time.Minute).Unix(), "iat": now.Unix(),
		})}
	}
	_, err := l.verify(t, svid())
	require.NoError(t, err)
	api.Stop()
	l.pass(keyset.DefaultMaxStale - time.Minute)
	_, err = l.verify(t, svid())
	require.NoError(t, err)
	l.pass(2 * time.Minute)
	_, err = l.verify(t, svid())
	require.Equal(t, agentid.KindUnavailable, agentid.KindOf(err))
	require.Positive(t, httperr.Of(err).RetryAfter)
}

// handshake is the certificates that a server sees of a workload whose SVID comes from the
// Workload API: go-spiffe is the client of a TLS connection.
func handshake(t *testing.T, api string) []*x509.Certificate {
	t.Helper()
	source, err := workloadapi.NewX509Source(t.Context(), workloadapi.WithClientOptions(workloadapi.WithAddr(api)))
	require.NoError(t, err)
	defer func() { _ = source.Close() }()
	ours := domains.New(t, "server.example").X509SVID("/broker", time.Hour)
	ear, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert,
		Certificates: []tls.Certificate{{Certificate: [][]byte{ours.Certificates[0].Raw}, PrivateKey: ours.PrivateKey}},
	})
	require.NoError(t, err)
	defer func() { _ = ear.Close() }()
	seen := make(chan []*x509.Certificate, 1)
	go func() {
		defer close(seen)
		conn, err := ear.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		if c, ok := conn.(*tls.Conn); ok && c.HandshakeContext(t.Context()) == nil {
			seen <- c.ConnectionState().PeerCertificates
		}
	}()
	cfg := tlsconfig.MTLSWebClientConfig(source, nil)
	cfg.InsecureSkipVerify = true // whom the client trusts is not what is tested
	raw, err := net.Dial("tcp", ear.Addr().String())
	require.NoError(t, err)
	defer func() { _ = raw.Close() }()
	require.NoError(t, tls.Client(raw, cfg).HandshakeContext(t.Context()))
	certs := <-seen
	require.NotEmpty(t, certs)
	return certs
}
