package freshness_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/wire"
)

// anyone grants everything, so that memory is filled fast.
type anyone struct{}

func (anyone) CheckBulk(_ context.Context, _ agentid.Zookie, checks []policy.Check) (agentid.Zookie, []policy.Answer, error) {
	answers := make([]policy.Answer, len(checks))
	for i, c := range checks {
		answers[i] = policy.Answer{Check: c, Verdict: policy.VerdictYes, Expires: policy.Never}
	}
	return "z1", answers, nil
}

// BenchmarkRevoke is what a revocation of an agent, and of a whole tenant, costs a gateway
// that remembers so many answers: the same, however many they are.
func BenchmarkRevoke(b *testing.B) {
	for _, kept := range []int{1_000, 1_000_000} {
		v := freshness.New(freshness.Config{})
		v.Standing()
		require.NoError(b, v.Reset(wire.State{Incarnation: "i1"}))
		d, err := policy.New(policy.Config{Checker: anyone{}, Fresh: v, Memory: 4 << 30})
		require.NoError(b, err)
		for i := range kept {
			agent := must(agentid.AgentRef("acme", "a"+strconv.Itoa(i)))
			_, err := d.Decide(b.Context(), policy.Question{
				Stage: policy.StageLive, Lineage: []policy.Member{{Agent: agent}}, Principal: principal, Tokens: []agentid.Ref{token},
			})
			if i == 0 { // a token that everyone says is revoked is not asked about while warm
				require.NoError(b, err)
			}
		}
		d.Settle()
		require.GreaterOrEqual(b, d.Stats().Kept, kept*9/10)
		seq := uint64(0)
		for name, target := range map[string]agentid.Ref{"agent": leaf, "tenant": tenant} {
			b.Run(fmt.Sprintf("%s/kept=%d", name, kept), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					for _, e := range []wire.Event{
						{Kind: wire.EventDeny, Epoch: 1, Denials: []wire.Denial{{Target: target, Epoch: 1}}},
						{Kind: wire.EventSettled, Epoch: 1, Raise: []agentid.Ref{target}, Lift: []agentid.Ref{target}, Zookie: "z2"},
					} {
						seq++
						e.Seq = seq
						if _, err := v.Apply(e); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}
