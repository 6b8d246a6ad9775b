package process

import (
	"context"

	"github.com/agentid-dev/agentid/internal/config"
	"github.com/agentid-dev/agentid/internal/wire"
)

// rated is a wire.Fleet whose connectors have the configured rates where they set none.
type rated struct {
	wire.Fleet
	rates config.Rates
}

// Connectors implements wire.Fleet.
func (r rated) Connectors(ctx context.Context) ([]wire.Connector, error) {
	all, err := r.Fleet.Connectors(ctx)
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
	return all, err //nolint:wrapcheck // passed through
}
