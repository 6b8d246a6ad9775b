package recall_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/recall"
)

// store is one row, with the generation that its writes move.
type store struct {
	row   atomic.Int64
	count atomic.Uint64
	reads atomic.Int64
	fail  error
	while func() // during a read, after the row was read
}

func (s *store) Now() uint64 { return s.count.Load() }

func (s *store) write(row int64) {
	s.row.Store(row)
	s.count.Add(1)
}

func (s *store) read(context.Context) (int64, error) {
	s.reads.Add(1)
	row := s.row.Load()
	if s.while != nil {
		s.while()
	}
	return row, s.fail
}

func values(t *testing.T, s *store) *recall.Values[string, int64] {
	t.Helper()
	v, err := recall.New[string, int64](64, s)
	require.NoError(t, err)
	return v
}

func get(t *testing.T, v *recall.Values[string, int64], s *store) int64 {
	t.Helper()
	row, err := v.Get(t.Context(), v.Now(), "k", s.read)
	require.NoError(t, err)
	return row
}

func TestReadOnceUntilItIsWritten(t *testing.T) {
	s := &store{}
	v := values(t, s)
	for range 3 {
		require.EqualValues(t, 0, get(t, v, s))
	}
	require.EqualValues(t, 1, s.reads.Load())
	s.write(7)
	require.EqualValues(t, 7, get(t, v, s))
	require.EqualValues(t, 2, s.reads.Load())
}

// TestAWriteDuringTheReadIsNotMissed: what was read before it is given once and not kept.
func TestAWriteDuringTheReadIsNotMissed(t *testing.T) {
	s := &store{}
	v := values(t, s)
	s.while = func() { s.write(1) }
	require.EqualValues(t, 0, get(t, v, s))
	s.while = nil
	require.EqualValues(t, 1, get(t, v, s))
}

func TestErrorsAreNotKept(t *testing.T) {
	s := &store{fail: errors.New("no such row")}
	v := values(t, s)
	for range 2 {
		_, err := v.Get(t.Context(), v.Now(), "k", s.read)
		require.ErrorIs(t, err, s.fail)
	}
	require.EqualValues(t, 2, s.reads.Load())
	s.fail = nil
	require.EqualValues(t, 0, get(t, v, s))
}

// TestNobodySeesAnOldRowAfterItsWrite: readers that hammer on one row never go back behind
// a write that returned.
func TestNobodySeesAnOldRowAfterItsWrite(t *testing.T) {
	s := &store{}
	v := values(t, s)
	var written atomic.Int64
	var behind atomic.Int64
	stop := make(chan struct{})
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				least := written.Load()
				if row, err := v.Get(context.Background(), v.Now(), "k", s.read); err != nil || row < least {
					behind.Add(1)
				}
			}
		})
	}
	for i := range int64(20_000) {
		s.write(i)
		written.Store(i)
	}
	close(stop)
	work.Wait()
	require.Zero(t, behind.Load())
}
