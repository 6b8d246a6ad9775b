package process

import (
	"context"
	"fmt"

	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/gateway/sampler"
	"github.com/agentid-dev/agentid/internal/policy"
	"github.com/agentid-dev/agentid/internal/policy/revision"
	"github.com/agentid-dev/agentid/server/fleet/hub"
)

// makeMemory makes what decides in this process, and remembers: the broker's introspection
// and issuance, and the gateway where there is one. It hears of changes by function call,
// so that what it remembers needs no lease.
func (p *Process) makeMemory(context.Context) error {
	order := revision.New()
	p.view = freshness.New(freshness.Config{Now: p.opts.Now, Order: order})
	p.view.Standing()
	name, lease := "gateway", hub.Standing
	if p.opts.Apart {
		name, lease = "broker", hub.Own
	}
	if _, err := p.hub.Load().Subscribe(name, p.view, lease); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	samples, err := sampler.New(sampler.Config{Logger: p.component("sampler"), Metrics: p.registry})
	if err != nil {
		return fmt.Errorf("sampler: %w", err)
	}
	p.decider, err = policy.New(policy.Config{
		Checker: p.engine.Checker(), Now: p.opts.Now, Fresh: p.view, Order: order, Sample: samples.Offer, Issuing: p.engine.Answers,
	})
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	p.sample = func(ctx context.Context) { samples.Run(ctx, p.decider) }
	return nil
}
