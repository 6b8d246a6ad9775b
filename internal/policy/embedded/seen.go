package embedded

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/authzed/spicedb/pkg/datastore"
	"github.com/authzed/spicedb/pkg/tuple"

	"github.com/agentid-dev/agentid/internal/policy"
)

// seen is what the relationships say that were read for one check: whether a caveat stood
// on one of them, and when the first of them expires. It travels in the context, as the
// pin does.
type seen struct {
	caveat  atomic.Bool
	expires atomic.Int64 // Unix nanoseconds; 0: none does
}

type seenKey struct{}

// watched gives a context whose reads are seen.
func watched(ctx context.Context) (context.Context, *seen) {
	s := &seen{}
	return context.WithValue(ctx, seenKey{}, s), s
}

// Expires is as in policy.Answer.
func (s *seen) Expires() time.Time {
	if at := s.expires.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return policy.Never
}

func (s *seen) see(rel tuple.Relationship) {
	if rel.OptionalCaveat != nil {
		s.caveat.Store(true)
	}
	if rel.OptionalExpiration == nil {
		return
	}
	for at := rel.OptionalExpiration.UnixNano(); ; {
		have := s.expires.Load()
		if have != 0 && have <= at || s.expires.CompareAndSwap(have, at) {
			return
		}
	}
}

// watch passes relationships on and sees them.
func watch(ctx context.Context, all datastore.RelationshipIterator) datastore.RelationshipIterator {
	s, ok := ctx.Value(seenKey{}).(*seen)
	if !ok {
		return all
	}
	return func(yield func(tuple.Relationship, error) bool) {
		for rel, err := range all {
			if err == nil {
				s.see(rel)
			}
			if !yield(rel, err) {
				return
			}
		}
	}
}

// expiry is as in policy.Answer, for an answer that one relationship gives.
func expiry(rel tuple.Relationship) time.Time {
	if rel.OptionalExpiration == nil {
		return policy.Never
	}
	return *rel.OptionalExpiration
}
