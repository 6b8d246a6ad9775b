package process

import (
	"context"
	"errors"
	"fmt"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/observe"
	"github.com/agentid-dev/agentid/server/admin"
	"github.com/agentid-dev/agentid/server/restore"
)

// checkRestored looks whether the data went back in time, before anything is read of it.
// If so a new incarnation begins; makeAdmin ends what that leaves to do in the graph.
func (p *Process) checkRestored(ctx context.Context) error {
	restoring, err := p.ledger.Restoring(ctx)
	if err != nil {
		return err //nolint:wrapcheck // an agentid.Error
	}
	mark, marked, markErr := restore.Open(p.cfg.DataDir)
	if mark == nil {
		return fmt.Errorf("data_dir: %w", markErr)
	}
	p.mark = mark
	if restoring {
		return nil // a crash came between: it is carried on
	}
	seen, err := p.seen(ctx)
	if err != nil {
		return err
	}
	why, err := restore.Evidence(marked, markErr, seen, p.ledger.Newer)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if why == "" && p.opts.Restored {
		why = "said at the start"
	}
	if why != "" {
		p.opts.Logger.ErrorContext(ctx, "the data is older than it once was: tokens from before are refused, and every agent is frozen until it is confirmed (agentid agent unfreeze --reason restored)", observe.KeyReason, why)
		return p.ledger.BeginRestore(ctx, admin.RestoreRecord(why, "")) //nolint:wrapcheck // an agentid.Error
	}
	if errors.Is(markErr, restore.ErrNoMark) {
		if err := mark.Begin(seen.Incarnation, seen.Epoch); err != nil {
			return err //nolint:wrapcheck // says what failed
		}
		return p.ledger.SetMarked(ctx) //nolint:wrapcheck // an agentid.Error
	}
	return nil
}

// seen is what ledger and graph say of themselves.
func (p *Process) seen(ctx context.Context) (out restore.Seen, err error) {
	if out.Floor, _, out.Incarnation, err = p.ledger.Floor(ctx); err != nil {
		return out, err //nolint:wrapcheck // an agentid.Error
	}
	if out.Epoch, err = p.ledger.Epoch(ctx); err != nil {
		return out, err //nolint:wrapcheck // an agentid.Error
	}
	if out.HadMark, err = p.ledger.HadMark(ctx); err != nil {
		return out, err //nolint:wrapcheck // an agentid.Error
	}
	out.Head, err = p.store.Zookie(p.store.Head())
	return out, err //nolint:wrapcheck // says what failed
}

// endRestore brings the graph to what a restore that was begun demands.
func (p *Process) endRestore(ctx context.Context) error {
	if err := p.admin.EndRestore(ctx); err != nil {
		return fmt.Errorf("hold what a backup brought back: %w", err)
	}
	return p.ledger.SetMarked(ctx) //nolint:wrapcheck // an agentid.Error
}

// ahead is told that a gateway knows of a revocation that the ledger does not. The
// gateway is refused meanwhile.
func (p *Process) ahead(incarnation string, epoch agentid.Epoch) {
	if !p.behind.CompareAndSwap(false, true) {
		return
	}
	p.work.Go(func() {
		defer p.behind.Store(false)
		ctx := context.Background()
		_, _, now, err := p.ledger.Floor(ctx)
		if err == nil && now == incarnation {
			err = p.admin.Restored(ctx, fmt.Sprintf("a gateway knows of revocation %d, the ledger does not", epoch))
		}
		if err != nil {
			p.opts.Logger.ErrorContext(ctx, "the data is older than it once was, and that could not be dealt with; it is tried again when a gateway subscribes", observe.KeyError, err.Error())
		}
	})
}
