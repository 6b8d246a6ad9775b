package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/agentid-dev/agentid/loadtest/drive"
)

// runSection shows a run: what came back, how fast, and what it cost.
func runSection(r *drive.Result) section {
	s := section{
		Title: r.Scenario.Name, About: r.Scenario.About, Faults: r.Faults,
		Facts: append(facts(r.Machine, r.Version, r.Started), "target: "+r.Target, "tokens: "+r.Scenario.Binding+", "+r.Scenario.Reuse),
	}
	if r.Scenario.Over != "" {
		s.Figures = append(s.Figures, slopes(r)...)
	} else {
		s.Figures = append(s.Figures, latencyOverRate(r), percentiles(r), costOverRate(r))
	}
	if f, ok := sizes(r); ok {
		s.Figures = append(s.Figures, f...)
	}
	s.Tables = append(s.Tables, steps(r), operations(r))
	return s
}

// latencyOverRate is throughput against latency: flat, then a knee.
func latencyOverRate(r *drive.Result) figure {
	c := chart{x: "answers per second", y: "milliseconds", logY: true}
	for _, q := range []struct {
		name string
		of   func(drive.Point) int64
	}{
		{"99.9th percentile", func(p drive.Point) int64 { return p.Load.All.Latency.P999 }},
		{"99th", func(p drive.Point) int64 { return p.Load.All.Latency.P99 }},
		{"median", func(p drive.Point) int64 { return p.Load.All.Latency.P50 }},
	} {
		l := series{name: q.name}
		for _, p := range r.Points {
			l.points = append(l.points, [2]float64{p.Load.Throughput(), float64(q.of(p)) / 1000})
		}
		c.lines = append(c.lines, l)
	}
	return figure{
		Title: "Latency as the load grows", Drawing: c.draw(),
		Note: "From the moment each request was meant to be sent. A line that turns upward is the limit of the machine.",
	}
}

// nines places percentiles so that each nine gets as much room as the one before.
func nines(percentile float64) float64 { return -math.Log10(1 - min(percentile, 99.995)/100) }

func percentiles(r *drive.Result) figure {
	c := chart{x: "percentile", y: "milliseconds", logY: true, xTicks: []tick{
		{nines(0), "0"}, {nines(50), "50"}, {nines(90), "90"}, {nines(99), "99"}, {nines(99.9), "99.9"}, {nines(99.99), "99.99"},
	}}
	for _, p := range r.Points {
		l := series{name: fmt.Sprintf("%d/s", p.Rate)}
		for _, at := range p.Load.All.Latency.Curve {
			l.points = append(l.points, [2]float64{nines(at[0]), at[1] / 1000})
		}
		c.lines = append(c.lines, l)
	}
	return figure{Title: "Percentiles at each rate", Drawing: c.draw(), Note: "Each nine gets the same room, so that the tail can be seen."}
}

func costOverRate(r *drive.Result) figure {
	c := chart{x: "answers per second", y: "CPU seconds per 1,000 requests", fromZero: true}
	l := series{name: "server"}
	for _, p := range r.Points {
		if p.CPU != nil {
			l.points = append(l.points, [2]float64{p.Load.Throughput(), p.CPU.ServerPerThousand})
		}
	}
	c.lines = []series{l}
	return figure{Title: "What 1,000 requests cost", Drawing: c.draw(), Note: "CPU of the server's processes, as the system counts it. Flat is good: no request makes another dearer."}
}

// slopes are cost and latency over what was varied.
func slopes(r *drive.Result) []figure {
	cost := chart{x: r.Scenario.Over, y: "CPU seconds per 1,000 requests", fromZero: true, logX: wide(r)}
	latency := chart{x: r.Scenario.Over, y: "milliseconds", fromZero: true, logX: wide(r)}
	c, p50, p99 := series{name: "server"}, series{name: "median"}, series{name: "99th percentile"}
	for _, p := range r.Points {
		x := float64(p.Value)
		cost.xTicks = append(cost.xTicks, tick{x, fmt.Sprint(p.Value)})
		if p.CPU != nil {
			c.points = append(c.points, [2]float64{x, p.CPU.ServerPerThousand})
		}
		p50.points = append(p50.points, [2]float64{x, float64(p.Load.All.Latency.P50) / 1000})
		p99.points = append(p99.points, [2]float64{x, float64(p.Load.All.Latency.P99) / 1000})
	}
	latency.xTicks = cost.xTicks
	cost.lines, latency.lines = []series{c}, []series{p99, p50}
	note := ""
	if n := len(c.points); n > 1 && c.points[0][1] > 0 {
		note = fmt.Sprintf("At %s %s a request costs %.2f times what it costs at %s.", r.Scenario.Over, number(c.points[n-1][0]), c.points[n-1][1]/c.points[0][1], number(c.points[0][0]))
	}
	return []figure{
		{Title: "Slope of the cost over " + r.Scenario.Over, Drawing: cost.draw(), Note: note},
		{Title: "Latency over " + r.Scenario.Over, Drawing: latency.draw()},
	}
}

// wide reports whether values span more than a factor of 20.
func wide(r *drive.Result) bool {
	const factor = 20
	n := len(r.Points)
	return n > 1 && r.Points[n-1].Value > factor*max(1, r.Points[0].Value)
}

// sizes are memory and goroutines over time, for steps that were long enough.
func sizes(r *drive.Result) ([]figure, bool) {
	const enough = 9
	note := ""
	memory := chart{x: "seconds", y: "MiB resident", fromZero: true}
	routines := chart{x: "seconds", y: "goroutines", fromZero: true}
	for _, p := range r.Points {
		if len(p.Memory) < enough {
			continue
		}
		name := fmt.Sprintf("%d/s", p.Rate)
		if r.Scenario.Over != "" {
			name = fmt.Sprintf("%s %d", r.Scenario.Over, p.Value)
		}
		m, g := series{name: name}, series{name: name}
		for _, at := range p.Memory {
			m.points = append(m.points, [2]float64{at.Seconds, float64(at.Resident) / (1 << 20)})
			g.points = append(g.points, [2]float64{at.Seconds, float64(at.Goroutines)})
		}
		memory.lines, routines.lines = append(memory.lines, m), append(routines.lines, g)
		if resident, _, ok := p.Slopes(); ok {
			const mib = 1 << 20
			note += fmt.Sprintf(" %s: %+.1f ± %.1f MiB per hour over its second half.", name, resident.PerHour/mib, resident.StdErr/mib)
		}
	}
	if len(memory.lines) == 0 {
		return nil, false
	}
	return []figure{
		{Title: "Memory of the server", Drawing: memory.draw(), Note: "Resident set of its processes within each step. Flat is good." + note},
		{Title: "Goroutines of the server", Drawing: routines.draw()},
	}, true
}

func steps(r *drive.Result) table {
	t := table{Title: "Steps", Head: []string{"rate", "answered", "not as expected", "not sent", "p50 ms", "p90", "p99", "p99.9", "max", "CPU s / 1,000", "sent late, p99 ms"}}
	if r.Scenario.Over != "" {
		t.Head = append([]string{r.Scenario.Over}, t.Head...)
	}
	for _, p := range r.Points {
		l, cpu := p.Load.All.Latency, "–"
		if p.CPU != nil {
			cpu = fmt.Sprintf("%.3f", p.CPU.ServerPerThousand)
		}
		row := []cell{
			text("%d/s", p.Rate), text("%d", p.Load.All.Count), bad(p.Load.All.Failed), bad(p.Load.Dropped),
			text("%s", ms(l.P50)), text("%s", ms(l.P90)), text("%s", ms(l.P99)), text("%s", ms(l.P999)), text("%s", ms(l.Max)), text("%s", cpu), text("%s", ms(p.Load.Lateness.P99)),
		}
		if r.Scenario.Over != "" {
			row = append([]cell{text("%d", p.Value)}, row...)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func bad(n int64) cell {
	if n > 0 {
		return cell{fmt.Sprint(n), "bad"}
	}
	return cell{"0", "good"}
}

// operations is what came of each operation, over all steps.
func operations(r *drive.Result) table {
	t := table{Title: "Outcomes", Head: []string{"operation", "outcome", "count"}}
	type key struct{ op, class string }
	counts := map[key]int64{}
	for _, p := range r.Points {
		for op, o := range p.Load.Ops {
			for class, n := range o.Classes {
				counts[key{op, class}] += n
			}
		}
	}
	keys := make([]key, 0, len(counts))
	for k := range counts {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		if a.op != b.op {
			return strings.Compare(a.op, b.op)
		}
		return strings.Compare(a.class, b.class)
	})
	for _, k := range keys {
		t.Rows = append(t.Rows, []cell{text("%s", k.op), text("%s", k.class), text("%d", counts[k])})
	}
	return t
}
