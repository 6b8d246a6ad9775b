package engine

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/agentid-dev/agentid"
)

// minKey is the least length in bytes of the read-only port's key.
const minKey = 16

// Limits of the read-only port: it is for one operator's terminal.
const (
	readOnlyStreams    = 32
	readOnlyMessage    = 4 << 20
	readOnlyIdle       = 5 * time.Minute
	readOnlyHandshake  = 5 * time.Second
	readOnlyStopWithin = 2 * time.Second
)

// readMethods are the methods that the port passes on: those with which zed checks,
// expands, looks up, reads, exports, watches and shows the schema. A method that is not
// here is refused, so a new one of SpiceDB's is until someone has looked at it.
var readMethods = map[string]bool{
	v1.PermissionsService_ReadRelationships_FullMethodName:       true,
	v1.PermissionsService_CheckPermission_FullMethodName:         true,
	v1.PermissionsService_CheckBulkPermissions_FullMethodName:    true,
	v1.PermissionsService_ExpandPermissionTree_FullMethodName:    true,
	v1.PermissionsService_LookupResources_FullMethodName:         true,
	v1.PermissionsService_LookupSubjects_FullMethodName:          true,
	v1.PermissionsService_ExportBulkRelationships_FullMethodName: true,
	v1.SchemaService_ReadSchema_FullMethodName:                   true,
	v1.SchemaService_ReflectSchema_FullMethodName:                true,
	v1.SchemaService_ComputablePermissions_FullMethodName:        true,
	v1.SchemaService_DependentRelations_FullMethodName:           true,
	v1.SchemaService_DiffSchema_FullMethodName:                   true,
	v1.WatchService_Watch_FullMethodName:                         true,
	healthpb.Health_Check_FullMethodName:                         true,
}

// readonlyPort passes read methods from a listener to the engine. It holds no path to a
// write: methods are compared with a list before anything reaches SpiceDB.
type readonlyPort struct {
	server   *grpc.Server
	listener net.Listener
	upstream *grpc.ClientConn
	methods  map[string]bool
	admit    func(ctx context.Context) error // the error is a status
	answers  map[string]answerer             // of methods that are not passed on; may be nil
	served   chan struct{}
}

func listenReadOnly(ctx context.Context, cfg Config, upstream *grpc.ClientConn) (*readonlyPort, error) {
	if len(cfg.ReadOnlyKey.Reveal()) < minKey {
		return nil, agentid.Invalidf("read_only_key", "must be %d bytes or longer", minKey)
	}
	addr, err := netip.ParseAddrPort(cfg.ReadOnlyAddr)
	if err != nil {
		return nil, agentid.Invalidf("read_only_addr", "want an IP address and a port, such as 127.0.0.1:50051")
	}
	if !addr.Addr().Unmap().IsLoopback() {
		return nil, agentid.Invalidf("read_only_addr", "must be a loopback address")
	}
	p := &readonlyPort{upstream: upstream, methods: readMethods, admit: preshared(cfg.ReadOnlyKey)}
	err = p.serve(ctx, addr.String(),
		grpc.MaxConcurrentStreams(readOnlyStreams),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: readOnlyIdle}),
	)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// serve listens and serves until close.
func (p *readonlyPort) serve(ctx context.Context, addr string, options ...grpc.ServerOption) error {
	var lc net.ListenConfig
	var err error
	if p.listener, err = lc.Listen(ctx, "tcp", addr); err != nil {
		return fmt.Errorf("engine: listen for readers: %w", err)
	}
	p.served = make(chan struct{})
	p.server = grpc.NewServer(append(options,
		grpc.ForceServerCodec(frameCodec{}),
		grpc.UnknownServiceHandler(p.pass),
		grpc.MaxRecvMsgSize(readOnlyMessage),
		grpc.ConnectionTimeout(readOnlyHandshake),
	)...)
	go func() {
		defer close(p.served)
		_ = p.server.Serve(p.listener) // ends when close stops the server
	}()
	return nil
}

func (p *readonlyPort) addr() string { return p.listener.Addr().String() }

func (p *readonlyPort) close() {
	forced := time.AfterFunc(readOnlyStopWithin, p.server.Stop)
	p.server.GracefulStop()
	forced.Stop()
	<-p.served
}

// pass authenticates, compares the method with the list, and relays the call.
func (p *readonlyPort) pass(_ any, in grpc.ServerStream) error {
	if err := p.admit(in.Context()); err != nil {
		return err
	}
	method, ok := grpc.MethodFromServerStream(in)
	if !ok || !p.methods[method] {
		return status.Error(codes.PermissionDenied, "this port only reads")
	}
	if answer, ok := p.answers[method]; ok {
		return answer.serve(in)
	}
	ctx, cancel := context.WithCancel(in.Context())
	defer cancel()
	out, err := p.upstream.NewStream(forward(ctx), &grpc.StreamDesc{ServerStreams: true}, method, grpc.ForceCodec(frameCodec{}))
	if err != nil {
		return fmt.Errorf("open the call: %w", err)
	}
	return relay(in, out)
}

// answerer answers a call without SpiceDB's server.
type answerer func(ctx context.Context, request []byte) ([]byte, error)

func (a answerer) serve(in grpc.ServerStream) error {
	var request frame
	if err := in.RecvMsg(&request); err != nil {
		return err
	}
	response, err := a(in.Context(), request.bytes)
	if err != nil {
		return status.Error(codes.Internal, "the graph gave no answer")
	}
	return in.SendMsg(&frame{bytes: response})
}

// relay passes on the one request that every read method takes, then all answers.
func relay(in grpc.ServerStream, out grpc.ClientStream) error {
	var request frame
	if err := in.RecvMsg(&request); err != nil {
		return err
	}
	if err := out.SendMsg(&request); err != nil && !isEOF(err) {
		return err
	}
	if err := out.CloseSend(); err != nil {
		return err
	}
	headers, err := out.Header()
	if err == nil {
		err = in.SendHeader(headers)
	}
	for err == nil {
		var answer frame
		if err = out.RecvMsg(&answer); err == nil {
			err = in.SendMsg(&answer)
		}
	}
	in.SetTrailer(out.Trailer())
	if isEOF(err) {
		return nil
	}
	return err
}

// preshared admits who shows the key.
func preshared(secret agentid.Secret) func(context.Context) error {
	want := sha256.Sum256([]byte(secret.Reveal()))
	return func(ctx context.Context) error {
		md, _ := metadata.FromIncomingContext(ctx)
		if values := md.Get("authorization"); len(values) == 1 {
			scheme, key, ok := strings.Cut(values[0], " ")
			given := sha256.Sum256([]byte(key))
			if ok && strings.EqualFold(scheme, "bearer") && subtle.ConstantTimeCompare(given[:], want[:]) == 1 {
				return nil
			}
		}
		return status.Error(codes.Unauthenticated, "a preshared key is required")
	}
}

// forward carries over the metadata that zed asks SpiceDB by, and nothing else.
func forward(ctx context.Context) context.Context {
	md, _ := metadata.FromIncomingContext(ctx)
	kept := metadata.MD{}
	for key, values := range md {
		if strings.HasPrefix(key, "io.spicedb.") {
			kept[key] = values
		}
	}
	return metadata.NewOutgoingContext(ctx, kept)
}

// frame is one message as it came over the wire.
type frame struct{ bytes []byte }

// frameCodec passes messages on without reading them.
type frameCodec struct{}

func (frameCodec) Marshal(v any) ([]byte, error) {
	f, ok := v.(*frame)
	if !ok {
		return nil, errors.New("engine: not a frame")
	}
	return f.bytes, nil
}

func (frameCodec) Unmarshal(data []byte, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return errors.New("engine: not a frame")
	}
	f.bytes = append([]byte(nil), data...)
	return nil
}

func (frameCodec) Name() string { return "proto" }

func isEOF(err error) bool { return errors.Is(err, io.EOF) }
