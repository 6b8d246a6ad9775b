// Package fleet is wire.Fleet in one process: what gateways learn from the broker,
// answered from memory and read again when something changes.
//
// It owns the view, not its content: connectors and the floor are the ledger's, keys
// are the signer's. Whoever changes them calls Reload, before answering the request
// that made the change.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/discovery"
)

// Source is where the view comes from. An error means that the ledger cannot be read.
type Source interface {
	// Connectors are the enabled connectors of all tenants with their credentials.
	Connectors(ctx context.Context) ([]wire.Connector, error)
	// Floor is the newest revocation that was settled.
	Floor(ctx context.Context) (agentid.Zookie, agentid.Epoch, string, error)
}

// Keys are the signer's public keys. KindUnauthenticated: no such key.
type Keys interface {
	Key(kid string) (jose.JSONWebKey, error)
}

// Config configures New. Source, Keys and Issuers are required.
type Config struct {
	Source  Source
	Keys    Keys
	Issuers discovery.Issuers
	// Changed is called when a reload finds other connectors than before: gateways are to
	// read them again. It must be quick. It may be nil.
	Changed func()
	Logger  *slog.Logger
}

// view is immutable.
type view struct {
	connectors []wire.Connector

	floor       agentid.Zookie
	epoch       agentid.Epoch
	incarnation string
}

// Fleet implements wire.Fleet.
type Fleet struct {
	cfg  Config
	mu   sync.Mutex // one reload at a time, so that an older view never replaces a newer one
	view atomic.Pointer[view]
}

var _ wire.Fleet = (*Fleet)(nil)

// New loads the view.
func New(ctx context.Context, cfg Config) (*Fleet, error) {
	if cfg.Source == nil || cfg.Keys == nil || cfg.Issuers.Root() == "" {
		return nil, errors.New("fleet: source, keys and issuers are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Fleet{cfg: cfg}
	return f, f.Reload(ctx)
}

// Reload reads the view again. On an error the view that was there stays.
func (f *Fleet) Reload(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	connectors, err := f.cfg.Source.Connectors(ctx)
	if err != nil {
		return fmt.Errorf("load connectors: %w", err)
	}
	floor, epoch, incarnation, err := f.cfg.Source.Floor(ctx)
	if err != nil {
		return fmt.Errorf("load the revocation floor: %w", err)
	}
	if old := f.view.Load(); old != nil && old.incarnation == incarnation && old.epoch > epoch {
		return fmt.Errorf("the revocation floor went back from epoch %d to %d", old.epoch, epoch)
	}
	old := f.view.Swap(&view{connectors: connectors, floor: floor, epoch: epoch, incarnation: incarnation})
	if f.cfg.Changed != nil && old != nil && !slices.EqualFunc(old.connectors, connectors, same) {
		f.cfg.Changed()
	}
	return nil
}

// same compares by version, which grows with every change of a setting or a credential.
func same(a, b wire.Connector) bool { return a.Ref == b.Ref && a.Version == b.Version }

// Run reloads at every interval until ctx ends, for changes that another process made.
func (f *Fleet) Run(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := f.Reload(ctx); err != nil && ctx.Err() == nil {
				f.cfg.Logger.ErrorContext(ctx, "the fleet view could not be read again", "error", err)
			}
		}
	}
}

// Connectors implements wire.Fleet.
func (f *Fleet) Connectors(context.Context) ([]wire.Connector, error) {
	return f.view.Load().connectors, nil
}

// Floor implements wire.Fleet.
func (f *Fleet) Floor(context.Context) (agentid.Zookie, agentid.Epoch, string, error) {
	v := f.view.Load()
	return v.floor, v.epoch, v.incarnation, nil
}

// Key implements wire.Fleet. All issuers of this broker sign with one key set; an
// issuer that is not this broker's has none.
func (f *Fleet) Key(_ context.Context, issuer, kid string) (jose.JSONWebKey, error) {
	if _, ok := f.cfg.Issuers.Tenant(issuer); !ok {
		return jose.JSONWebKey{}, agentid.Errorf(agentid.KindUnauthenticated, "token_issuer", "the issuer is not known here")
	}
	return f.cfg.Keys.Key(kid)
}

// Connector finds a connector by its ref: KindNotFound "connector_unknown".
func (f *Fleet) Connector(ref agentid.Ref) (wire.Connector, error) {
	for _, c := range f.view.Load().connectors {
		if c.Ref == ref {
			return c, nil
		}
	}
	return wire.Connector{}, agentid.Errorf(agentid.KindNotFound, "connector_unknown", "no such connector")
}
