package keyset

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid/capability/jws"
	"github.com/agentid-dev/agentid/internal/egress"
)

// Defaults.
const (
	DefaultInterval = 10 * time.Second
	DefaultRefresh  = 10 * time.Minute
	DefaultMaxStale = 24 * time.Hour
	MaxBytes        = 256 << 10
	MaxKeys         = 64
)

// Config configures New. Exactly one of Issuer, URL, Static and Fetch is required.
type Config struct {
	Issuer string // its discovery document is asked for the keys' URL, at each fetch
	URL    string // of a JWK Set
	Static []byte // a JWK Set that never changes
	// Fetch is another way to the keys. It is given at most Timeout.
	Fetch func(ctx context.Context) (jose.JSONWebKeySet, error)
	// AllowEmpty takes a document without a key for signatures for good, as a SPIFFE bundle
	// of X.509 authorities alone.
	AllowEmpty bool

	Client   *http.Client  // egress.Client(egress.Config{}) when nil
	Timeout  time.Duration // of one fetch; egress.DefaultTimeout when zero
	Interval time.Duration // the least time between two fetches; DefaultInterval when zero
	Refresh  time.Duration // keys older than this are fetched again; DefaultRefresh when zero
	MaxStale time.Duration // keys older than this serve no more; DefaultMaxStale when zero
	Now      func() time.Time
	Logger   *slog.Logger
}

// Set is the keys of one issuer. It is safe for concurrent use; a zero Set is none.
type Set struct {
	cfg   Config
	fetch func(ctx context.Context) (jose.JSONWebKeySet, error)

	mu        sync.Mutex
	keys      []jose.JSONWebKey
	fetched   time.Time     // when keys arrived
	attempted time.Time     // when the newest fetch began
	failed    error         // why the newest fetch that ended failed
	inflight  chan struct{} // closed when the running fetch ends
	fetches   int
}

// New checks cfg, and the document where it is static. Nothing is fetched yet.
func New(cfg Config) (*Set, error) {
	ways := 0
	for _, given := range []bool{cfg.Issuer != "", cfg.URL != "", cfg.Static != nil, cfg.Fetch != nil} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return nil, errors.New("keyset: want exactly one of issuer, url, a static document and a way to fetch")
	}
	cfg.Timeout, cfg.Interval = positive(cfg.Timeout, egress.DefaultTimeout), positive(cfg.Interval, DefaultInterval)
	cfg.Refresh, cfg.MaxStale = positive(cfg.Refresh, DefaultRefresh), positive(cfg.MaxStale, DefaultMaxStale)
	if cfg.Client == nil {
		cfg.Client = egress.Client(egress.Config{Timeout: cfg.Timeout, MaxBytes: MaxBytes})
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Set{cfg: cfg, fetch: cfg.Fetch}
	switch {
	case cfg.Static != nil:
		set, err := parse(cfg.Static)
		if err != nil {
			return nil, err
		}
		s.keys = set.Keys
	case cfg.URL != "":
		s.fetch = func(ctx context.Context) (jose.JSONWebKeySet, error) { return fetchKeys(ctx, cfg.Client, cfg.URL) }
	case cfg.Issuer != "":
		s.fetch = s.discovered
	}
	return s, nil
}

func positive(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Refresh fetches the keys now, if a fetch is due, or waits for the one that runs. The
// error is why the newest fetch failed. A static set has nothing to fetch.
func (s *Set) Refresh(ctx context.Context) error {
	if s.cfg.Static != nil {
		return nil
	}
	s.await(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil && s.fetched.IsZero() {
		return context.Cause(ctx)
	}
	return s.failed
}

// Status is what is known of the keys.
type Status struct {
	Keys    []jose.JSONWebKey
	Fetched time.Time // zero: never, or static
	Failed  error     // of the newest fetch
	Fetches int       // that were begun
}

// Status says what the set holds, and fetches nothing.
func (s *Set) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{Keys: s.keys, Fetched: s.fetched, Failed: s.failed, Fetches: s.fetches}
}

// await waits until a fetch ended, one that runs or one that is due now. False: none was
// due, or ctx ended first.
func (s *Set) await(ctx context.Context) bool {
	done := s.begin()
	if done == nil {
		return false
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// begin starts a fetch if one is due, and returns what is closed at the end of it or of
// the one that runs; nil when none is due.
func (s *Set) begin() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inflight != nil {
		return s.inflight
	}
	now := s.cfg.Now()
	if since := now.Sub(s.attempted); !s.attempted.IsZero() && since >= 0 && since < s.cfg.Interval {
		return nil
	}
	s.attempted, s.inflight = now, make(chan struct{})
	s.fetches++
	go s.run(s.inflight)
	return s.inflight
}

// run is one fetch. Whoever asked for it may go away: others wait too.
func (s *Set) run(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Timeout)
	defer cancel()
	set, err := s.fetch(ctx)
	if err == nil && len(set.Keys) == 0 && !s.cfg.AllowEmpty {
		err = errors.New("the key set holds no key for signatures")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
	if err == nil {
		s.keys, s.fetched = set.Keys, s.cfg.Now()
	} else {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "the keys of an issuer could not be fetched",
			slog.String("issuer", s.cfg.Issuer), slog.String("url", s.cfg.URL), slog.Any("error", err))
	}
	s.inflight = nil
	close(done)
}

// parse reads a key set from outside under the key policy.
func parse(data []byte) (jose.JSONWebKeySet, error) {
	return jws.ParseKeySet(data, jws.KeySetPolicy{MaxBytes: MaxBytes, MaxKeys: MaxKeys})
}
