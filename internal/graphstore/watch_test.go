package graphstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	ds "github.com/authzed/spicedb/pkg/datastore"

	"github.com/agentid-dev/agentid/internal/graphstore"
)

const everyContent = ds.WatchRelationships | ds.WatchSchema | ds.WatchCheckpoints

func next(t *testing.T, ch <-chan ds.RevisionChanges) ds.RevisionChanges {
	t.Helper()
	select {
	case c, ok := <-ch:
		require.True(t, ok, "the watch ended")
		return c
	case <-time.After(10 * time.Second):
		require.Fail(t, "nothing came")
	}
	return ds.RevisionChanges{}
}

func ended(t *testing.T, errs <-chan error) error {
	t.Helper()
	select {
	case err := <-errs:
		return err
	case <-time.After(10 * time.Second):
		require.Fail(t, "the watch did not end")
	}
	return nil
}

func TestWatchBackfillsThenFollows(t *testing.T) {
	path := t.TempDir() + "/graph.db"
	s, err := graphstore.Open(context.Background(), graphstore.Config{Path: path})
	require.NoError(t, err)
	from := headOf(t, s)
	var wrote []ds.Revision
	for i := range 100 { // more than a page of the log
		wrote = append(wrote, write(t, s, touch("document:d%d#viewer@user:x", i)))
	}
	require.NoError(t, s.Close())
	s = open(t, graphstore.Config{Path: path}) // the log survives
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	changes, errs := s.Watch(ctx, from, ds.WatchOptions{Content: everyContent, WatchBufferLength: 1000})
	for i := range 110 {
		if i >= 100 {
			wrote = append(wrote, write(t, s, touch("document:d%d#viewer@user:x", i)))
		}
		c := next(t, changes)
		require.True(t, c.Revision.Equal(wrote[i]))
		require.Len(t, c.RelationshipChanges, 1)
		check := next(t, changes)
		require.True(t, check.IsCheckpoint && check.Revision.Equal(wrote[i]))
	}
	cancel()
	require.ErrorAs(t, ended(t, errs), &ds.WatchCanceledError{})
}

func TestSlowWatchIsDisconnected(t *testing.T) {
	s := open(t, graphstore.Config{})
	changes, errs := s.Watch(context.Background(), headOf(t, s), ds.WatchOptions{
		Content: ds.WatchRelationships, WatchBufferLength: 2, WatchBufferWriteTimeout: time.Millisecond,
	})
	for i := range 4 {
		write(t, s, touch("document:d%d#viewer@user:x", i))
	}
	require.ErrorAs(t, ended(t, errs), &ds.WatchDisconnectedError{})
	n := 0
	for range changes {
		n++
	}
	require.Equal(t, 2, n, "what was buffered is still there")
}

func TestWatchRefusesARevisionThatIsTooLarge(t *testing.T) {
	s := open(t, graphstore.Config{})
	_, errs := s.Watch(context.Background(), headOf(t, s), ds.WatchOptions{Content: ds.WatchRelationships, MaximumBufferedChangesByteSize: 1000})
	fillMany(t, s, 100)
	require.ErrorAs(t, ended(t, errs), &ds.MaximumChangesSizeExceededError{})
}

func TestWatchSeesOneLargeRevisionWhole(t *testing.T) {
	s := open(t, graphstore.Config{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	changes, _ := s.Watch(ctx, headOf(t, s), ds.WatchJustRelationships())
	fillMany(t, s, 3500)
	require.Len(t, next(t, changes).RelationshipChanges, 3500)
}

func TestWatchEndsWithItsStore(t *testing.T) {
	s := open(t, graphstore.Config{})
	_, errs := s.Watch(context.Background(), headOf(t, s), ds.WatchJustRelationships())
	require.NoError(t, s.Close())
	require.ErrorIs(t, ended(t, errs), graphstore.ErrClosed)
}

func TestEverythingIsRefusedAfterClose(t *testing.T) {
	s := open(t, graphstore.Config{})
	ctx := context.Background()
	head := headOf(t, s)
	reader := s.SnapshotReader(head)
	require.NoError(t, s.Close())
	_, err := s.HeadRevision(ctx)
	require.ErrorIs(t, err, graphstore.ErrClosed)
	_, err = s.UniqueID(ctx)
	require.ErrorIs(t, err, graphstore.ErrClosed)
	_, err = s.Statistics(ctx)
	require.ErrorIs(t, err, graphstore.ErrClosed)
	_, err = s.ReadyState(ctx)
	require.ErrorIs(t, err, graphstore.ErrClosed)
	require.ErrorIs(t, s.CheckRevision(ctx, head), graphstore.ErrClosed)
	_, err = reader.QueryRelationships(ctx, ds.RelationshipsFilter{OptionalResourceType: "document"})
	require.ErrorIs(t, err, graphstore.ErrClosed)
	_, err = s.ReadWriteTx(ctx, func(context.Context, ds.ReadWriteTransaction) error { return nil })
	require.ErrorIs(t, err, graphstore.ErrClosed)
	_, errs := s.Watch(ctx, head, ds.WatchJustRelationships())
	require.ErrorIs(t, <-errs, graphstore.ErrClosed)
}
