package compare

import (
	"time"

	"github.com/agentid-dev/agentid/loadtest/drive"
)

// Result is a comparison for machines.
type Result struct {
	Kind    string        `json:"kind"` // "compare"
	Version string        `json:"version"`
	Started time.Time     `json:"started"`
	Machine drive.Machine `json:"machine"`
	Rounds  int           `json:"rounds"`
	Slice   float64       `json:"slice_seconds"`
	Stacks  []Described   `json:"stacks"`
	Cells   []Cell        `json:"cells"`
	Versus  []Versus      `json:"versus"`
	Faults  []string      `json:"faults"` // why the run failed; empty: it did not
}

// Described is one stack as a reader needs it.
type Described struct {
	Name   string  `json:"name"`
	About  string  `json:"about"`
	Probes []Probe `json:"probes"`
}

// The verdicts of a probe.
const (
	Held        = "held"         // answered as it must be
	NotEnforced = "not enforced" // the stack cannot express it: shown, and no fault
	Broken      = "broken"       // the stack claims it and does not hold it: the run fails
)

// Probe is one question to a stack before it is measured.
type Probe struct {
	Name    string `json:"name"`
	Verdict string `json:"verdict"`
	Status  int    `json:"status"` // that came back
}

// Cell is one stack under one workload.
type Cell struct {
	Workload string  `json:"workload"`
	Stack    string  `json:"stack"`
	Baseline string  `json:"baseline,omitempty"` // the stack that the ratios are over; empty for itself
	Clients  int     `json:"clients"`
	Rounds   []Round `json:"rounds"`

	PerSecond     Spread  `json:"per_second"`         // answers, over the rounds
	CPUMicros     Spread  `json:"cpu_us_per_request"` // of the stack's processes
	PerCPUSecond  Spread  `json:"per_cpu_second"`     // answers per CPU second of the stack
	Throughput    *Spread `json:"throughput_ratio,omitempty"`
	CPU           *Spread `json:"cpu_ratio,omitempty"`
	LatencyP50    int64   `json:"p50_us"`
	LatencyP99    int64   `json:"p99_us"`
	Aim           float64 `json:"aim,omitempty"` // the least throughput ratio that is wanted
	MostCPU       float64 `json:"most_cpu,omitempty"`
	ClientShare   float64 `json:"client_share"` // of the CPU that was used in its slices
	ServerPerThou float64 `json:"cpu_seconds_per_thousand"`
}

// Versus is one of our stacks against one that people assemble.
type Versus struct {
	Workload string  `json:"workload"`
	Ours     string  `json:"ours"`
	Peer     string  `json:"peer"`
	Ratio    Spread  `json:"ratio"` // of requests per CPU second, ours over theirs
	Aim      float64 `json:"aim,omitempty"`
}

// Round is one stack's two slices of one round.
type Round struct {
	Requests int64   `json:"requests"`
	Failed   int64   `json:"failed"`
	Seconds  float64 `json:"seconds"`
	Stack    float64 `json:"stack_cpu_seconds"`
	Upstream float64 `json:"upstream_cpu_seconds"`
	Client   float64 `json:"client_cpu_seconds"`
}

// Spread is a median with its extremes.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}
