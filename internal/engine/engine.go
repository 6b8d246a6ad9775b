package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/authzed/spicedb/pkg/cmd/server"
	"github.com/authzed/spicedb/pkg/datastore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/embedded"
)

// Config of an engine. Datastore is required and stays the caller's to close, after the
// engine. ReadOnlyAddr and ReadOnlyKey go together.
type Config struct {
	Datastore    datastore.Datastore
	ReadOnlyAddr string         // "127.0.0.1:50051"; loopback only; empty: no port
	ReadOnlyKey  agentid.Secret // the preshared key of that port, 16 bytes or more
	Logger       *slog.Logger   // slog.Default() by default
}

// Engine is a running SpiceDB. It is safe for concurrent use.
type Engine struct {
	datastore datastore.Datastore
	conn      *grpc.ClientConn
	checker   *embedded.Checker
	readonly  *readonlyPort
	fleet     *readonlyPort
	stop      context.CancelFunc
	stopped   chan struct{} // closed when the server has come down; runErr is set then
	runErr    error
	answered  atomic.Pointer[time.Time] // when Answers last read the datastore
	closing   sync.Once
	closeErr  error
}

// Start runs SpiceDB over cfg.Datastore until Close. ctx bounds the start alone.
func Start(ctx context.Context, cfg Config) (*Engine, error) {
	if cfg.Datastore == nil {
		return nil, errors.New("engine: a Datastore is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	silence()
	checker, err := embedded.New(embedded.Config{Datastore: cfg.Datastore})
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	srv, err := newServer(running, cfg.Datastore)
	if err != nil {
		stop()
		return nil, errors.Join(fmt.Errorf("engine: configure SpiceDB: %w", err), checker.Close())
	}
	e := &Engine{datastore: cfg.Datastore, checker: checker, stop: stop, stopped: make(chan struct{})}
	go func() {
		defer close(e.stopped)
		e.runErr = srv.Run(running)
	}()
	if e.conn, err = connect(ctx, srv); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if cfg.ReadOnlyAddr != "" {
		if e.readonly, err = listenReadOnly(ctx, cfg, e.conn); err != nil {
			return nil, errors.Join(err, e.Close())
		}
		cfg.Logger.InfoContext(ctx, "graph readable on loopback", slog.String("address", e.readonly.addr()))
	}
	return e, nil
}

// connect opens the in-memory connection and waits until the server serves it: a server
// that is stopped before it began to serve ends with an error.
func connect(ctx context.Context, srv server.RunnableServer) (*grpc.ClientConn, error) {
	conn, err := srv.NewClient(grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("engine: connect in memory: %w", err)
	}
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("engine: reach the server in memory: %w", err), conn.Close())
	}
	return conn, nil
}

// Permissions is SpiceDB's permissions service, in memory, with full access.
func (e *Engine) Permissions() v1.PermissionsServiceClient {
	return v1.NewPermissionsServiceClient(e.conn)
}

// Schema is SpiceDB's schema service, in memory, with full access.
func (e *Engine) Schema() v1.SchemaServiceClient { return v1.NewSchemaServiceClient(e.conn) }

// Watch is SpiceDB's watch service, in memory.
func (e *Engine) Watch() v1.WatchServiceClient { return v1.NewWatchServiceClient(e.conn) }

// Checker asks the graph in this process, at a pinned revision. It lives as long as the
// engine.
func (e *Engine) Checker() policy.Checker { return e.checker }

// ReadOnlyAddr is the address that the read-only port listens on; "" when there is none.
func (e *Engine) ReadOnlyAddr() string {
	if e.readonly == nil {
		return ""
	}
	return e.readonly.addr()
}

// Answers is Ready at the price of a look: that the server stopped or the datastore was
// closed shows at once; the datastore is read once a second at most, for all callers.
func (e *Engine) Answers(ctx context.Context) error {
	select {
	case <-e.stopped:
		return e.Ready(ctx)
	default:
	}
	if _, err := e.datastore.HeadRevision(ctx); err != nil {
		return unavailable(err)
	}
	const fresh = time.Second
	if last := e.answered.Load(); last != nil && time.Since(*last) < fresh {
		return nil
	}
	now := time.Now()
	if err := e.Ready(ctx); err != nil {
		return err
	}
	e.answered.Store(&now)
	return nil
}

// Ready is nil when the server runs and its datastore can answer; else KindUnavailable.
func (e *Engine) Ready(ctx context.Context) error {
	select {
	case <-e.stopped:
		return unavailable(errors.Join(errors.New("the server has stopped"), e.runErr))
	default:
	}
	state, err := e.datastore.ReadyState(ctx)
	if err != nil {
		return unavailable(err)
	}
	if !state.IsReady {
		return unavailable(errors.New(state.Message))
	}
	return nil
}

// Close stops the read-only port, lets running calls finish for some seconds, and stops
// the server. Calls after it fail with an error that denies. It can be called again.
func (e *Engine) Close() error {
	e.closing.Do(func() {
		for _, port := range []*readonlyPort{e.readonly, e.fleet} {
			if port != nil {
				port.close()
			}
		}
		var errs []error
		if e.conn != nil {
			errs = append(errs, e.conn.Close())
		}
		e.stop()
		<-e.stopped
		e.closeErr = errors.Join(append(errs, e.runErr, e.checker.Close())...)
	})
	return e.closeErr
}

func unavailable(cause error) error { return agentid.Unavailable("graph_unavailable", cause) }
