package scenario

import (
	"os"
	"time"

	"github.com/agentid-dev/agentid/internal/yamlfile"
)

// The operations that a mix may name.
const (
	OpRead       = "read"       // an allowed read through the gateway
	OpDenied     = "denied"     // a read that the token does not permit: refused, or it is a fault
	OpPreview    = "preview"    // a read with an amount: its caveat and constraint are evaluated each time
	OpRefund     = "refund"     // an effect: hold, use count, durable audit
	OpMint       = "mint"       // a token
	OpIntrospect = "introspect" // what a resource server asks
	OpRevoke     = "revoke"     // mint, use, revoke, use again: allowed after the return is a fault
)

// The ways that tokens are bound and used.
const (
	BindingDPoP   = "dpop"
	BindingBearer = "bearer"
	ReuseWarm     = "warm"  // a few tokens, used again and again
	ReuseFresh    = "fresh" // another token in each request
)

// What a scenario may be varied over, a run for each value.
const (
	OverDepth   = "depth"
	OverAgents  = "agents"
	OverTenants = "tenants"
)

// Scenario is one file.
type Scenario struct {
	Name   string        `yaml:"name"`
	About  string        `yaml:"about"`
	World  World         `yaml:"world,omitempty"`
	Tokens Tokens        `yaml:"tokens,omitempty"`
	Mix    []Share       `yaml:"mix"`
	Rates  []int         `yaml:"rates"`           // arrivals per second, one step each
	Step   time.Duration `yaml:"step"`            // how long each rate is kept
	Warmup time.Duration `yaml:"warmup"`          // before the first step, at its rate; not measured
	Burst  int           `yaml:"burst,omitempty"` // arrivals that come at once
	Vary   Vary          `yaml:"vary,omitempty"`
	Expect Expect        `yaml:"expect,omitempty"`
}

// World is the deployment that a local run brings up.
type World struct {
	Tenants int `yaml:"tenants"` // 1 when left out
	Agents  int `yaml:"agents"`  // of each tenant; 1 when left out
	Depth   int `yaml:"depth"`   // agents of each lineage; 1 when left out
}

// Tokens is how agents present themselves.
type Tokens struct {
	Binding string `yaml:"binding"` // dpop when left out
	Reuse   string `yaml:"reuse"`   // warm when left out
}

// Share is one operation of a mix.
type Share struct {
	Do     string `yaml:"do"`
	Weight int    `yaml:"weight"` // 1 when left out
}

// Vary repeats the run for each value, for the slope of cost over it.
type Vary struct {
	Over   string `yaml:"over"`
	Values []int  `yaml:"values"`
}

// Expect makes a run fail.
type Expect struct {
	MaxFailed       int           `yaml:"max_failed"`        // outcomes that were not as expected
	MaxDropped      int           `yaml:"max_dropped"`       // arrivals that could not be sent
	P99             time.Duration `yaml:"p99,omitempty"`     // at the lowest rate; zero: not judged
	MemoryGrowthPct int           `yaml:"memory_growth_pct"` // of the server's resident set from the first third to the last; zero: not judged
}

// Load reads a file. Every fault comes back at once, as *yamlfile.Error.
func Load(path string) (Scenario, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Scenario{}, &yamlfile.Error{Problems: []yamlfile.Problem{{File: path, Message: "cannot be read: " + err.Error()}}}
	}
	return Parse(path, data)
}

// Parse is Load for bytes; file is used in messages.
func Parse(file string, data []byte) (Scenario, error) {
	docs, err := yamlfile.Split(file, data)
	if err != nil {
		return Scenario{}, err //nolint:wrapcheck // every problem with its line
	}
	if len(docs) != 1 {
		return Scenario{}, &yamlfile.Error{Problems: []yamlfile.Problem{{File: file, Message: "a scenario is one YAML document"}}}
	}
	var s Scenario
	if err := docs[0].Decode(&s); err != nil {
		return Scenario{}, err //nolint:wrapcheck // every problem with its line
	}
	s.fill()
	var problems []yamlfile.Problem
	for _, f := range s.faults() {
		problems = append(problems, docs[0].Problem(f.key, f.message))
	}
	if len(problems) > 0 {
		return Scenario{}, &yamlfile.Error{Problems: problems}
	}
	return s, nil
}

// fill puts the defaults where the file is silent.
func (s *Scenario) fill() {
	for _, d := range []struct {
		field    *int
		fallback int
	}{{&s.World.Tenants, 1}, {&s.World.Agents, 1}, {&s.World.Depth, 1}, {&s.Burst, 1}} {
		if *d.field == 0 {
			*d.field = d.fallback
		}
	}
	if s.Tokens.Binding == "" {
		s.Tokens.Binding = BindingDPoP
	}
	if s.Tokens.Reuse == "" {
		s.Tokens.Reuse = ReuseWarm
	}
	for i := range s.Mix {
		if s.Mix[i].Weight == 0 {
			s.Mix[i].Weight = 1
		}
	}
}

// Duration is how long the scenario sends in all, without bringing up its world.
func (s *Scenario) Duration() time.Duration {
	return (s.Warmup + time.Duration(len(s.Rates))*s.Step) * time.Duration(max(1, len(s.Vary.Values)))
}

// MaxRate is the highest rate of all steps, in arrivals per second.
func (s *Scenario) MaxRate() int {
	most := 0
	for _, r := range s.Rates {
		most = max(most, r)
	}
	return most
}

// At is the scenario for one value of what it varies.
func (s *Scenario) At(value int) Scenario {
	out := *s
	switch s.Vary.Over {
	case OverDepth:
		out.World.Depth = value
	case OverAgents:
		out.World.Agents = value
	case OverTenants:
		out.World.Tenants = value
	}
	return out
}
