package report

import (
	"fmt"
	"slices"

	"github.com/agentid-dev/agentid/loadtest/compare"
)

// compareSection shows all stacks beside each other. Cells that lose are shown like those
// that win.
func compareSection(r *compare.Result) section {
	s := section{
		Title: "Side by side", Faults: r.Faults,
		About: "Every stack on loopback, measured in turns, there and back in each round. Bars are medians over the rounds, whiskers the least and the most.",
		Facts: append(facts(r.Machine, r.Version, r.Started), fmt.Sprintf("%d rounds of two slices of %g s", r.Rounds, r.Slice)),
	}
	s.Lead = append(s.Lead, aims(r), qualified(r))
	for _, w := range workloads(r) {
		s.Figures = append(s.Figures, workload(w, r)...)
	}
	if len(r.Versus) > 0 {
		s.Figures = append(s.Figures, against(r))
	}
	s.Tables = append(s.Tables, cells(r), stacks(r))
	return s
}

func workloads(r *compare.Result) []string {
	var out []string
	for _, c := range r.Cells {
		if !slices.Contains(out, c.Workload) {
			out = append(out, c.Workload)
		}
	}
	return out
}

func workload(name string, r *compare.Result) []figure {
	var ratio, cpu, per []bar
	var base compare.Cell
	aim, most := 0.0, 0.0
	for _, c := range r.Cells {
		if c.Workload != name {
			continue
		}
		if c.Baseline == "" {
			base = c
		}
		own := c.Stack != compare.StackBare && c.Baseline != "" && isOurs(c.Stack)
		over := bar{name: c.Stack, value: 1, label: fmt.Sprintf("1 = %s/s", number(c.PerSecond.Median)), ours: own}
		if c.Throughput != nil {
			aim = max(aim, c.Aim)
			over.value, over.low, over.high, over.aim = c.Throughput.Median, c.Throughput.Min, c.Throughput.Max, c.Aim
			over.missed = c.Aim > 0 && c.Throughput.Median < c.Aim
			over.label = fmt.Sprintf("%.2f = %s/s", c.Throughput.Median, number(c.PerSecond.Median))
		}
		ratio = append(ratio, over)
		used := bar{
			name: c.Stack, value: c.CPUMicros.Median, low: c.CPUMicros.Min, high: c.CPUMicros.Max, ours: own,
			label: number(c.CPUMicros.Median) + " µs",
		}
		if c.CPU != nil {
			used.label += fmt.Sprintf(" (%.2f×)", c.CPU.Median)
			used.aim, used.missed = c.MostCPU*base.CPUMicros.Median, c.MostCPU > 0 && c.CPU.Median > c.MostCPU
			most = max(most, c.MostCPU)
		}
		cpu = append(cpu, used)
		per = append(per, bar{
			name: c.Stack, value: c.PerCPUSecond.Median, low: c.PerCPUSecond.Min, high: c.PerCPUSecond.Max, ours: own,
			label: number(c.PerCPUSecond.Median),
		})
	}
	note, cost := "", ""
	if aim > 0 {
		note = fmt.Sprintf("The upright line is the aim: at least %.2f.", aim)
	}
	if most > 0 {
		cost = fmt.Sprintf("The upright line is the aim: at most %.2f times.", most)
	}
	out := []figure{
		{Title: name + ": throughput; that of " + base.Stack + " is 1", Drawing: bars(ratio), Note: note},
		{Title: name + ": CPU of one request, sidecars included", Drawing: bars(cpu), Note: cost},
	}
	if len(per) > 2 {
		out = append(out, figure{Title: name + ": requests for one CPU second", Drawing: bars(per)})
	}
	return out
}

// against is what a CPU second is worth, ours over each peer's.
func against(r *compare.Result) figure {
	var rows []bar
	for _, v := range r.Versus {
		b := bar{name: "÷ " + v.Peer, value: v.Ratio.Median, low: v.Ratio.Min, high: v.Ratio.Max, aim: v.Aim, ours: true, label: fmt.Sprintf("%.2f×", v.Ratio.Median)}
		if v.Aim > 0 {
			b.label += fmt.Sprintf(" (aim %.0f)", v.Aim)
			b.missed = v.Ratio.Median < v.Aim
		}
		rows = append(rows, b)
	}
	return figure{
		Title: "AgentID's requests for one CPU second, over each peer's", Drawing: bars(rows),
		Note: "Above 1 AgentID is the cheaper one. nginx by itself enforces nothing.",
	}
}

func isOurs(stack string) bool { return len(stack) >= 7 && stack[:7] == "AgentID" }

// aims is the whole comparison at a glance: each figure that has an aim, and whether it is
// reached.
func aims(r *compare.Result) table {
	t := table{Title: "The aims", Head: []string{"figure", "aim", "measured", "least–most", ""}}
	add := func(figure, aim string, s compare.Spread, reached bool) {
		verdict := cell{"reached", "good"}
		if !reached {
			verdict = cell{"missed", "bad"}
		}
		t.Rows = append(t.Rows, []cell{text("%s", figure), text("%s", aim), text("%.2f", s.Median), text("%.2f–%.2f", s.Min, s.Max), verdict})
	}
	for _, c := range r.Cells {
		if c.Throughput != nil && c.Aim > 0 {
			add(c.Workload+": throughput, "+c.Stack+" ÷ "+c.Baseline, fmt.Sprintf("≥ %.2f", c.Aim), *c.Throughput, c.Throughput.Median >= c.Aim)
		}
		if c.CPU != nil && c.MostCPU > 0 {
			add(c.Workload+": CPU of a request, "+c.Stack+" ÷ "+c.Baseline, fmt.Sprintf("≤ %.2f", c.MostCPU), *c.CPU, c.CPU.Median <= c.MostCPU)
		}
	}
	for _, v := range r.Versus {
		if v.Aim > 0 {
			add(v.Workload+": requests for one CPU second, "+v.Ours+" ÷ "+v.Peer, fmt.Sprintf("≥ %.0f", v.Aim), v.Ratio, v.Ratio.Median >= v.Aim)
		}
	}
	return t
}

// qualified is what each stack answered before it was measured.
func qualified(r *compare.Result) table {
	t := table{Title: "What each stack enforces", Head: []string{""}}
	for _, s := range r.Stacks {
		t.Head = append(t.Head, s.Name)
	}
	for i := range probes(r) {
		row := []cell{text("%s", r.Stacks[0].Probes[i].Name)}
		for _, s := range r.Stacks {
			p := s.Probes[i]
			class := map[string]string{compare.Held: "good", compare.NotEnforced: "open", compare.Broken: "bad"}[p.Verdict]
			row = append(row, cell{p.Verdict, class})
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func cells(r *compare.Result) table {
	t := table{Title: "All cells; ratios are over the first stack of the workload", Head: []string{
		"workload", "stack", "clients", "per second", "CPU µs", "÷ first", "least–most", "aim", "CPU ÷ first", "CPU s / 1,000", "p50 ms", "p99 ms", "client's share",
	}}
	for _, c := range r.Cells {
		ratio, spread, aim, cpu := text("1"), text(""), text(""), text("1")
		if c.Throughput != nil {
			ratio = text("%.2f", c.Throughput.Median)
			if c.Aim > 0 {
				aim, ratio.Class = text("%.2f", c.Aim), "good"
				if c.Throughput.Median < c.Aim {
					ratio.Class = "bad"
				}
			}
			spread, cpu = text("%.2f–%.2f", c.Throughput.Min, c.Throughput.Max), text("%.2f", c.CPU.Median)
		}
		t.Rows = append(t.Rows, []cell{
			text("%s", c.Workload), text("%s", c.Stack), text("%d", c.Clients), text("%.0f", c.PerSecond.Median), text("%.0f", c.CPUMicros.Median),
			ratio, spread, aim, cpu, text("%.3f", c.ServerPerThou), text("%s", ms(c.LatencyP50)), text("%s", ms(c.LatencyP99)), text("%.0f %%", c.ClientShare*100),
		})
	}
	return t
}

func stacks(r *compare.Result) table {
	t := table{Title: "The stacks", Head: []string{"stack", "what it is"}}
	for _, s := range r.Stacks {
		t.Rows = append(t.Rows, []cell{text("%s", s.Name), text("%s", s.About)})
	}
	return t
}
