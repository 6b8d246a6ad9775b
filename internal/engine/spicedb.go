package engine

import (
	"context"
	"sync"

	"github.com/authzed/spicedb/pkg/cmd/server"
	"github.com/authzed/spicedb/pkg/cmd/util"
	"github.com/authzed/spicedb/pkg/datalayer"
	"github.com/authzed/spicedb/pkg/datastore"
	"github.com/rs/zerolog"
	zerologlog "github.com/rs/zerolog/log"
)

// Limits of SpiceDB's server.
const (
	// MaxUpdates bounds one write. The widest of ours is a spawn: an edge per ancestor
	// and a handful besides.
	MaxUpdates = 1000
	// MaxPreconditions bounds one write; each costs a query inside the transaction.
	MaxPreconditions = 100
	// MaxCaveatContext is the size of a request's caveat context in bytes.
	MaxCaveatContext = 4096

	dispatchDepth    = 50 // the closed lineage needs three
	dispatchLimit    = 16 // goroutines per check
	schemaCacheBytes = "16MiB"
)

// SchemaMode is how the schema is kept: whole, under the hash of its text, so that the
// parsed schema and compiled caveats can be cached by that hash. Whoever reads the
// datastore beside the engine must use the same.
const SchemaMode = datalayer.SchemaModeReadNewWriteNew

// silence turns off the one logger of SpiceDB's that is on by default: zerolog's global,
// which its consistency middleware writes whole tokens to. Its other logger is off
// unless somebody sets it.
var silence = sync.OnceFunc(func() { zerologlog.Logger = zerolog.Nop() })

// newServer configures SpiceDB: one in-memory listener and nothing else that listens,
// reports or meters.
func newServer(ctx context.Context, ds datastore.Datastore) (server.RunnableServer, error) {
	cfg := server.NewConfigWithOptionsAndDefaults()
	cfg.Datastore = ds
	cfg.ExperimentalSchemaMode = SchemaMode.String()

	cfg.GRPCServer = util.GRPCServerConfig{Network: util.BufferedNetwork, Enabled: true}
	// The listener is in this process's memory: whoever can reach it is this process.
	cfg.GRPCAuthFunc = func(ctx context.Context) (context.Context, error) { return ctx, nil }
	cfg.HTTPGateway.HTTPEnabled = false
	cfg.MetricsAPI.HTTPEnabled = false
	cfg.DispatchServer.Enabled = false

	cfg.SilentlyDisableTelemetry = true
	cfg.TelemetryEndpoint = ""
	cfg.OTel.Provider = "none"
	cfg.DispatchClientMetricsEnabled = false
	cfg.DispatchClusterMetricsEnabled = false
	cfg.DisableGRPCLatencyHistogram = true
	cfg.EnableMemoryProtectionMiddleware = false
	cfg.DisableVersionResponse = false // zed asks for it

	off := server.CacheConfig{Enabled: false}
	cfg.NamespaceCacheConfig = off // of the older schema mode
	cfg.DispatchCacheConfig = off  // see the package comment
	cfg.ClusterDispatchCacheConfig = off
	cfg.LR3ResourceChunkCacheConfig = off
	cfg.StoredSchemaCacheConfig = server.CacheConfig{Name: "stored_schema", Enabled: true, MaxCost: schemaCacheBytes}

	cfg.DispatchMaxDepth = dispatchDepth
	cfg.GlobalDispatchConcurrencyLimit = dispatchLimit
	cfg.MaximumUpdatesPerWrite = MaxUpdates
	cfg.MaximumPreconditionCount = MaxPreconditions
	cfg.MaxCaveatContextSize = MaxCaveatContext
	cfg.MismatchZedTokenBehavior = "error" // a foreign token is refused, not forgiven
	return cfg.Complete(ctx)
}
