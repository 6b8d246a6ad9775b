package link

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/internal/boottime"
	"github.com/agentid-dev/agentid/internal/fleetcert"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// Config configures New. Broker, Cluster and Keeper are required.
type Config struct {
	Broker   string            // https://host:port of the internal API
	Cluster  string            // the cluster that this gateway is of
	Keeper   *fleetcert.Keeper // its certificate
	BootTime func() time.Duration
	Now      func() time.Time
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
}

// Link implements wire.Fleet, wire.Effects and wire.Audit over the internal API. It is
// safe for concurrent use.
type Link struct {
	cfg     Config
	http    *http.Client
	view    *freshness.View
	metrics *metrics
	audit   *batcher[*entry] // of records that need not be on disk at once
	durable *batcher[*entry]
	effects *batcher[*effect]

	settings    atomic.Pointer[settings]
	incarnation atomic.Pointer[string]
	refused     atomic.Pointer[refusal]
	loading     sync.Mutex
	first       chan struct{} // closed when settings and state are there for the first time
	begun       sync.Once
}

var (
	_ wire.Fleet   = (*Link)(nil)
	_ wire.Effects = (*Link)(nil)
	_ wire.Audit   = (*Link)(nil)
)

// refusal is what the broker, or its certificate, holds against this gateway.
type refusal struct{ err error }

// New makes a Link with its View. Nothing is sent before Run.
func New(cfg Config) (*Link, error) {
	u, err := url.Parse(cfg.Broker)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil:
		return nil, agentid.Invalidf("broker", "want https://host:port")
	case cfg.Keeper == nil, cfg.Cluster == "":
		return nil, errors.New("link: a certificate and a cluster are required")
	}
	if cfg.BootTime == nil {
		cfg.BootTime = boottime.Now
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Link{cfg: cfg, http: newClient(cfg.Keeper), first: make(chan struct{})}
	l.view = freshness.New(freshness.Config{Now: cfg.Now, BootTime: cfg.BootTime, Settings: l.reload})
	if l.metrics, err = newMetrics(cfg.Metrics, l); err != nil {
		return nil, err
	}
	l.audit = newBatcher(relaxedUnderway, api.MaxBatch, l.post)
	l.durable = newBatcher(durableUnderway, api.MaxBatch, l.post)
	l.effects = newBatcher(effectsUnderway, api.MaxCalls, l.exchange)
	return l, nil
}

// View is what this gateway knows of what was taken away.
func (l *Link) View() *freshness.View { return l.view }

// Begun is closed when settings and state have come for the first time.
func (l *Link) Begun() <-chan struct{} { return l.first }

// Issuer is the broker's base URL; "" before Begun.
func (l *Link) Issuer() string {
	if s := l.settings.Load(); s != nil {
		return s.issuer
	}
	return ""
}

// Incarnation is the ledger's life that calls belong to; "" before Begun.
func (l *Link) Incarnation() string {
	if i := l.incarnation.Load(); i != nil {
		return *i
	}
	return ""
}

// Refused is why the broker does not take this gateway, in words that say what to do:
// another release, cluster or certificate is needed. Nil while it does, or cannot be
// reached.
func (l *Link) Refused() error {
	if r := l.refused.Load(); r != nil {
		return r.err
	}
	return nil
}

// Ready is nil when the gateway has settings and a lease. KindUnavailable: it has not;
// what is refused by the broker says so.
func (l *Link) Ready(context.Context) error {
	switch {
	case l.Refused() != nil:
		return agentid.Unavailable("broker_refuses", l.Refused())
	case l.settings.Load() == nil:
		return agentid.Unavailable("broker_unreachable", errors.New("no settings yet"))
	case !l.view.Warm():
		return agentid.Unavailable("broker_unreachable", errors.New("no lease"))
	}
	return nil
}

// note keeps what a failure says about this gateway's standing with the broker.
func (l *Link) note(err error) {
	if err == nil {
		l.refused.Store(nil)
		return
	}
	if refuses(err) {
		l.refused.Store(&refusal{err})
	}
}

// Close ends what is on its way, and drops idle connections.
func (l *Link) Close() {
	l.audit.close()
	l.durable.close()
	l.effects.close()
	l.http.CloseIdleConnections()
}
