package revocation_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/wire"
	"github.com/agentid-dev/agentid/server/fleet/hub"
)

// quick is a gateway that acts at once.
type quick struct{}

func (quick) Apply(wire.Event) (wire.Applied, error) { return wire.Applied{}, nil }
func (quick) Reset(wire.State) error                 { return nil }

// BenchmarkRevokeFanOut is a whole revocation of a token, over a ledger and a graph on
// disk, while so many gateways are subscribed that act and acknowledge at once. The
// fleets take turns, so that a disk that slows down slows all; times-one is the median of
// each over that of one gateway.
func BenchmarkRevokeFanOut(b *testing.B) {
	fleets := []int{1, 10, 100, 1000}
	rigs := make([]*rig, len(fleets))
	took := make([][]time.Duration, len(fleets))
	for i, n := range fleets {
		rigs[i] = newRig(b, func(c *hub.Config) { c.Lease = time.Hour })
		for range n {
			s, err := rigs[i].hub.Subscribe("gw", quick{}, hub.Leased)
			require.NoError(b, err)
			b.Cleanup(s.Close)
			_, err = s.Renew()
			require.NoError(b, err)
		}
	}
	round := 0
	for b.Loop() {
		round++
		for i, r := range rigs {
			ref := r.issue(b, "t"+strconv.Itoa(round))
			begun := time.Now()
			receipt, err := r.revoker.Revoke(b.Context(), ref, "bench", "op")
			took[i] = append(took[i], time.Since(begun))
			if err != nil || receipt.Acknowledged != fleets[i] {
				b.Fatal(receipt, err)
			}
		}
	}
	one := median(took[0])
	for i, n := range fleets {
		m := median(took[i])
		b.ReportMetric(float64(m.Microseconds()), fmt.Sprintf("p50-µs/%d", n))
		b.ReportMetric(float64(m)/float64(one), fmt.Sprintf("times-one/%d", n))
	}
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
