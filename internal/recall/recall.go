// Package recall remembers what was read of a store until a write may have changed it.
//
// It owns the rule: a value is kept under the count that a generation had before it was
// read, and only if that has not moved meanwhile; it is used only while the count is that.
// So a write is seen by whoever asks after it returned. Errors are not kept, nor that there
// is nothing. How many are kept is bounded. What moves a generation is its owner's; what
// depends on the time is checked by whoever uses a value.
package recall

import (
	"context"
	"fmt"

	"github.com/maypok86/otter/v2"
)

// Generation counts the writes that may have changed what values were read from.
type Generation interface {
	// Now is the count: the same again only if nothing that was there has changed.
	Now() uint64
}

// Values keeps values of one sort by key. It is safe for concurrent use. Values are shared
// by all who ask, who must not change them.
type Values[K comparable, V any] struct {
	generation Generation
	cache      *otter.Cache[K, value[V]]
}

type value[V any] struct {
	at uint64
	of V
}

// New keeps at most size values.
func New[K comparable, V any](size int, generation Generation) (*Values[K, V], error) {
	cache, err := otter.New(&otter.Options[K, value[V]]{MaximumSize: size})
	if err != nil {
		return nil, fmt.Errorf("recall: %w", err)
	}
	return &Values[K, V]{generation: generation, cache: cache}, nil
}

// Now is the count to ask at.
func (v *Values[K, V]) Now() uint64 { return v.generation.Now() }

// Get gives the value of a key: what is remembered, else what read gives, whose error is
// passed on. at is Now from before anything was read that the value depends on: several
// values that were read at one count, and found to be of it still, belong together.
func (v *Values[K, V]) Get(ctx context.Context, at uint64, key K, read func(ctx context.Context) (V, error)) (V, error) {
	if kept, ok := v.cache.GetIfPresent(key); ok && kept.at == at {
		return kept.of, nil
	}
	of, err := read(ctx)
	if err == nil && v.generation.Now() == at {
		v.cache.Set(key, value[V]{at: at, of: of})
	}
	return of, err
}
