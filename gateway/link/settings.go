package link

import (
	"context"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// settingsWithin bounds one reading of the settings, and unknownEach how often a key that
// is not known has them read again.
const (
	settingsWithin = 5 * time.Second
	unknownEach    = time.Second
)

// settings is immutable.
type settings struct {
	issuer     string
	keys       jose.JSONWebKeySet
	connectors []wire.Connector
	read       time.Time
}

// reload reads the settings again. On an error those that were there stay.
func (l *Link) reload() error { return l.load(context.Background()) }

func (l *Link) load(ctx context.Context) error {
	l.loading.Lock()
	defer l.loading.Unlock()
	var in api.Settings
	if err := l.call(ctx, settingsWithin, api.PathSettings, nil, &in); err != nil {
		return err
	}
	next := &settings{issuer: in.Issuer, keys: in.Keys, read: l.cfg.Now()}
	for _, c := range in.Connectors {
		opened, err := api.Unseal(c, l.cfg.Keeper.PrivateKey)
		if err != nil {
			return agentid.Unavailable("settings_unreadable", err)
		}
		next.connectors = append(next.connectors, opened)
	}
	if old := l.settings.Load(); old != nil && old.issuer != next.issuer {
		return agentid.Unavailable("issuer_changed", nil) // tokens are checked against the first: start again
	}
	l.settings.Store(next)
	return nil
}

// Connectors implements wire.Fleet.
func (l *Link) Connectors(context.Context) ([]wire.Connector, error) {
	s := l.settings.Load()
	if s == nil {
		return nil, noSettings()
	}
	return s.connectors, nil
}

// Key implements wire.Fleet. A key that is not known has the settings read again, once in
// a while: the event that tells of it may be on its way.
func (l *Link) Key(ctx context.Context, issuer, kid string) (jose.JSONWebKey, error) {
	s := l.settings.Load()
	if s == nil {
		return jose.JSONWebKey{}, noSettings()
	}
	if tenant, ok := strings.CutPrefix(issuer, s.issuer); !ok || tenant != "" && !isTenant(tenant) {
		return jose.JSONWebKey{}, agentid.Errorf(agentid.KindUnauthenticated, "token_issuer", "the issuer is not known here")
	}
	if found := s.keys.Key(kid); len(found) == 1 {
		return found[0], nil
	}
	if l.cfg.Now().Sub(s.read) >= unknownEach {
		if err := l.load(ctx); err != nil {
			return jose.JSONWebKey{}, err
		}
		if found := l.settings.Load().keys.Key(kid); len(found) == 1 {
			return found[0], nil
		}
	}
	return jose.JSONWebKey{}, agentid.Errorf(agentid.KindUnauthenticated, "token_key", "the token's key is not published")
}

func isTenant(path string) bool {
	name, ok := strings.CutPrefix(path, "/")
	_, err := agentid.TenantRef(name)
	return ok && err == nil
}

// Floor implements wire.Fleet, from the View.
func (l *Link) Floor(context.Context) (agentid.Zookie, agentid.Epoch, string, error) {
	f, ok := l.view.Floor()
	if !ok {
		return "", 0, "", noSettings()
	}
	return f.Zookie, f.Epoch, f.Incarnation, nil
}

func noSettings() error { return agentid.Unavailable("broker_unreachable", nil) }
