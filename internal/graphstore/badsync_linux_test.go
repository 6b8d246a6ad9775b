package graphstore_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	ds "github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/tuple"

	"github.com/agentid-dev/agentid/internal/graphstore"
	"github.com/agentid-dev/agentid/internal/testenv/badsync"
)

// TestAFailedSyncIsFinal: a write whose sync fails has no revision, nor has any later one;
// what had one is there after a restart, and the next revision is a later one.
func TestAFailedSyncIsFinal(t *testing.T) {
	dir, broken := badsync.Child(t, t.TempDir())
	s, err := graphstore.Open(context.Background(), graphstore.Config{Path: filepath.Join(dir, "graph.db")})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	try := func(id string) error {
		_, err := s.ReadWriteTx(context.Background(), func(ctx context.Context, tx ds.ReadWriteTransaction) error {
			return tx.WriteRelationships(ctx, []tuple.RelationshipUpdate{touch("document:%s#viewer@user:x", id)})
		})
		return err
	}
	if !broken {
		before, err := s.HeadRevision(t.Context())
		require.NoError(t, err)
		require.NoError(t, try("after"))
		after, err := s.HeadRevision(t.Context())
		require.NoError(t, err)
		require.True(t, after.Revision.GreaterThan(before.Revision))
		return
	}
	require.NoError(t, try("before"))
	badsync.Break(t)
	require.Error(t, try("first"))
	require.Error(t, try("second"))
}
