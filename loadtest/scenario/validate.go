package scenario

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Bounds on a scenario. They keep a slip of the pen from filling a disk.
const (
	maxRate    = 200_000
	maxStep    = 24 * time.Hour
	maxTenants = 1000
	maxAgents  = 10_000
	maxDepth   = 32
	maxWeight  = 1000
	maxBurst   = 100_000
	maxValues  = 16
)

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// fault is a message about a key.
type fault struct{ key, message string }

type judge struct{ all []fault }

func (j *judge) add(key, format string, args ...any) {
	j.all = append(j.all, fault{key, fmt.Sprintf(format, args...)})
}

func (j *judge) upTo(key string, n, high int) {
	if n < 1 || n > high {
		j.add(key, "must be from 1 to %d", high)
	}
}

func (j *judge) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		j.add(key, "must be one of %s", strings.Join(allowed, ", "))
	}
}

// faults is everything that is wrong, in the order of the format.
func (s *Scenario) faults() []fault {
	j := &judge{}
	if !namePattern.MatchString(s.Name) {
		j.add("name", "is required: lower-case letters, digits and hyphens")
	}
	if s.About == "" {
		j.add("about", "is required: one sentence on what the load is")
	}
	j.upTo("world.tenants", s.World.Tenants, maxTenants)
	j.upTo("world.agents", s.World.Agents, maxAgents)
	j.upTo("world.depth", s.World.Depth, maxDepth)
	j.oneOf("tokens.binding", s.Tokens.Binding, BindingDPoP, BindingBearer)
	j.oneOf("tokens.reuse", s.Tokens.Reuse, ReuseWarm, ReuseFresh)
	s.load(j)
	s.vary(j)
	for key, n := range map[string]int{
		"expect.max_failed": s.Expect.MaxFailed, "expect.max_dropped": s.Expect.MaxDropped, "expect.memory_growth_pct": s.Expect.MemoryGrowthPct,
	} {
		if n < 0 {
			j.add(key, "must not be negative")
		}
	}
	if s.Expect.P99 < 0 {
		j.add("expect.p99", "must not be negative")
	}
	return j.all
}

func (s *Scenario) load(j *judge) {
	if len(s.Mix) == 0 {
		j.add("mix", "is required: a list of operations, such as {do: read, weight: 9}")
	}
	seen := map[string]bool{}
	for i, m := range s.Mix {
		key := fmt.Sprintf("mix[%d]", i)
		j.oneOf(key+".do", m.Do, OpRead, OpDenied, OpPreview, OpRefund, OpMint, OpIntrospect, OpRevoke)
		j.upTo(key+".weight", m.Weight, maxWeight)
		if seen[m.Do] {
			j.add(key+".do", "is named twice")
		}
		seen[m.Do] = true
	}
	if len(s.Rates) == 0 {
		j.add("rates", "is required: arrivals per second, one step each")
	}
	for i, r := range s.Rates {
		j.upTo(fmt.Sprintf("rates[%d]", i), r, maxRate)
	}
	if s.Step < 100*time.Millisecond || s.Step > maxStep {
		j.add("step", "is required: from 100ms to 24h")
	}
	if s.Warmup < 0 || s.Warmup > time.Hour {
		j.add("warmup", "must be from 0s to 1h")
	}
	j.upTo("burst", s.Burst, maxBurst)
}

func (s *Scenario) vary(j *judge) {
	if s.Vary.Over == "" && len(s.Vary.Values) == 0 {
		return
	}
	j.oneOf("vary.over", s.Vary.Over, OverDepth, OverAgents, OverTenants)
	if len(s.Vary.Values) < 2 || len(s.Vary.Values) > maxValues {
		j.add("vary.values", "must hold 2 to %d values", maxValues)
	}
	high := map[string]int{OverDepth: maxDepth, OverAgents: maxAgents, OverTenants: maxTenants}[s.Vary.Over]
	for i, v := range s.Vary.Values {
		j.upTo(fmt.Sprintf("vary.values[%d]", i), v, max(high, 1))
	}
}
