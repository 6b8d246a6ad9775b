package drive

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/loadtest/openloop"
	"github.com/agentid-dev/agentid/loadtest/scenario"
)

// Target is what a scenario is carried out against.
type Target struct {
	Name     string // "local", or a URL
	Callers  []*Caller
	HTTP     *http.Client
	Observe  func() (Reading, error) // nil: nothing of the server can be read
	Progress func(string)
}

// Reading is what the processes have used so far, and the server's size now.
type Reading struct {
	Server, Upstream, Client time.Duration
	Resident                 int64
	Goroutines               int
}

// Points runs the steps of one scenario at one value of what it varies.
func Points(ctx context.Context, s scenario.Scenario, t *Target, value int) ([]Point, error) {
	for _, c := range t.Callers {
		c.prepare(t.HTTP)
	}
	if err := warm(ctx, s, t); err != nil {
		return nil, err
	}
	pick := schedule(s.Mix)
	var sequence int64
	send := func(ctx context.Context, rate int, d time.Duration) (*openloop.Result, error) {
		first := sequence
		result, err := openloop.Run(ctx, openloop.Config{
			Rate: float64(rate), Burst: s.Burst, Duration: d, Tick: t.tick(rate, d),
			Do: func(ctx context.Context, n int64) openloop.Outcome {
				n += first
				turn := int(n) / len(pick) // moves on, so that every agent comes to every operation
				return t.Callers[(int(n)+turn)%len(t.Callers)].do(ctx, pick[int(n)%len(pick)], n)
			},
		})
		if err == nil {
			sequence += result.Sent + result.Dropped
		}
		return result, err //nolint:wrapcheck // validated
	}
	if s.Warmup > 0 {
		if _, err := send(ctx, s.Rates[0], s.Warmup); err != nil {
			return nil, err
		}
	}
	var points []Point
	for _, rate := range s.Rates {
		watch, err := t.watch(ctx, s.Step)
		if err != nil {
			return points, err
		}
		load, err := send(ctx, rate, s.Step)
		cpu, memory, werr := watch(load)
		if err != nil || werr != nil {
			return points, fmt.Errorf("at %d per second: %w", rate, first(err, werr))
		}
		points = append(points, Point{Value: value, Rate: rate, Load: load, CPU: cpu, Memory: memory})
		if ctx.Err() != nil {
			return points, ctx.Err() //nolint:wrapcheck // the caller's
		}
	}
	return points, nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// schedule spreads the operations of a mix evenly over its weight (smooth weighted
// round robin).
func schedule(mix []scenario.Share) []string {
	total := 0
	for _, m := range mix {
		total += m.Weight
	}
	current := make([]int, len(mix))
	out := make([]string, 0, total)
	for range total {
		best := 0
		for i, m := range mix {
			current[i] += m.Weight
			if current[i] > current[best] {
				best = i
			}
		}
		current[best] -= total
		out = append(out, mix[best].Do)
	}
	return out
}

const warmers = 8

// warm gets the tokens: one for each caller, and with fresh tokens one for each request.
func warm(ctx context.Context, s scenario.Scenario, t *Target) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(warmers)
	for _, c := range t.Callers {
		group.Go(func() error {
			_, err := c.source.Token(gctx)
			return err //nolint:wrapcheck // said below
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("get a token: %w", err)
	}
	if s.Tokens.Reuse != scenario.ReuseFresh {
		return nil
	}
	return t.fill(ctx, need(s))
}

// need is how many requests the scenario sends, and with fresh tokens how many it takes.
func need(s scenario.Scenario) int {
	n := float64(s.Rates[0]) * s.Warmup.Seconds()
	for _, r := range s.Rates {
		n += float64(r) * s.Step.Seconds()
	}
	const slack = 100
	return int(n) + slack
}

// maxPool bounds the tokens that are minted beforehand.
const maxPool = 200_000

func (t *Target) fill(ctx context.Context, n int) error {
	if n > maxPool {
		return agentid.Invalidf("rates", "with fresh tokens a run sends at most %d requests, and this one %d", maxPool, n)
	}
	each := n/len(t.Callers) + 1
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(warmers)
	for i, c := range t.Callers {
		group.Go(func() error {
			pool := make([]client.Token, 0, each)
			for range each {
				token, err := c.source.Fresh(gctx)
				if err != nil {
					return fmt.Errorf("mint tokens beforehand: %w", err)
				}
				pool = append(pool, token)
			}
			c.pool = pool
			t.say("minted the tokens of %d of %d agents", i+1, len(t.Callers))
			return nil
		})
	}
	return group.Wait() //nolint:wrapcheck // says what failed
}

func (t *Target) say(format string, args ...any) {
	if t.Progress != nil {
		t.Progress(fmt.Sprintf(format, args...))
	}
}

func (t *Target) tick(rate int, of time.Duration) func(openloop.Progress) {
	if t.Progress == nil {
		return nil
	}
	return func(p openloop.Progress) {
		t.say("%d/s: %s of %s, %d answered, %d not as expected, %d under way",
			rate, p.Elapsed.Round(time.Second), of, p.Done, p.Fail, p.InFlight)
	}
}
