package sqlitedb

import (
	"errors"
	"os"
	"sync"
	"time"
)

// walSync brings relaxed commits to disk a few milliseconds after they were made.
type walSync struct {
	path   string
	failed func(error)

	mu    sync.Mutex
	timer *time.Timer // nil: nothing is due
	done  sync.WaitGroup
}

// schedule makes sure that a sync is under way within relaxedSyncDelay.
func (s *walSync) schedule() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		return
	}
	s.done.Add(1)
	s.timer = time.AfterFunc(relaxedSyncDelay, func() {
		defer s.done.Done()
		s.mu.Lock()
		s.timer = nil
		s.mu.Unlock()
		if err := s.sync(); err != nil {
			s.failed(err)
		}
	})
}

func (s *walSync) sync() error {
	f, err := os.OpenFile(s.path, os.O_RDWR, 0) // another descriptor of the same file
	if errors.Is(err, os.ErrNotExist) {
		return nil // checkpointed and removed: the database itself was synced
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// close runs what is due at once.
func (s *walSync) close() error {
	s.mu.Lock()
	due := s.timer != nil && s.timer.Stop()
	s.timer = nil
	s.mu.Unlock()
	if due {
		s.done.Done()
	}
	s.done.Wait()
	if due {
		return s.sync()
	}
	return nil
}
