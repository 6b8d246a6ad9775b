package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/authzed/spicedb/pkg/cmd/server"
	"google.golang.org/grpc"
)

// direct is the way around the transport: SpiceDB's own handler of CheckBulkPermissions
// with the middleware that gives it datastore, revision and validation, but without
// gRPC's framing, encoding and goroutines. gRPC hands every interceptor the rest of the
// chain as a function that holds no state of a call; the one that direct puts in front
// of that middleware keeps the function from the engine's own first call.
type direct struct {
	handler grpc.UnaryHandler

	mu     sync.RWMutex // held for reading by every call, for writing by close
	closed bool
}

var errClosed = errors.New("engine: closed")

func newDirect() *direct { return &direct{} }

// modification puts the interceptor behind what only the transport needs (request ids,
// logs, authentication) and before all that the answer needs.
func (d *direct) modification() server.MiddlewareModification[grpc.UnaryServerInterceptor] {
	return server.MiddlewareModification[grpc.UnaryServerInterceptor]{
		DependencyMiddlewareName: server.DefaultInternalMiddlewareDispatch,
		Operation:                server.OperationPrepend,
		Middlewares: []server.ReferenceableMiddleware[grpc.UnaryServerInterceptor]{
			server.NewUnaryMiddleware().WithName("agentid-direct").WithInterceptor(d.intercept).Done(),
		},
	}
}

// learning marks the call by which learn reaches intercept. It is made before anyone
// else has the connection, so handler is written once, before it is read.
const learning = "agentid-learn"

func (d *direct) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	bulk, ok := req.(*v1.CheckBulkPermissionsRequest)
	if ok && d.handler == nil && len(bulk.GetItems()) == 1 && bulk.GetItems()[0].GetPermission() == learning {
		d.handler = next
		return &v1.CheckBulkPermissionsResponse{}, nil
	}
	return next(ctx, req)
}

func (d *direct) learn(ctx context.Context, client v1.PermissionsServiceClient) error {
	_, err := client.CheckBulkPermissions(ctx, &v1.CheckBulkPermissionsRequest{
		Items: []*v1.CheckBulkPermissionsRequestItem{{Permission: learning}},
	}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("engine: reach the server in memory: %w", err)
	}
	if d.handler == nil {
		return errors.New("engine: SpiceDB's middleware did not come by")
	}
	return nil
}

// CheckBulkPermissions is the method of v1.PermissionsServiceClient, without transport.
func (d *direct) CheckBulkPermissions(ctx context.Context, req *v1.CheckBulkPermissionsRequest) (*v1.CheckBulkPermissionsResponse, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return nil, errClosed
	}
	resp, err := d.handler(ctx, req)
	if err != nil {
		return nil, err
	}
	bulk, ok := resp.(*v1.CheckBulkPermissionsResponse)
	if !ok {
		return nil, fmt.Errorf("engine: SpiceDB answered with %T", resp)
	}
	return bulk, nil
}

// close waits for the calls that run and refuses the next.
func (d *direct) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}
