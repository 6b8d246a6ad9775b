package agentproxy

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/client"
)

const (
	// aheadDivisor: a token is renewed when less than a fifth of its life is left.
	aheadDivisor = 5
	mintTimeout  = 30 * time.Second
)

// minter is the part of client.Agent that the proxy needs.
type minter interface {
	// Mint gets a fresh token. An error means there is none: the request is refused.
	Mint(ctx context.Context, req client.TokenRequest) (client.Token, error)
	// Proof signs a DPoP proof. An error means the request cannot be sent.
	Proof(method, target string, token agentid.Secret, nonce string) (string, error)
}

// tokens keeps one token fresh.
type tokens struct {
	mint   minter
	req    client.TokenRequest
	now    func() time.Time
	flight singleflight.Group

	mu      sync.Mutex
	current client.Token
	renewAt time.Time
}

// get gives the token at hand, or mints one. Callers that arrive together share one
// mint, and one that leaves does not end it for the others.
func (t *tokens) get(ctx context.Context) (client.Token, error) {
	t.mu.Lock()
	current, renewAt := t.current, t.renewAt
	t.mu.Unlock()
	now := t.now()
	if !current.Access.IsZero() && now.Before(renewAt) {
		return current, nil
	}
	done := t.flight.DoChan("mint", func() (any, error) { return t.renew(ctx) })
	select {
	case <-ctx.Done():
		return client.Token{}, ctx.Err() //nolint:wrapcheck // the peer left
	case r := <-done:
		if r.Err == nil {
			return r.Val.(client.Token), nil //nolint:forcetypeassert // renew gives no other
		}
		if !current.Access.IsZero() && agentid.KindOf(r.Err) == agentid.KindUnavailable && now.Before(current.Expires) {
			return current, nil // the broker is away, and the token still good: the gateway decides
		}
		return client.Token{}, r.Err //nolint:wrapcheck // an agentid.Error or a Refusal
	}
}

func (t *tokens) renew(ctx context.Context) (client.Token, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mintTimeout)
	defer cancel()
	fresh, err := t.mint.Mint(ctx, t.req)
	if err != nil {
		return client.Token{}, err //nolint:wrapcheck // an agentid.Error or a Refusal
	}
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current = fresh
	t.renewAt = fresh.Expires.Add(-fresh.Expires.Sub(now) / aheadDivisor)
	return fresh, nil
}

// drop forgets a token that the gateway no longer takes, so that the next request
// mints another.
func (t *tokens) drop(used agentid.Secret) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current.Access == used {
		t.current, t.renewAt = client.Token{}, time.Time{}
	}
}
