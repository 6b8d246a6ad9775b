package link

import (
	"context"
	"errors"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/auditlog"
	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// How many batches of records are under way at once. The broker answers one as soon as its
// operating system has it; one that must be on disk waits for that, and holds up no other.
const (
	relaxedUnderway = 1
	durableUnderway = 2
)

// entry is a record on its way.
type entry struct {
	record  auditlog.Record
	durable bool
	done    chan error
}

// Append implements wire.Audit: it returns when the broker has taken the record, which is
// then on disk, or with Relaxed will be within 10 ms. Without an answer it is not known
// to be in the log, and what it describes is refused.
func (l *Link) Append(ctx context.Context, record auditlog.Record, d wire.Durability) error {
	e := &entry{record: record, durable: d != wire.Relaxed, done: make(chan error, 1)}
	batches := l.audit
	if e.durable {
		batches = l.durable
	}
	if !batches.put(e) {
		return agentid.Unavailable("audit_unavailable", errors.New("too many records wait for the broker"))
	}
	select {
	case err := <-e.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-batches.ctx.Done():
		return agentid.Unavailable("audit_unavailable", errStops)
	}
}

var errStops = errors.New("the gateway stops")

// post sends records. A batch that the broker refuses for what a record holds is sent again
// record by record, so that one bad record fails alone.
func (l *Link) post(ctx context.Context, all []*entry) {
	batch := api.Batch{Records: make([]auditlog.Record, len(all))}
	for i, e := range all {
		batch.Records[i] = e.record
		batch.Durable = batch.Durable || e.durable
	}
	err := l.call(ctx, auditWithin, api.PathAudit, batch, nil)
	l.metrics.batches.Observe(float64(len(all)))
	if err != nil && len(all) > 1 && agentid.KindOf(err) != agentid.KindUnavailable {
		for _, e := range all {
			l.post(ctx, []*entry{e})
		}
		return
	}
	for _, e := range all {
		e.done <- err
	}
}
