package drive

import (
	"time"

	"github.com/agentid-dev/agentid/loadtest/openloop"
	"github.com/agentid-dev/agentid/loadtest/scenario"
)

// Result is a run for machines: what was sent, where, and what came of it.
type Result struct {
	Kind     string    `json:"kind"` // "run"
	Scenario Described `json:"scenario"`
	Target   string    `json:"target"` // "local", or a URL
	Version  string    `json:"version"`
	Started  time.Time `json:"started"`
	Machine  Machine   `json:"machine"`
	Points   []Point   `json:"points"`
	Faults   []string  `json:"faults"` // why the run failed; empty: it did not
}

// Described is the scenario as a reader of the result needs it.
type Described struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Over    string `json:"over,omitempty"` // what Value varies
	Binding string `json:"binding"`
	Reuse   string `json:"reuse"`
}

// Machine is where it ran.
type Machine struct {
	CPUs  int    `json:"cpus"`
	Model string `json:"model"`
	OS    string `json:"os"`
	Go    string `json:"go"`
}

// Point is one step: one rate, at one value of what varies.
type Point struct {
	Value  int              `json:"value,omitempty"`
	Rate   int              `json:"rate"` // arrivals per second that were meant
	Load   *openloop.Result `json:"load"`
	CPU    *CPU             `json:"cpu,omitempty"` // nil for a live target
	Memory []Memory         `json:"memory,omitempty"`
}

// CPU is what one step used, in CPU seconds.
type CPU struct {
	Server   float64 `json:"server"`
	Upstream float64 `json:"upstream"`
	Client   float64 `json:"client"`
	// ServerPerThousand is the server's CPU seconds for 1,000 requests.
	ServerPerThousand float64 `json:"server_per_thousand"`
}

// Memory is the server at one moment.
type Memory struct {
	Seconds    float64 `json:"seconds"` // since the step began
	Resident   int64   `json:"resident_bytes"`
	Goroutines int     `json:"goroutines"`
}

func describe(s scenario.Scenario) Described {
	return Described{Name: s.Name, About: s.About, Over: s.Vary.Over, Binding: s.Tokens.Binding, Reuse: s.Tokens.Reuse}
}
