package limits

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// cells are the limits' states in this process: one number for each key, which is found
// without a lock that all requests share. They are kept in two generations; the older is
// dropped when the newer is full, so that a key in use stays.
type cells struct {
	now    func() time.Time
	seed   maphash.Seed
	shards [16]shard
}

type shard struct {
	mu           sync.Mutex
	most         int
	newer, older map[string]*atomic.Int64
}

func newCells(most int, now func() time.Time) *cells {
	c := &cells{now: now, seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].most = max(1, most/len(c.shards)/2)
		c.shards[i].newer = map[string]*atomic.Int64{}
	}
	return c
}

func (c *cells) shard(key string) *shard {
	return &c.shards[maphash.String(c.seed, key)%uint64(len(c.shards))]
}

func (s *shard) find(key string) *atomic.Int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	cell, ok := s.newer[key]
	if !ok {
		if cell, ok = s.older[key]; ok {
			s.put(key, cell)
		}
	}
	return cell
}

func (s *shard) put(key string, cell *atomic.Int64) {
	if len(s.newer) >= s.most {
		s.older, s.newer = s.newer, make(map[string]*atomic.Int64, s.most)
	}
	s.newer[key] = cell
}

// GetWithTime implements throttled.GCRAStoreCtx.
func (c *cells) GetWithTime(_ context.Context, key string) (int64, time.Time, error) {
	if cell := c.shard(key).find(key); cell != nil {
		return cell.Load(), c.now(), nil
	}
	return -1, c.now(), nil
}

// SetIfNotExistsWithTTL implements throttled.GCRAStoreCtx. Keys end with their generation.
func (c *cells) SetIfNotExistsWithTTL(_ context.Context, key string, value int64, _ time.Duration) (bool, error) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newer[key] != nil || s.older[key] != nil {
		return false, nil
	}
	cell := new(atomic.Int64)
	cell.Store(value)
	s.put(key, cell)
	return true, nil
}

// CompareAndSwapWithTTL implements throttled.GCRAStoreCtx.
func (c *cells) CompareAndSwapWithTTL(_ context.Context, key string, old, value int64, _ time.Duration) (bool, error) {
	cell := c.shard(key).find(key)
	return cell != nil && cell.CompareAndSwap(old, value), nil
}
