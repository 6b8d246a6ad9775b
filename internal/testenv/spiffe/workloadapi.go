package spiffe

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

// svidLife is how long an SVID from the Workload API is valid.
const svidLife = 5 * time.Minute

// WorkloadAPI answers one workload, on a Unix socket. Whoever can open the socket is that
// workload. Streams are sent anew whenever the keys of a domain roll.
type WorkloadAPI struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	Addr      string // "unix:///…/api.sock", as SPIFFE_ENDPOINT_SOCKET has it
	domain    *TrustDomain
	federated []*TrustDomain
	path      string
	server    *grpc.Server
}

// Serve starts a Workload API for the workload at path of a domain, which also sees the
// bundles of federated domains, until the test ends.
func Serve(t testing.TB, domain *TrustDomain, path string, federated ...*TrustDomain) *WorkloadAPI {
	t.Helper()
	dir, err := os.MkdirTemp("", "spiffe") //nolint:usetesting // the path of a socket is short, a test's folder is not
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "api.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	w := &WorkloadAPI{Addr: "unix://" + socket, domain: domain, federated: federated, path: path, server: grpc.NewServer()}
	workload.RegisterSpiffeWorkloadAPIServer(w.server, w)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.server.Serve(listener)
	}()
	t.Cleanup(func() {
		w.server.Stop()
		<-done
		_ = os.RemoveAll(dir)
	})
	return w
}

// Stop ends the server, as in an outage.
func (w *WorkloadAPI) Stop() { w.server.Stop() }

// known refuses a caller without the header that the Workload API asks for: it keeps
// browsers and proxies that were tricked out.
func known(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get("workload.spiffe.io"); len(v) != 1 || v[0] != "true" {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	return nil
}

// FetchX509SVID implements the Workload API.
func (w *WorkloadAPI) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	return w.follow(stream.Context(), func() error {
		svid := w.domain.X509SVID(w.path, svidLife)
		key, err := x509.MarshalPKCS8PrivateKey(svid.PrivateKey)
		if err != nil {
			return err
		}
		answer := &workload.X509SVIDResponse{FederatedBundles: map[string][]byte{}, Svids: []*workload.X509SVID{{
			SpiffeId: svid.ID.String(), X509Svid: raw(svid.Certificates), X509SvidKey: key,
			Bundle: raw(w.domain.Bundle().X509Authorities()),
		}}}
		for _, d := range w.federated {
			answer.FederatedBundles[d.name.IDString()] = raw(d.Bundle().X509Authorities())
		}
		return stream.Send(answer)
	})
}

// FetchX509Bundles implements the Workload API.
func (w *WorkloadAPI) FetchX509Bundles(_ *workload.X509BundlesRequest, stream workload.SpiffeWorkloadAPI_FetchX509BundlesServer) error {
	return w.follow(stream.Context(), func() error {
		answer := &workload.X509BundlesResponse{Bundles: map[string][]byte{}}
		for _, d := range w.domains() {
			answer.Bundles[d.name.IDString()] = raw(d.Bundle().X509Authorities())
		}
		return stream.Send(answer)
	})
}

// FetchJWTBundles implements the Workload API.
func (w *WorkloadAPI) FetchJWTBundles(_ *workload.JWTBundlesRequest, stream workload.SpiffeWorkloadAPI_FetchJWTBundlesServer) error {
	return w.follow(stream.Context(), func() error {
		answer := &workload.JWTBundlesResponse{Bundles: map[string][]byte{}}
		for _, d := range w.domains() {
			doc, err := d.Bundle().JWTBundle().Marshal()
			if err != nil {
				return err
			}
			answer.Bundles[d.name.IDString()] = doc
		}
		return stream.Send(answer)
	})
}

// FetchJWTSVID implements the Workload API.
func (w *WorkloadAPI) FetchJWTSVID(ctx context.Context, req *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	if err := known(ctx); err != nil {
		return nil, err
	}
	id := w.domain.ID(w.path).String()
	if len(req.Audience) == 0 || req.SpiffeId != "" && req.SpiffeId != id {
		return nil, status.Error(codes.PermissionDenied, "no identity issued")
	}
	return &workload.JWTSVIDResponse{Svids: []*workload.JWTSVID{{
		SpiffeId: id, Svid: w.domain.JWTSVID(w.path, svidLife, req.Audience...),
	}}}, nil
}

// ValidateJWTSVID implements the Workload API.
func (w *WorkloadAPI) ValidateJWTSVID(ctx context.Context, req *workload.ValidateJWTSVIDRequest) (*workload.ValidateJWTSVIDResponse, error) {
	if err := known(ctx); err != nil {
		return nil, err
	}
	for _, d := range w.domains() {
		svid, err := jwtsvid.ParseAndValidate(req.Svid, d.Bundle(), []string{req.Audience})
		if err != nil {
			continue
		}
		claims, err := structpb.NewStruct(svid.Claims)
		if err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		return &workload.ValidateJWTSVIDResponse{SpiffeId: svid.ID.String(), Claims: claims}, nil
	}
	return nil, status.Error(codes.InvalidArgument, "the token is not valid")
}

func (w *WorkloadAPI) domains() []*TrustDomain {
	return append([]*TrustDomain{w.domain}, w.federated...)
}

// follow sends now, and again whenever keys roll, until the caller goes away.
func (w *WorkloadAPI) follow(ctx context.Context, send func() error) error {
	if err := known(ctx); err != nil {
		return err
	}
	for {
		again := make(chan struct{}, 1)
		stop, cancel := context.WithCancel(ctx)
		for _, d := range w.domains() {
			_, changed := d.state()
			go func() {
				select {
				case <-changed:
					select {
					case again <- struct{}{}:
					default:
					}
				case <-stop.Done():
				}
			}()
		}
		err := send()
		if err == nil {
			select {
			case <-again:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		cancel()
		if err != nil {
			return err
		}
	}
}

func raw(certs []*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, c.Raw...)
	}
	return out
}
