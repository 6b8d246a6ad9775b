// Package process is the running program: "agentid serve", all rooms in one process over
// one data folder; "agentid broker", the same without a gateway; and "agentid gateway",
// which has no data.
//
// It owns the wiring, the order of starting and stopping, and the lock that keeps a
// second process off the data. It holds no logic of a room.
package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/connectors"
	"github.com/agentid-dev/agentid/gateway"
	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/internal/boottime"
	"github.com/agentid-dev/agentid/internal/config"
	"github.com/agentid-dev/agentid/internal/engine"
	"github.com/agentid-dev/agentid/internal/fleetcert"
	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/internal/observe"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/seal"
	"github.com/agentid-dev/agentid/schema"
	"github.com/agentid-dev/agentid/server"
	"github.com/agentid-dev/agentid/server/admin"
	"github.com/agentid-dev/agentid/server/fleet/hub"
	"github.com/agentid-dev/agentid/server/internalapi"
	"github.com/agentid-dev/agentid/server/ledger"
	"github.com/agentid-dev/agentid/server/restore"
)

const (
	graphFile  = "graph.db"
	ledgerFile = "ledger.db"
	replayEach = 10 * time.Second
)

// Options are what the configuration file does not say.
type Options struct {
	Logger  *slog.Logger
	Version string
	Now     func() time.Time // nil: time.Now
	// Listen opens a TCP listener; nil: net.Listen. A test may hand in its own.
	Listen func(network, addr string) (net.Listener, error)
	// Apart: the gateways run in processes of their own; this one is the broker alone.
	Apart bool
	// Restored: the operator says that the data was put in place from a backup.
	Restored bool
}

// Process is a running AgentID.
type Process struct {
	cfg  config.Config
	opts Options

	lock     *os.File
	store    *graphstore.Store
	engine   *engine.Engine
	ledger   *ledger.Ledger
	view     *freshness.View
	decider  *policy.Decider
	hub      atomic.Pointer[hub.Hub] // set once the ledger is open; the graph is written before
	mark     *restore.Mark
	behind   atomic.Bool // a gateway's evidence of a restore is being dealt with
	broker   *server.Broker
	admin    *admin.Service
	gateway  *gateway.Gateway      // nil in a broker alone
	sample   func(context.Context) // rechecks what is remembered
	keeper   *fleetcert.Keeper
	internal *internalapi.API // nil without gateways apart
	registry *prometheus.Registry

	front    *front
	stopWork context.CancelFunc
	work     sync.WaitGroup
	stopOtel func(context.Context) error
	draining chan struct{}
}

// Start brings everything up and returns when requests are served. On an error what had
// been started is stopped again.
func Start(ctx context.Context, cfg config.Config, opts Options) (*Process, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Listen == nil {
		opts.Listen = net.Listen
	}
	p := &Process{cfg: cfg, opts: opts, draining: make(chan struct{})}
	if opts.Apart && !cfg.Fleet.Enabled() {
		return nil, errors.New("fleet.listen: is required for a broker alone: gateways reach it there")
	}
	steps := []func(context.Context) error{p.openData, p.openGraph, p.openLedger, p.checkRestored, p.makeHub, p.makeMemory, p.makeBroker, p.makeAdmin, p.makeFleet}
	if !opts.Apart {
		steps = append(steps, p.makeGateway)
	}
	for _, step := range append(steps, p.serve) {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, p.Close(context.WithoutCancel(ctx)))
		}
	}
	return p, nil
}

// openData makes the data folder and takes its lock.
func (p *Process) openData(ctx context.Context) error {
	const ownerOnly = 0o700
	if err := os.MkdirAll(p.cfg.DataDir, ownerOnly); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	var err error
	if p.lock, err = lock(filepath.Join(p.cfg.DataDir, "agentid.lock")); err != nil {
		return err
	}
	if p.registry, err = observe.NewRegistry(p.opts.Version); err != nil {
		return err //nolint:wrapcheck // says what failed
	}
	p.stopOtel, err = observe.Tracing(ctx, p.cfg.Telemetry.OTLPEndpoint, p.opts.Version)
	return err //nolint:wrapcheck // says what failed
}

func (p *Process) openGraph(ctx context.Context) error {
	var err error
	if p.store, err = graphstore.Open(ctx, graphstore.Config{
		Path: filepath.Join(p.cfg.DataDir, graphFile), GCWindow: p.cfg.Graph.GCWindow, GCInterval: p.cfg.Graph.GCInterval,
		OnCommit: p.committed, Logger: p.component("graph"), Now: p.opts.Now,
	}); err != nil {
		return fmt.Errorf("graph: %w", err)
	}
	start := engine.Config{Datastore: p.store, ReadOnlyAddr: p.cfg.ReadOnly.Listen, Logger: p.component("spicedb")}
	if start.ReadOnlyAddr != "" {
		if start.ReadOnlyKey, err = p.cfg.ReadOnly.Key.Read(); err != nil {
			return fmt.Errorf("spicedb_readonly.key: %w", err)
		}
	}
	if p.engine, err = engine.Start(ctx, start); err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	if _, _, err := schema.Apply(ctx, p.engine.Schema()); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	return nil
}

// committed tells the gateways of every write to the graph, by whatever way it came.
func (p *Process) committed(c graphstore.Commit) {
	h := p.hub.Load()
	if h == nil {
		return
	}
	zookie, err := p.store.Zookie(c)
	event := hub.Changed(c, zookie)
	if err != nil { // the store is being closed
		p.component("graph").Error("a commit has no zookie", observe.KeyError, err.Error())
		event.All = true
	}
	h.Publish(event)
}

// makeHub begins with what the ledger knows and the graph as it is.
func (p *Process) makeHub(ctx context.Context) error {
	h, err := server.NewHub(ctx, p.ledger, hub.Config{
		Lease: p.cfg.Fleet.Lease, Drift: p.cfg.Fleet.Drift, Remote: p.cfg.Fleet.Enabled(), Ahead: p.ahead,
		Now: p.opts.Now, Metrics: p.registry, Logger: p.component("fleet"),
	})
	if err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	p.hub.Store(h)
	head := p.store.Head()
	head.Truncated = true // what was written before the hub listened
	p.committed(head)
	return nil
}

func (p *Process) openLedger(ctx context.Context) error {
	key, err := p.sealKey(ctx)
	if err != nil {
		return err
	}
	p.ledger, err = ledger.Open(ctx, ledger.Config{
		Path: filepath.Join(p.cfg.DataDir, ledgerFile), SealKey: key, Now: p.opts.Now, BootTime: boottime.Now, Logger: p.component("ledger"),
	})
	return err //nolint:wrapcheck // begins with "ledger"
}

// sealKey reads the configured key, which must be there, or makes the default one at
// the first start.
func (p *Process) sealKey(ctx context.Context) (*seal.Key, error) {
	if !p.cfg.OwnSealKey() {
		return seal.Resolve(p.cfg.SealKey.String()) //nolint:wrapcheck // begins with "seal"
	}
	path, _ := p.cfg.SealKey.Path()
	key, created, err := seal.FileOrNew(path)
	if created {
		p.opts.Logger.WarnContext(ctx, "a sealing key was made: back it up apart from the data", observe.KeyFile, path)
	}
	return key, err //nolint:wrapcheck // begins with "seal"
}

func (p *Process) makeBroker(ctx context.Context) error {
	var err error
	p.broker, err = server.New(ctx, server.Config{
		BaseURL: p.cfg.Broker.URL, Ledger: p.ledger, Audit: p.ledger, Permissions: p.engine.Permissions(), Decider: p.decider,
		Hub: p.hub.Load(), Witness: p.mark, Metrics: p.registry, Kinds: connectors.Builtin(), PolicyVersion: schema.Version, TokenLifetime: p.cfg.Tokens.Lifetime,
		TokensPerMin: p.cfg.Rates.MintPerMinute, TokensBurst: p.cfg.Rates.MintBurst,
		Checks: p.checks(),
		Logger: p.component("broker"), Now: p.opts.Now,
	})
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	return p.signingKey(ctx)
}

func (p *Process) checks() []server.Check {
	checks := []server.Check{{Name: "ledger", Ask: p.ledger.Ping}, {Name: "graph", Ask: p.engine.Ready}}
	if !p.opts.Apart {
		checks = append(checks, server.Check{Name: "gateway", Ask: func(ctx context.Context) error { return p.gateway.Ready(ctx) }})
	}
	return checks
}

// signingKey rotates to the configured algorithm. On a ledger that never signed, at
// once; otherwise a key is staged, and activated once verifiers can know it.
func (p *Process) signingKey(ctx context.Context) error {
	keys := p.broker.Signer()
	fresh := true
	for _, k := range keys.Keys() {
		if k.Algorithm == p.cfg.Tokens.Algorithm {
			return nil
		}
		fresh = fresh && p.opts.Now().Sub(k.StagedAt) < time.Minute
	}
	staged, err := keys.Stage(ctx, p.cfg.Tokens.Algorithm)
	if err != nil {
		return fmt.Errorf("stage a signing key: %w", err)
	}
	if !fresh {
		p.opts.Logger.WarnContext(ctx, "a signing key is staged for the configured algorithm; activate it with agentid keys", "kid", staged.ID)
		return nil
	}
	if err := keys.ActivateNow(ctx, staged.ID); err != nil {
		return fmt.Errorf("activate a signing key: %w", err)
	}
	return nil
}

func (p *Process) makeAdmin(ctx context.Context) error {
	var err error
	p.admin, err = admin.New(admin.Config{
		Ledger: p.ledger, Graph: p.engine.Permissions(), Schema: p.engine.Schema(), Signer: p.broker.Signer(),
		Revoker: p.broker.Revoker(), Fleet: p.broker.Fleet(), Hub: p.hub.Load(), Witness: p.mark, Agents: p.broker.Agents(), Workloads: p.broker.Workloads(),
		People: p.broker.Principals(), Kinds: connectors.Builtin(), Refusals: p.broker.Refusals(),
		Draining: p.draining, Logger: p.component("admin"), Now: p.opts.Now,
	})
	if err != nil {
		return err //nolint:wrapcheck // begins with "admin"
	}
	if err := p.bootstrap(ctx); err != nil {
		return err
	}
	if err := p.endRestore(ctx); err != nil {
		return err
	}
	if err := p.admin.Replay(ctx); err != nil {
		return fmt.Errorf("replay what a stop left open: %w", err)
	}
	return nil
}

// makeGateway makes the gateway of this process.
func (p *Process) makeGateway(context.Context) error {
	var err error
	p.gateway, err = gateway.New(gateway.Config{
		Fleet: &rated{Fleet: p.broker.Fleet(), rates: p.cfg.Rates}, Effects: p.ledger, Audit: p.ledger, Decider: p.decider, View: p.view,
		Kinds: connectors.Builtin(), Issuer: p.cfg.Broker.URL,
		TenantPerMinute: p.cfg.Rates.TenantPerMinute, TenantBurst: p.cfg.Rates.TenantBurst,
		Now: p.opts.Now, Logger: p.component("gateway"), Metrics: p.registry,
	})
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	return nil
}

// component is the logger of one part.
func (p *Process) component(name string) *slog.Logger {
	return p.opts.Logger.With(observe.KeyComponent, name)
}

// replay completes, at intervals, what an outage of the graph left open.
func (p *Process) replay(ctx context.Context) {
	ticker := time.NewTicker(replayEach)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := p.admin.Replay(ctx); err != nil && ctx.Err() == nil {
				p.opts.Logger.ErrorContext(ctx, "an open freeze could not be completed", observe.KeyError, err.Error(), observe.KeyReason, agentid.ReasonOf(err))
			}
		}
	}
}
