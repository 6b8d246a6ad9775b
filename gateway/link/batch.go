package link

import (
	"context"
	"sync"
	"time"
)

// Bounds of what travels in batches.
const (
	queued  = 4096 // that wait; beyond, what they are about is refused
	senders = 8
	// slowCall is from when a call no longer keeps others from being sent beside it: one
	// connection that hangs holds up what is in its own call.
	slowCall = 50 * time.Millisecond
)

// batcher hands things to the broker, as many in one call as have come while the calls
// before were under way. Few are under way at once, so that a busy gateway makes few and
// large calls; a single thing is sent at once. Nothing is kept here that a crash of this
// process could lose: whoever hands something over waits for what became of it.
type batcher[T any] struct {
	queue  chan T
	most   int                                // in one call
	send   func(ctx context.Context, all []T) // answers each of them
	turns  chan struct{}                      // held by each call that is under way and not slow
	slow   time.Duration                      // slowCall, outside of tests
	ctx    context.Context                    //nolint:containedctx // ends the senders, which outlive any call
	cancel context.CancelFunc
	work   sync.WaitGroup
}

func newBatcher[T any](underway, most int, send func(ctx context.Context, all []T)) *batcher[T] {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:gosec // close calls it
	b := &batcher[T]{queue: make(chan T, queued), most: most, send: send, turns: make(chan struct{}, underway), slow: slowCall, ctx: ctx, cancel: cancel}
	for range senders {
		b.work.Go(b.run)
	}
	return b
}

func (b *batcher[T]) close() {
	b.cancel()
	b.work.Wait()
}

// put reports false when too many wait.
func (b *batcher[T]) put(one T) bool {
	select {
	case b.queue <- one:
		return true
	default:
		return false
	}
}

func (b *batcher[T]) run() {
	for {
		select {
		case b.turns <- struct{}{}:
		case <-b.ctx.Done():
			return
		}
		done := sync.OnceFunc(func() { <-b.turns })
		select {
		case first := <-b.queue:
			slow := time.AfterFunc(b.slow, done)
			b.send(b.ctx, b.gather(first))
			slow.Stop()
			done()
		case <-b.ctx.Done():
			return
		}
	}
}

// gather takes what waits already, up to a batch.
func (b *batcher[T]) gather(first T) []T {
	all := []T{first}
	for len(all) < b.most {
		select {
		case one := <-b.queue:
			all = append(all, one)
		default:
			return all
		}
	}
	return all
}
