package embedded_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

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

// BenchmarkColdOverGRPC is one full decision on a refund, nothing remembered, by the
// checker in this process and by SpiceDB's bulk check over gRPC in memory, over one graph
// in turns: how many times as fast, by time and by processor time.
func BenchmarkColdOverGRPC(b *testing.B) {
	for _, depth := range []int{0, policy.MaxDepth} {
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			e := startEngine(b)
			w := policytest.NewWorld(b, policytest.Graph{Checker: e.Checker(), Permissions: e.Permissions(), Schema: e.Schema()}, "bench", depth)
			grpc, err := remote.New(remote.Config{Permissions: e.Permissions()})
			require.NoError(b, err)
			var deciders [2]*policy.Decider
			for i, checker := range []policy.Checker{e.Checker(), grpc} {
				deciders[i], err = policy.New(policy.Config{Checker: checker})
				require.NoError(b, err)
			}
			var took, used [2]time.Duration
			for b.Loop() {
				for _, i := range []int{0, 1, 1, 0} {
					begun, before := time.Now(), ownCPU(b)
					if _, err := deciders[i].Decide(b.Context(), w.Question()); err != nil {
						b.Fatal(err)
					}
					took[i] += time.Since(begun)
					used[i] += ownCPU(b) - before
				}
			}
			b.ReportMetric(float64(took[1])/float64(took[0]), "times-as-fast")
			b.ReportMetric(float64(used[1])/float64(used[0]), "times-less-CPU")
			b.ReportMetric(float64(took[0].Microseconds())/float64(2*b.N), "µs/ours")
			b.ReportMetric(float64(took[1].Microseconds())/float64(2*b.N), "µs/grpc")
		})
	}
}

// ownCPU is what this process has used so far.
func ownCPU(b *testing.B) time.Duration {
	b.Helper()
	var r unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
