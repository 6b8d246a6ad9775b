package spiffe_test

import (
	"context"
	"crypto/x509"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"

	"github.com/agentid-dev/agentid/internal/testenv/spiffe"
)

const audience = "https://broker.example/acme"

// go-spiffe's own client is the judge of the server.
func TestWorkloadAPI(t *testing.T) {
	domain, partner := spiffe.New(t, "acme.example"), spiffe.New(t, "partner.example")
	api := spiffe.Serve(t, domain, "/ns/pay/sa/refunds", partner)
	client, err := workloadapi.New(t.Context(), workloadapi.WithAddr(api.Addr))
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })

	token, err := client.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: audience})
	require.NoError(t, err)
	require.Equal(t, "spiffe://acme.example/ns/pay/sa/refunds", token.ID.String())
	checked, err := client.ValidateJWTSVID(t.Context(), token.Marshal(), audience)
	require.NoError(t, err)
	require.Equal(t, token.ID, checked.ID)
	_, err = client.ValidateJWTSVID(t.Context(), token.Marshal(), "https://elsewhere.example")
	require.Error(t, err)

	svid, err := client.FetchX509SVID(t.Context())
	require.NoError(t, err)
	_, _, err = x509svid.Verify(svid.Certificates, domain.Bundle())
	require.NoError(t, err)
	_, _, err = x509svid.Verify(svid.Certificates, partner.Bundle())
	require.Error(t, err)

	conn, err := grpc.NewClient(api.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = pb.NewSpiffeWorkloadAPIClient(conn).FetchJWTSVID(t.Context(), &pb.JWTSVIDRequest{Audience: []string{audience}})
	require.ErrorContains(t, err, "security header")
}

func TestBundlesFollowTheKeys(t *testing.T) {
	domain, partner := spiffe.New(t, "acme.example"), spiffe.New(t, "partner.example")
	api := spiffe.Serve(t, domain, "/agent", partner)
	source, err := workloadapi.NewBundleSource(t.Context(), workloadapi.WithClientOptions(workloadapi.WithAddr(api.Addr)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = source.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, d := range []*spiffe.TrustDomain{domain, partner} {
		old := d.JWTSVID("/agent", time.Minute, audience)
		d.Roll(false)
		token := d.JWTSVID("/agent", time.Minute, audience)
		for _, err = jwtsvid.ParseAndValidate(token, source, []string{audience}); err != nil; _, err = jwtsvid.ParseAndValidate(token, source, []string{audience}) {
			require.NoError(t, source.WaitUntilUpdated(ctx))
		}
		_, err = jwtsvid.ParseAndValidate(old, source, []string{audience})
		require.Error(t, err)
		d.Roll(true)
		next := d.JWTSVID("/agent", time.Minute, audience)
		for _, err = jwtsvid.ParseAndValidate(next, source, []string{audience}); err != nil; _, err = jwtsvid.ParseAndValidate(next, source, []string{audience}) {
			require.NoError(t, source.WaitUntilUpdated(ctx))
		}
		_, err = jwtsvid.ParseAndValidate(token, source, []string{audience})
		require.NoError(t, err, "the bundle keeps the older key")
	}
}

func TestBundleEndpointAndFile(t *testing.T) {
	domain := spiffe.New(t, "acme.example")
	web := httptest.NewTLSServer(domain)
	t.Cleanup(web.Close)
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	fetched, err := federation.FetchBundle(t.Context(), domain.Name(), web.URL, federation.WithWebPKIRoots(roots))
	require.NoError(t, err)
	require.True(t, fetched.Equal(domain.Bundle()))
	read, err := spiffebundle.Load(domain.Name(), domain.File())
	require.NoError(t, err)
	require.True(t, read.Equal(domain.Bundle()))
	domain.Roll(true)
	sequence, ok := domain.Bundle().SequenceNumber()
	require.True(t, ok)
	require.Equal(t, uint64(2), sequence)
	require.False(t, read.Equal(domain.Bundle()))
}
