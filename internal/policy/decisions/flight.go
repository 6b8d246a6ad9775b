package decisions

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// Flights lets callers that ask the same at once share one answer. The zero value is ready.
type Flights[V any] struct {
	mu sync.Mutex
	of map[string]*flight[V]
}

// flight is one question that is being asked.
type flight[V any] struct {
	key     string
	since   uint64 // the generation that it began at
	waiting int    // callers; when the last one leaves, it is given up
	cancel  context.CancelFunc
	done    chan struct{}
	value   V
	err     error
}

// Do asks, or waits for whoever asks the same. Only callers with the same key and the same
// generation share: what was begun before something changed is not handed to one who came
// after. The answer belongs to no caller: it goes on when the one who began it leaves, and
// is given up when all have left or limit has passed. A caller's own context ends its own
// waiting only.
func (f *Flights[V]) Do(ctx context.Context, key []byte, since uint64, limit time.Duration, ask func(context.Context) (V, error)) (V, error) {
	if err := ctx.Err(); err != nil {
		var none V
		return none, err
	}
	f.mu.Lock()
	x, ok := f.of[string(key)]
	if !ok || x.since != since {
		x = f.begin(ctx, string(key), since, limit, ask)
	}
	x.waiting++
	f.mu.Unlock()
	select {
	case <-x.done:
		f.leave(x)
		return x.value, x.err
	case <-ctx.Done():
		f.leave(x)
		var none V
		return none, ctx.Err()
	}
}

// begin is called with the lock held.
func (f *Flights[V]) begin(ctx context.Context, key string, since uint64, limit time.Duration, ask func(context.Context) (V, error)) *flight[V] {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	x := &flight[V]{key: key, since: since, cancel: cancel, done: make(chan struct{})}
	if f.of == nil {
		f.of = map[string]*flight[V]{}
	}
	f.of[key] = x
	go func() {
		defer cancel()
		defer close(x.done)
		defer f.end(x)
		defer func() {
			if p := recover(); p != nil {
				x.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		x.value, x.err = ask(ctx)
	}()
	return x
}

// end makes room for the next question, unless it is being asked already.
func (f *Flights[V]) end(x *flight[V]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remove(x)
}

func (f *Flights[V]) remove(x *flight[V]) {
	if f.of[x.key] == x {
		delete(f.of, x.key)
	}
}

// leave gives the question up when nobody waits for it; a caller who comes then asks anew.
func (f *Flights[V]) leave(x *flight[V]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x.waiting--; x.waiting == 0 {
		x.cancel()
		f.remove(x)
	}
}
