package link

import (
	"context"
	"errors"
	"sync"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// Bounds of the audit on its way.
const (
	auditQueue   = 4096 // records that wait; beyond, what they describe is refused
	auditSenders = 4    // batches under way at once
)

// batcher hands audit records to the broker, as many in one call as have come while the
// one before was under way. A record's caller waits until the broker has it: nothing is
// kept here that a crash of this process could lose.
type batcher struct {
	link   *Link
	queue  chan *entry
	ctx    context.Context //nolint:containedctx // ends the senders, which outlive any call
	cancel context.CancelFunc
	work   sync.WaitGroup
}

type entry struct {
	record  auditlog.Record
	durable bool
	done    chan error
}

func newBatcher(l *Link) *batcher {
	b := &batcher{link: l, queue: make(chan *entry, auditQueue)}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	for range auditSenders {
		b.work.Go(b.send)
	}
	return b
}

func (b *batcher) close() {
	b.cancel()
	b.work.Wait()
}

// Append implements wire.Audit: it returns when the broker has taken the record, which is
// then on disk, or with Relaxed will be within 10 ms. Without an answer it is not known
// to be in the log, and what it describes is refused.
func (l *Link) Append(ctx context.Context, record auditlog.Record, d wire.Durability) error {
	e := &entry{record: record, durable: d != wire.Relaxed, done: make(chan error, 1)}
	select {
	case l.audit.queue <- e:
	default:
		return agentid.Unavailable("audit_unavailable", errors.New("too many records wait for the broker"))
	}
	select {
	case err := <-e.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-l.audit.ctx.Done():
		return agentid.Unavailable("audit_unavailable", errors.New("the gateway stops"))
	}
}

func (b *batcher) send() {
	for {
		select {
		case <-b.ctx.Done():
			return
		case first := <-b.queue:
			b.post(b.gather(first))
		}
	}
}

// gather takes what waits already, up to a batch.
func (b *batcher) gather(first *entry) []*entry {
	all := []*entry{first}
	for len(all) < api.MaxBatch {
		select {
		case e := <-b.queue:
			all = append(all, e)
		default:
			return all
		}
	}
	return all
}

// post sends a batch. One that the broker refuses for what a record holds is sent again
// record by record, so that one bad record fails alone.
func (b *batcher) post(all []*entry) {
	batch := api.Batch{Records: make([]auditlog.Record, len(all))}
	for i, e := range all {
		batch.Records[i] = e.record
		batch.Durable = batch.Durable || e.durable
	}
	err := b.link.call(b.ctx, auditWithin, api.PathAudit, batch, nil)
	b.link.metrics.batches.Observe(float64(len(all)))
	if err != nil && len(all) > 1 && agentid.KindOf(err) != agentid.KindUnavailable {
		for _, e := range all {
			b.post([]*entry{e})
		}
		return
	}
	for _, e := range all {
		e.done <- err
	}
}
