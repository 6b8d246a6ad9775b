package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy/brokered"
)

// fleetMethods are what a gateway asks the graph: its decisions, which are answered as in
// this process, and whether it is there.
var fleetMethods = map[string]bool{
	brokered.MethodCheck:                 true,
	brokered.MethodSplit:                 true,
	healthpb.Health_Check_FullMethodName: true,
}

// Limits of the port for gateways. A connection ends after fleetConnection, so that a
// renewed certificate is shown before the old one runs out.
const (
	fleetStreams    = 1000
	fleetConnection = 5 * time.Minute
)

// Fleet is the port on which gateways that run apart ask the graph. All are required.
type Fleet struct {
	Addr string // host:port
	// TLS must require and verify client certificates.
	TLS *tls.Config
	// Admit judges each call by its client's certificate and its metadata. An error refuses it.
	Admit func(ctx context.Context, cert *x509.Certificate, header func(name string) string) error
}

// ListenFleet serves f until Close and returns the address. It answers checks and
// nothing else; over anything but mutual TLS it does not start.
func (e *Engine) ListenFleet(ctx context.Context, f Fleet) (string, error) {
	switch {
	case f.TLS == nil || f.TLS.ClientAuth != tls.RequireAndVerifyClientCert || f.TLS.ClientCAs == nil:
		return "", errors.New("engine: gateways are served over mutual TLS only")
	case f.Admit == nil:
		return "", errors.New("engine: Admit is required")
	case e.fleet != nil:
		return "", errors.New("engine: gateways are served already")
	}
	p := &readonlyPort{upstream: e.conn, methods: fleetMethods, admit: f.admit, answers: e.answers()}
	if err := p.serve(ctx, f.Addr,
		grpc.Creds(credentials.NewTLS(f.TLS)),
		grpc.MaxConcurrentStreams(fleetStreams),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: readOnlyIdle, MaxConnectionAge: fleetConnection, MaxConnectionAgeGrace: readOnlyStopWithin}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	); err != nil {
		return "", err
	}
	e.fleet = p
	return p.addr(), nil
}

// answers are the methods that the graph in this process answers.
func (e *Engine) answers() map[string]answerer {
	out := map[string]answerer{}
	for _, method := range []string{brokered.MethodCheck, brokered.MethodSplit} {
		out[method] = func(ctx context.Context, request []byte) ([]byte, error) {
			return brokered.Serve(ctx, e.checker, method, request) //nolint:wrapcheck // not told
		}
	}
	return out
}

// admit finds the certificate of a call.
func (f Fleet) admit(ctx context.Context) error {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return status.Error(codes.Unauthenticated, "a client certificate is required")
	}
	info, ok := from.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return status.Error(codes.Unauthenticated, "a client certificate is required")
	}
	md, _ := metadata.FromIncomingContext(ctx)
	err := f.Admit(ctx, info.State.PeerCertificates[0], func(name string) string {
		if values := md.Get(name); len(values) == 1 {
			return values[0]
		}
		return ""
	})
	if err != nil {
		e := agentid.AsError(err)
		return status.Error(codes.PermissionDenied, e.Reason+": "+e.Message)
	}
	return nil
}
