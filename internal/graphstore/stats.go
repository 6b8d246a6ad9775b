package graphstore

import (
	"context"

	"github.com/authzed/spicedb/pkg/datastore"
)

// Statistics reads the count that each transaction keeps and the definitions; it
// counts nothing. The count includes expired relationships not yet collected.
func (s *Store) Statistics(ctx context.Context) (datastore.Stats, error) {
	if s.closed.Load() {
		return datastore.Stats{}, ErrClosed
	}
	last, err := s.lastTransaction(ctx, s.readers)
	if err != nil {
		return datastore.Stats{}, err
	}
	defs, err := s.SnapshotReader(Revision(s.head.Load().rev)).LegacyListAllNamespaces(ctx)
	if err != nil {
		return datastore.Stats{}, err
	}
	return datastore.Stats{
		UniqueID:                   s.uniqueID,
		EstimatedRelationshipCount: uint64(max(0, last.live)),
		ObjectTypeStatistics:       datastore.ComputeObjectTypeStats(defs),
	}, nil
}
