package principals

import (
	"context"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation/oidc"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/server/ledger"
)

// retryEvery is the least time between two attempts to reach a provider that is down.
const retryEvery = 5 * time.Second

// Providers opens identity providers as they are set, and remembers them: discovery is
// done once for each version of a setting, and by one of those who wait.
type Providers struct {
	ledger *ledger.Ledger
	now    func() time.Time
	flight singleflight.Group
	mu     sync.Mutex
	open   map[string]opened // by tenant/name
}

type opened struct {
	version  string
	provider *oidc.Provider
	failed   error
	at       time.Time
}

// NewProviders takes the ledger, which holds the secrets; now is time.Now when nil.
func NewProviders(l *ledger.Ledger, now func() time.Time) *Providers {
	if now == nil {
		now = time.Now
	}
	return &Providers{ledger: l, now: now, open: map[string]opened{}}
}

// Open is a provider that is ready to be used. KindUnavailable with the time to try again:
// it does not answer, or not as it should; what is wrong with it is in the cause.
func (p *Providers) Open(ctx context.Context, set ledger.IdentityProvider) (*oidc.Provider, error) {
	secret, secretVersion, err := p.ledger.ProviderSecret(ctx, set.Tenant, set.Name)
	if err != nil {
		return nil, err
	}
	key := set.Tenant + "/" + set.Name
	version := strconv.FormatInt(set.Version, 10) + "." + strconv.FormatInt(secretVersion, 10) + "." + strconv.FormatInt(set.Created.UnixMicro(), 10)
	if o, ok := p.remembered(key, version); ok {
		return o.provider, o.failed
	}
	found, err, _ := p.flight.Do(key+" "+version, func() (any, error) {
		if o, ok := p.remembered(key, version); ok {
			return o.provider, o.failed
		}
		provider, err := oidc.New(context.WithoutCancel(ctx), oidc.Config{
			Issuer: set.Issuer, ClientID: set.ClientID, Secret: secret, Audiences: set.Audiences, Scopes: set.Scopes,
			SubjectClaim: set.Claims.Subject, GroupsClaim: set.Claims.Groups, NameClaim: set.Claims.Name,
			MaxStale: set.MaxStale, AllowPrivate: set.AllowPrivate, Now: p.now,
		})
		if err != nil {
			err = httperr.WithRetryAfter(agentid.Unavailable("identity_provider_unavailable", err), retryEvery)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open[key] = opened{version: version, provider: provider, failed: err, at: p.now()}
		return provider, err
	})
	if err != nil {
		return nil, err
	}
	return found.(*oidc.Provider), nil //nolint:forcetypeassert // the function above returns nothing else
}

// remembered is what is known of this version of a setting; a failure only for a while.
func (p *Providers) remembered(key, version string) (opened, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, ok := p.open[key]
	if !ok || o.version != version {
		return opened{}, false
	}
	since := p.now().Sub(o.at)
	return o, o.failed == nil || since >= 0 && since < retryEvery
}
