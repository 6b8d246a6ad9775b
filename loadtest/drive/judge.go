package drive

import (
	"fmt"
	"slices"
	"time"

	"github.com/agentid-dev/agentid/loadtest/scenario"
)

// tooLate is a schedule that the client itself did not keep: its figures say more about
// the client than about the server.
const tooLate = 50 * time.Millisecond

// Judge lists why a run failed, in words; nothing: it did not.
func Judge(s scenario.Scenario, points []Point) []string {
	var faults []string
	for _, p := range points {
		at := fmt.Sprintf("at %d per second", p.Rate)
		if s.Vary.Over != "" {
			at = fmt.Sprintf("with %s = %d, %s", s.Vary.Over, p.Value, at)
		}
		if n := p.Load.All.Failed; n > int64(s.Expect.MaxFailed) {
			faults = append(faults, fmt.Sprintf("%s: %d of %d were not answered as they must be: %s", at, n, p.Load.All.Count, worst(p)))
		}
		if n := p.Load.Dropped; n > int64(s.Expect.MaxDropped) && s.Expect.MaxDropped > 0 {
			faults = append(faults, fmt.Sprintf("%s: %d arrivals could not be sent", at, n))
		}
		if late := time.Duration(p.Load.Lateness.P99) * time.Microsecond; late > tooLate {
			faults = append(faults, fmt.Sprintf("%s: the client sent %s late (99th percentile): it was saturated, and the figures are not the server's", at, late))
		}
		if grown, ok := growth(p.Memory); ok && s.Expect.MemoryGrowthPct > 0 && grown > s.Expect.MemoryGrowthPct {
			faults = append(faults, fmt.Sprintf("%s: the server grew by %d %% from the second third to the last", at, grown))
		}
	}
	if len(points) > 0 && s.Expect.P99 > 0 {
		if p99 := time.Duration(points[0].Load.All.Latency.P99) * time.Microsecond; p99 > s.Expect.P99 {
			faults = append(faults, fmt.Sprintf("at %d per second: the 99th percentile is %s, above %s", points[0].Rate, p99, s.Expect.P99))
		}
	}
	return faults
}

// worst is the most frequent outcome that was not as expected.
func worst(p Point) string {
	type counted struct {
		class string
		n     int64
	}
	var all []counted
	for op, o := range p.Load.Ops {
		for class, n := range o.Classes {
			if class != "ok" && o.Failed > 0 {
				all = append(all, counted{op + ": " + class, n})
			}
		}
	}
	slices.SortFunc(all, func(a, b counted) int { return int(b.n - a.n) })
	if len(all) == 0 {
		return "no answer"
	}
	return fmt.Sprintf("%s (%d)", all[0].class, all[0].n)
}

// growth is by how many per cent the resident set's median grew from the second third of
// a step to the last: the first third fills caches.
func growth(m []Memory) (percent int, ok bool) {
	const enough = 9
	if len(m) < enough {
		return 0, false
	}
	third := len(m) / 3
	median := func(part []Memory) int64 {
		sizes := make([]int64, len(part))
		for i, x := range part {
			sizes[i] = x.Resident
		}
		slices.Sort(sizes)
		return sizes[len(sizes)/2]
	}
	early, late := median(m[third:2*third]), median(m[2*third:])
	if early <= 0 {
		return 0, false
	}
	return int((late - early) * 100 / early), true
}
