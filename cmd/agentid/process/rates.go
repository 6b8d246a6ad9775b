package process

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/agentid-dev/agentid/internal/config"
	"github.com/agentid-dev/agentid/internal/wire"
)

// rated is a wire.Fleet whose connectors have the configured rates where they set none.
type rated struct {
	wire.Fleet
	rates  config.Rates
	latest atomic.Pointer[ratedList]
}

// ratedList is a list of the fleet's, and that with the rates.
type ratedList struct{ from, to []wire.Connector }

// Connectors implements wire.Fleet.
func (r *rated) Connectors(ctx context.Context) ([]wire.Connector, error) {
	list, err := r.Fleet.Connectors(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // passed through
	}
	if known := r.latest.Load(); known != nil && wire.SameList(known.from, list) {
		return known.to, nil
	}
	all := slices.Clone(list)
	for i := range all {
		c := &all[i].Rates
		for _, d := range []struct {
			value    *int
			fallback int
		}{
			{&c.TokenPerMinute, r.rates.TokenPerMinute},
			{&c.TokenBurst, r.rates.TokenBurst},
			{&c.AgentPerMinute, r.rates.AgentPerMinute},
			{&c.AgentBurst, r.rates.AgentBurst},
		} {
			if *d.value == 0 {
				*d.value = d.fallback
			}
		}
	}
	r.latest.Store(&ratedList{list, all})
	return all, nil
}
