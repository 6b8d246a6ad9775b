package restore_test

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/server/restore"
)

func TestAMarkKeepsTheHighestEpoch(t *testing.T) {
	dir := t.TempDir()
	m, _, err := restore.Open(dir)
	require.ErrorIs(t, err, restore.ErrNoMark)
	require.NoError(t, m.Begin("i", 3))
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() { require.NoError(t, m.Mark(agentid.Epoch(i))) })
	}
	all.Wait()
	require.NoError(t, m.Close())
	m, marked, err := restore.Open(dir)
	require.NoError(t, err)
	require.Equal(t, "i", marked.Incarnation)
	require.EqualValues(t, 49, marked.Epoch)
	require.NoError(t, m.Close())
	require.Error(t, m.Mark(99), "what is not on disk is not acknowledged")
	require.Error(t, m.Mark(1), "and nothing after it")
}

// A write that was torn by a crash leaves the one before it.
func TestATornMarkLeavesTheOneBefore(t *testing.T) {
	dir := t.TempDir()
	m, _, err := restore.Open(dir)
	require.ErrorIs(t, err, restore.ErrNoMark)
	require.NoError(t, m.Begin("i", 1))
	require.NoError(t, m.Mark(2))
	require.NoError(t, m.Mark(3))
	require.NoError(t, m.Close())
	path := filepath.Join(dir, restore.MarkFile)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	data[512+20] ^= 0xff // the third is in the second slot
	require.NoError(t, os.WriteFile(path, data, 0o600))
	_, marked, err := restore.Open(dir)
	require.NoError(t, err)
	require.EqualValues(t, 2, marked.Epoch)
	data[20] ^= 0xff
	require.NoError(t, os.WriteFile(path, data, 0o600))
	_, _, err = restore.Open(dir)
	require.ErrorIs(t, err, restore.ErrNoMark)
}

func TestEvidence(t *testing.T) {
	newer := func(a, b agentid.Zookie) (bool, error) {
		x, err := strconv.Atoi(string(a))
		if err != nil {
			return false, err
		}
		y, err := strconv.Atoi(string(b))
		return x > y, err
	}
	now := restore.Seen{Incarnation: "i", Epoch: 5, HadMark: true, Floor: "7", Head: "9"}
	at := restore.Marked{N: 1, Incarnation: "i", Epoch: 5}
	for name, c := range map[string]struct {
		marked restore.Marked
		err    error
		edit   func(*restore.Seen)
		found  bool
	}{
		"as it was":               {marked: at},
		"a crash before the mark": {marked: restore.Marked{N: 1, Incarnation: "i", Epoch: 4}},
		"the first start":         {err: restore.ErrNoMark, edit: func(s *restore.Seen) { s.HadMark = false }},
		"the mark is gone":        {err: restore.ErrNoMark, found: true},
		"an older ledger":         {marked: at, edit: func(s *restore.Seen) { s.Epoch = 4 }, found: true},
		"another incarnation":     {marked: restore.Marked{N: 1, Incarnation: "j", Epoch: 1}, found: true},
		"an older graph":          {marked: at, edit: func(s *restore.Seen) { s.Head = "6" }, found: true},
	} {
		seen := now
		if c.edit != nil {
			c.edit(&seen)
		}
		why, err := restore.Evidence(c.marked, c.err, seen, newer)
		require.NoError(t, err, name)
		require.Equal(t, c.found, why != "", "%s: %s", name, why)
	}
	_, err := restore.Evidence(restore.Marked{}, os.ErrPermission, now, newer)
	require.Error(t, err, "what cannot be told is no reason to start")
	now.Head = "torn"
	_, err = restore.Evidence(at, nil, now, newer)
	require.Error(t, err)
}
