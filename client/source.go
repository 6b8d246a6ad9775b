package client

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// aheadDivisor: a token is renewed when less than a fifth of its life is left.
	aheadDivisor = 5
	mintTimeout  = 30 * time.Second
	// maxSources is how many different requests Client.Token remembers.
	maxSources = 256
)

// Source keeps the token of one request fresh.
type Source struct {
	// Minted, when set before the first use, is told of each new token.
	Minted func(Token)

	client   *Client
	resource string
	mint     func(ctx context.Context) (Token, error)
	flight   singleflight.Group

	mu      sync.Mutex
	current Token
	renewAt time.Time
}

// Source makes a Source of a request. Nothing is sent until Token.
func (c *Client) Source(req TokenRequest) *Source {
	return &Source{client: c, resource: req.Resource, mint: func(ctx context.Context) (Token, error) { return c.Mint(ctx, req) }}
}

// ExchangeSource is Source for tokens made from the parent's, which parent gives: the
// Token method of a Source of the parent's.
func (c *Client) ExchangeSource(parent func(ctx context.Context) (Token, error), req TokenRequest) *Source {
	return &Source{client: c, resource: req.Resource, mint: func(ctx context.Context) (Token, error) {
		token, err := parent(ctx)
		if err != nil {
			return Token{}, err
		}
		return c.Exchange(ctx, token, req)
	}}
}

// Token gives a token for a request: the one at hand while it is good, else a fresh one.
// Errors as Mint's.
func (c *Client) Token(ctx context.Context, req TokenRequest) (Token, error) {
	s, err := c.remembered(req)
	if err != nil {
		return Token{}, err
	}
	return s.Token(ctx)
}

// remembered is the Source of a request that was seen before, or a new one.
func (c *Client) remembered(req TokenRequest) (*Source, error) {
	details, err := req.AuthorizationDetails()
	if err != nil {
		return nil, err
	}
	kind := "dpop "
	if req.Bearer {
		kind = "bearer "
	}
	key := kind + req.Resource + " " + string(details)
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.sources[key]; ok {
		return s, nil
	}
	s := c.Source(req)
	if len(c.sources) >= maxSources {
		clear(c.sources) // a program that asks for this many keeps Sources of its own
	}
	c.sources[key] = s
	return s, nil
}

// Token gives the token at hand, or mints one, ahead of expiry. Callers that arrive
// together share one mint, and one that leaves does not end it for the others. While the
// broker is away, a token that is still good is given: the gateway decides.
func (s *Source) Token(ctx context.Context) (Token, error) {
	s.mu.Lock()
	current, renewAt := s.current, s.renewAt
	s.mu.Unlock()
	if current.key != s.client.Key().ID() {
		current = Token{} // bound to a key that was rotated away
	}
	now := s.client.cfg.Now()
	if !current.Access.IsZero() && now.Before(renewAt) {
		return current, nil
	}
	done := s.flight.DoChan("mint", func() (any, error) { return s.renew(ctx) })
	select {
	case <-ctx.Done():
		return Token{}, ctx.Err() //nolint:wrapcheck // the caller left
	case r := <-done:
		if r.Err == nil {
			return r.Val.(Token), nil //nolint:forcetypeassert // renew gives no other
		}
		if !current.Access.IsZero() && unknown(r.Err) && now.Before(current.Expires) {
			return current, nil
		}
		return Token{}, r.Err //nolint:wrapcheck // an agentid.Error or a Refusal
	}
}

// Fresh mints a token of its own, and leaves the one at hand as it is.
func (s *Source) Fresh(ctx context.Context) (Token, error) {
	token, err := s.mint(ctx)
	if err == nil && s.Minted != nil {
		s.Minted(token)
	}
	return token, err
}

func (s *Source) renew(ctx context.Context) (Token, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mintTimeout)
	defer cancel()
	fresh, err := s.Fresh(ctx)
	if err != nil {
		return Token{}, err
	}
	now := s.client.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = fresh
	s.renewAt = fresh.Expires.Add(-fresh.Expires.Sub(now) / aheadDivisor)
	return fresh, nil
}

// Drop forgets a token that is no longer taken, so that the next request mints another.
func (s *Source) Drop(used Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.Access == used.Access {
		s.current, s.renewAt = Token{}, time.Time{}
	}
}
