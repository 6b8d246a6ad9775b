package report

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/agentid-dev/agentid/loadtest/compare"
	"github.com/agentid-dev/agentid/loadtest/drive"
)

// Text writes a result as tables.
func Text(w io.Writer, result any) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	switch r := result.(type) {
	case *drive.Result:
		runText(tw, r)
	case *compare.Result:
		compareText(tw, r)
	default:
		return errKind
	}
	return tw.Flush() //nolint:wrapcheck // the caller's writer
}

func line(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }

func runText(w io.Writer, r *drive.Result) {
	line(w, "%s: %s", r.Scenario.Name, r.Scenario.About)
	over := ""
	if r.Scenario.Over != "" {
		over = r.Scenario.Over + "\t"
	}
	line(w, "%sRATE\tANSWERED\tNOT AS EXPECTED\tP50 ms\tP99 ms\tP99.9 ms\tMAX ms\tCPU s/1000\tLATE P99 ms", over)
	for _, p := range r.Points {
		if over != "" {
			_, _ = fmt.Fprintf(w, "%d\t", p.Value)
		}
		cpu := "-"
		if p.CPU != nil {
			cpu = fmt.Sprintf("%.3f", p.CPU.ServerPerThousand)
		}
		l := p.Load.All.Latency
		line(w, "%d/s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s", p.Rate, p.Load.All.Count, p.Load.All.Failed+p.Load.Dropped,
			ms(l.P50), ms(l.P99), ms(l.P999), ms(l.Max), cpu, ms(p.Load.Lateness.P99))
	}
}

func compareText(w io.Writer, r *compare.Result) {
	line(w, "%d rounds of %g s slices on %d × %s", r.Rounds, r.Slice, r.Machine.CPUs, r.Machine.Model)
	_, _ = fmt.Fprint(w, "PROBE")
	for _, s := range r.Stacks {
		_, _ = fmt.Fprint(w, "\t"+s.Name)
	}
	line(w, "")
	for i := range probes(r) {
		_, _ = fmt.Fprint(w, r.Stacks[0].Probes[i].Name)
		for _, s := range r.Stacks {
			_, _ = fmt.Fprint(w, "\t"+s.Probes[i].Verdict)
		}
		line(w, "")
	}
	line(w, "")
	line(w, "WORKLOAD\tSTACK\tPER SECOND\tCPU µs\t÷ FIRST\tMIN–MAX\tAIM\tCPU ÷\tP50 ms\tP99 ms")
	for _, c := range r.Cells {
		ratio, spread, cpu, aim := "1", "", "1", ""
		if c.Throughput != nil {
			ratio, spread = fmt.Sprintf("%.2f", c.Throughput.Median), fmt.Sprintf("%.2f–%.2f", c.Throughput.Min, c.Throughput.Max)
			cpu = fmt.Sprintf("%.2f", c.CPU.Median)
		}
		if c.Aim > 0 {
			aim = fmt.Sprintf("%.2f", c.Aim)
		}
		line(w, "%s\t%s\t%.0f\t%.0f\t%s\t%s\t%s\t%s\t%s\t%s", c.Workload, c.Stack, c.PerSecond.Median, c.CPUMicros.Median,
			ratio, spread, aim, cpu, ms(c.LatencyP50), ms(c.LatencyP99))
	}
	versusText(w, r)
}

func versusText(w io.Writer, r *compare.Result) {
	if len(r.Versus) == 0 {
		return
	}
	line(w, "")
	line(w, "WORKLOAD\tREQUESTS PER CPU SECOND\tRATIO\tMIN–MAX\tAIM")
	for _, v := range r.Versus {
		aim := ""
		if v.Aim > 0 {
			aim = fmt.Sprintf("%.0f", v.Aim)
		}
		line(w, "%s\t%s ÷ %s\t%.2f\t%.2f–%.2f\t%s", v.Workload, v.Ours, v.Peer, v.Ratio.Median, v.Ratio.Min, v.Ratio.Max, aim)
	}
}

// probes are the indexes of the probes, which are the same for each stack.
func probes(r *compare.Result) []compare.Probe {
	if len(r.Stacks) == 0 {
		return nil
	}
	return r.Stacks[0].Probes
}

// ms shows microseconds as milliseconds.
func ms(micros int64) string {
	v := float64(micros) / 1000
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 1:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
