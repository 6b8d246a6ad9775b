package ledgertest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/wire"
)

// Uses counts on the capability "cap" of Refund's token.
func Uses(t testing.TB, most int64) []wire.Use {
	t.Helper()
	return []wire.Use{{Token: Ref(t, "token:acme/tok-1"), Capability: "cap", Max: most}}
}

func manyUses(t testing.TB, n int) []wire.Use {
	t.Helper()
	out := make([]wire.Use, n)
	for i := range out {
		out[i] = wire.Use{Token: Ref(t, fmt.Sprintf("token:acme/t-%d", i)), Capability: "cap", Max: 1}
	}
	return out
}

// childUse is a reservation by a child's token, which was made from Refund's: each may
// be used most times, and the parent's ofParent times.
func childUse(t testing.TB, clock *Clock, child, request string, most, ofParent int64) wire.Reserve {
	t.Helper()
	r := Refund(t, clock, request)
	r.Token, r.Agent = Ref(t, "token:acme/"+child), Ref(t, "agent:acme/"+child)
	r.Uses = append([]wire.Use{{Token: r.Token, Capability: "cap", Max: most}}, Uses(t, ofParent)...)
	return r
}

// usesOfAChain: a child's use is its parent's too, all or none, and both come back.
func usesOfAChain(t *testing.T, l Ledger, clock *Clock) {
	ctx := t.Context()
	first := reserve(t, l, childUse(t, clock, "c1", "r1", 1, 1))
	for name, r := range map[string]wire.Reserve{
		"a sibling":  childUse(t, clock, "c2", "r2", 1, 1),
		"the parent": Refund(t, clock, "r3"),
	} {
		if name == "the parent" {
			r.Uses = Uses(t, 1)
		}
		_, err := l.Reserve(ctx, r)
		refuses(t, err, agentid.KindForbidden, "uses_exhausted")
	}
	settle(t, l, first.ID, "r1", wire.Released)
	settle(t, l, first.ID, "r1", wire.Released)

	// Refused above, the sibling was charged nothing: both counts are untouched.
	second := reserve(t, l, childUse(t, clock, "c2", "r4", 1, 1))
	_, err := l.Reserve(ctx, childUse(t, clock, "c1", "r5", 1, 1))
	refuses(t, err, agentid.KindForbidden, "uses_exhausted")
	settle(t, l, second.ID, "r4", wire.Done)
	settle(t, l, second.ID, "r4", wire.Released) // too late: it was done
	_, err = l.Reserve(ctx, childUse(t, clock, "c1", "r6", 1, 1))
	refuses(t, err, agentid.KindForbidden, "uses_exhausted")

	// Many children at once share what the parent has left.
	var wins atomic.Int64
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			_, err := l.Reserve(ctx, childUse(t, clock, fmt.Sprintf("c%d", i+10), fmt.Sprintf("x%d", i), 2, 6))
			if err == nil {
				wins.Add(1)
			} else if agentid.ReasonOf(err) != "uses_exhausted" {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int64(5), wins.Load())
}
