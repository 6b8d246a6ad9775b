package embedded_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/policytest"
	"github.com/agentid-dev/agentid/internal/policy/remote"
)

// BenchmarkDecide is one full decision on a refund, nothing cached, over graphstore: by
// the checker in this process, and by CheckBulkPermissions over gRPC in memory.
func BenchmarkDecide(b *testing.B) {
	for _, depth := range []int{0, 1, 8, policy.MaxDepth} {
		e := startEngine(b)
		g := policytest.Graph{Checker: e.Checker(), Permissions: e.Permissions(), Schema: e.Schema()}
		w := policytest.NewWorld(b, g, "bench", depth)
		grpc, err := remote.New(remote.Config{Permissions: e.Permissions()})
		require.NoError(b, err)
		for name, checker := range map[string]policy.Checker{"embedded": e.Checker(), "grpc": grpc} {
			d, err := policy.New(policy.Config{Checker: checker})
			require.NoError(b, err)
			b.Run(fmt.Sprintf("%s/depth=%d", name, depth), func(b *testing.B) { decide(b, d, w.Question()) })
			b.Run(fmt.Sprintf("%s-parallel/depth=%d", name, depth), func(b *testing.B) { decideParallel(b, d, w.Question()) })
		}
	}
}

func decide(b *testing.B, d *policy.Decider, q policy.Question) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decide(b.Context(), q); err != nil {
			b.Fatal(err)
		}
	}
}

func decideParallel(b *testing.B, d *policy.Decider, q policy.Question) {
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := d.Decide(b.Context(), q); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
