package ledger

import (
	"context"
	"sync"
	"time"

	"github.com/agentid-dev/agentid/internal/sqlitedb"
)

// stepped tells a wall clock that was set from time that has passed.
type stepped struct {
	now  func() time.Time
	boot func() time.Duration // nil: steps are not told

	mu     sync.Mutex
	offset time.Duration // of the wall clock over the boot clock, when it was last looked at
	known  bool
}

// slack is what the two clocks may drift apart between two looks without a step.
const slack = time.Second

// forward is by how much the wall clock was put forward since the last look.
func (s *stepped) forward() time.Duration {
	if s.boot == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	offset := time.Duration(s.now().UnixNano()) - s.boot()
	step := offset - s.offset
	known := s.known
	s.offset, s.known = offset, true
	if !known || step < slack {
		return 0
	}
	return step
}

// again makes a step that was told be told once more.
func (s *stepped) again(step time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset -= step
}

// keepDeadlines moves every deadline by as much as the wall clock was put forward: a hold
// stands for the time that it was given, whatever the clock says. After a step back it
// stands for longer, which harms nobody. A step while the process was down is not told.
func (l *Ledger) keepDeadlines(ctx context.Context) error {
	step := l.clock.forward()
	if step == 0 {
		return nil
	}
	l.cfg.Logger.WarnContext(ctx, "the clock was put forward; the deadlines of effects move with it", "step", step)
	err := l.write(ctx, nil, func(ctx context.Context, tx *sqlitedb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE effects SET due = due + ? WHERE due IS NOT NULL`, step.Microseconds())
		return err
	})
	if err != nil {
		l.clock.again(step)
	}
	return err
}
