package compare

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/agentid-dev/agentid/loadtest/proc"
)

// workload is one kind of request, and the stacks that are measured with it.
type workload struct {
	name    string
	clients int
	entries []entry // the baseline first
}

// entry is one stack under a workload.
type entry struct {
	stack *stack
	as    string // what it is called in this workload; empty: by the stack's name
	addr  string // other than the stack's own; empty: that
	// requests gives n requests; with once each may be sent one time only.
	requests func(ctx context.Context, n int) ([][]byte, error)
	once     bool
	aim      float64 // the least throughput ratio; zero: none
	mostCPU  float64
}

func (e entry) name() string { return cmp.Or(e.as, e.stack.name) }

// bench measures workloads in turns.
type bench struct {
	rounds   int
	slice    time.Duration
	upstream *proc.Process
	say      func(string, ...any)
	profiles string // folder; empty: none are taken
}

// state is what is gathered of one entry.
type state struct {
	entry
	rounds  []Round
	latency *hdr.Histogram
	perSec  float64 // of the last slice, to know how many requests to make
}

// run measures one workload: a warm-up of each entry, then the rounds there and back.
func (b *bench) run(ctx context.Context, w workload) ([]Cell, error) {
	states := make([]*state, len(w.entries))
	for i, e := range w.entries {
		states[i] = &state{entry: e, latency: hdr.New(1, int64(time.Minute/time.Microsecond), 3)}
		if err := b.one(ctx, w, states[i], b.slice/2, nil); err != nil {
			return nil, fmt.Errorf("%s, %s: %w", w.name, e.name(), err)
		}
		states[i].latency.Reset()
	}
	for round := range b.rounds {
		sums := make([]Round, len(states))
		for _, i := range thereAndBack(len(states)) {
			if err := b.one(ctx, w, states[i], b.slice, &sums[i]); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", w.name, states[i].name(), err)
			}
		}
		for i, s := range states {
			s.rounds = append(s.rounds, sums[i])
		}
		b.say("%s: round %d of %d: %s", w.name, round+1, b.rounds, inOneLine(states))
	}
	for _, s := range states {
		if err := b.profile(ctx, w, s); err != nil {
			return nil, fmt.Errorf("%s, %s: profile: %w", w.name, s.name(), err)
		}
	}
	cells := make([]Cell, len(states))
	for i, s := range states {
		cells[i] = s.cell(w, states[0])
	}
	return cells, nil
}

// thereAndBack is A B C C B A.
func thereAndBack(n int) []int {
	var out []int
	for i := range n {
		out = append(out, i)
	}
	for i := range n {
		out = append(out, n-1-i)
	}
	return out
}

// guess is how many requests a first slice may need, per second.
const guess = 4000

// one is one slice. Requests are made before the clock starts.
func (b *bench) one(ctx context.Context, w workload, s *state, d time.Duration, into *Round) error {
	perSecond := s.perSec * 1.5
	if perSecond == 0 {
		perSecond = guess
	}
	requests, err := s.requests(ctx, int(perSecond*d.Seconds())+w.clients)
	if err != nil {
		return fmt.Errorf("make requests: %w", err)
	}
	before, err := b.read(s.stack)
	if err != nil {
		return err
	}
	fired, err := wire{cmp.Or(s.addr, s.stack.addr), w.clients, 200}.fire(ctx, d, requests, s.once)
	if err != nil {
		return err
	}
	after, err := b.read(s.stack)
	if err != nil {
		return err
	}
	if fired.requests == 0 {
		return fmt.Errorf("none answered rightly, %d not: %w", fired.failed, fired.first)
	}
	s.perSec = float64(fired.requests) / fired.took.Seconds()
	s.latency.Merge(fired.latency)
	if into != nil {
		into.Requests += fired.requests
		into.Failed += fired.failed
		into.Seconds += fired.took.Seconds()
		into.Stack += (after[0] - before[0]).Seconds()
		into.Upstream += (after[1] - before[1]).Seconds()
		into.Client += (after[2] - before[2]).Seconds()
	}
	return nil
}

// read is the CPU of stack, upstream and client so far.
func (b *bench) read(s *stack) (out [3]time.Duration, err error) {
	if out[0], err = s.used(); err != nil {
		return out, fmt.Errorf("%s: %w", s.name, err)
	}
	up, err := b.upstream.Usage()
	if err != nil {
		return out, fmt.Errorf("upstream: %w", err)
	}
	self, err := proc.Self()
	out[1], out[2] = up.CPU, self.CPU
	return out, err //nolint:wrapcheck // says what failed
}

func inOneLine(states []*state) string {
	text := ""
	for _, s := range states {
		r := s.rounds[len(s.rounds)-1]
		text += fmt.Sprintf("%s %.0f/s %.0f µs CPU  ", s.name(), float64(r.Requests)/r.Seconds, r.Stack/float64(r.Requests)*1e6)
	}
	return text
}

// cell is the arithmetic of one entry: ratios are taken within each round, and their
// median is given with its extremes.
func (s *state) cell(w workload, base *state) Cell {
	c := Cell{Workload: w.name, Stack: s.name(), Clients: w.clients, Rounds: s.rounds, Aim: s.aim, MostCPU: s.mostCPU}
	perSecond := func(r Round) float64 { return float64(r.Requests) / r.Seconds }
	cpu := func(r Round) float64 { return r.Stack / float64(r.Requests) }
	c.PerSecond = spread(s.rounds, perSecond)
	c.CPUMicros = spread(s.rounds, func(r Round) float64 { return cpu(r) * 1e6 })
	c.PerCPUSecond = spread(s.rounds, func(r Round) float64 { return 1 / max(cpu(r), 1e-9) })
	c.ClientShare = spread(s.rounds, func(r Round) float64 { return r.Client / max(r.Client+r.Stack+r.Upstream, 1e-9) }).Median
	c.ServerPerThou = c.CPUMicros.Median / 1000
	c.LatencyP50, c.LatencyP99 = s.latency.ValueAtQuantile(50), s.latency.ValueAtQuantile(99)
	if s == base {
		return c
	}
	c.Baseline = base.name()
	throughput := ratios(s.rounds, base.rounds, perSecond)
	used := ratios(s.rounds, base.rounds, cpu)
	c.Throughput, c.CPU = &throughput, &used
	return c
}

func spread(rounds []Round, of func(Round) float64) Spread {
	values := make([]float64, len(rounds))
	for i, r := range rounds {
		values[i] = of(r)
	}
	return median(values)
}

func ratios(over, under []Round, of func(Round) float64) Spread {
	values := make([]float64, len(over))
	for i := range over {
		values[i] = of(over[i]) / max(of(under[i]), 1e-12)
	}
	return median(values)
}

func median(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	slices.Sort(values)
	n := len(values)
	return Spread{Median: (values[(n-1)/2] + values[n/2]) / 2, Min: values[0], Max: values[n-1]}
}
