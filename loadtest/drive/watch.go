package drive

import (
	"context"
	"sync"
	"time"

	"github.com/agentid-dev/agentid/loadtest/openloop"
)

// samples is how often the server's size is read in one step: enough for a slope over the
// half of them.
const samples = 120

// watch reads the processes from now until the returned function is called.
func (t *Target) watch(ctx context.Context, step time.Duration) (func(*openloop.Result) (*CPU, []Memory, error), error) {
	if t.Observe == nil {
		return func(*openloop.Result) (*CPU, []Memory, error) { return nil, nil, nil }, nil
	}
	before, err := t.Observe()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	ctx, stop := context.WithCancel(ctx)
	var (
		memory  []Memory
		sampler sync.WaitGroup
	)
	sampler.Go(func() {
		ticker := time.NewTicker(max(step/samples, 200*time.Millisecond))
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if r, err := t.Observe(); err == nil {
					memory = append(memory, Memory{time.Since(start).Seconds(), r.Resident, r.Goroutines})
				}
			}
		}
	})
	return func(load *openloop.Result) (*CPU, []Memory, error) {
		stop()
		sampler.Wait()
		after, err := t.Observe()
		if err != nil || load == nil {
			return nil, memory, err
		}
		cpu := &CPU{
			Server:   (after.Server - before.Server).Seconds(),
			Upstream: (after.Upstream - before.Upstream).Seconds(),
			Client:   (after.Client - before.Client).Seconds(),
		}
		if n := load.All.Count; n > 0 {
			cpu.ServerPerThousand = cpu.Server / float64(n) * 1000
		}
		return cpu, memory, nil
	}, nil
}
