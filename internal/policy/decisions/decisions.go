// Package decisions holds answers by their full key, within a bounded memory, and lets
// callers that ask the same at once share one answer.
//
// It owns that a hit is for exactly the key that was asked, how much is kept, and whose
// cancellation ends what. It does not know what an answer says, when it is still true or
// what may be kept: package policy does.
package decisions

import (
	"hash/maphash"
	"math"

	"github.com/maypok86/otter/v2"
)

// overhead is what an entry is counted for beside its key and value, in bytes; it bounds
// how many entries there are, however small.
const overhead = 512

// Store keeps values by key. It is safe for concurrent use. A nil *Store keeps nothing.
type Store[V any] struct {
	seed  maphash.Seed
	cache *otter.Cache[uint64, *entry[V]]
}

// entry holds its full key: that the hashes are equal says nothing.
type entry[V any] struct {
	key   string
	value V
}

// New makes a Store of at most so many bytes, as they are counted: each key's length, a
// value's size as size gives it, and 512. Fewer than 4 KiB keep nothing.
func New[V any](bytes int64, size func(V) int) (*Store[V], error) {
	const least = 4 << 10
	if bytes < least {
		return nil, nil //nolint:nilnil // a nil Store keeps nothing
	}
	cache, err := otter.New(&otter.Options[uint64, *entry[V]]{
		MaximumWeight: uint64(bytes),
		Weigher: func(_ uint64, e *entry[V]) uint32 {
			return uint32(min(int64(overhead+len(e.key)+size(e.value)), math.MaxUint32))
		},
	})
	if err != nil {
		return nil, err
	}
	return &Store[V]{seed: maphash.MakeSeed(), cache: cache}, nil
}

// Get gives what was kept for exactly this key. It does not allocate.
func (s *Store[V]) Get(key []byte) (value V, ok bool) {
	if s == nil {
		return value, false
	}
	e, ok := s.cache.GetIfPresent(maphash.Bytes(s.seed, key))
	if !ok || e.key != string(key) {
		return value, false
	}
	return e.value, true
}

// Set keeps a value, in place of what was kept for the key, or for another one of the
// same hash.
func (s *Store[V]) Set(key []byte, value V) {
	if s == nil {
		return
	}
	s.cache.Set(maphash.Bytes(s.seed, key), &entry[V]{key: string(key), value: value})
}

// Len is how many values are kept, roughly.
func (s *Store[V]) Len() int {
	if s == nil {
		return 0
	}
	return s.cache.EstimatedSize()
}

// Weight is how many bytes are counted.
func (s *Store[V]) Weight() uint64 {
	if s == nil {
		return 0
	}
	return s.cache.WeightedSize()
}

// Settle carries out what the store put off, such as evictions: for tests and figures.
func (s *Store[V]) Settle() {
	if s != nil {
		s.cache.CleanUp()
	}
}
