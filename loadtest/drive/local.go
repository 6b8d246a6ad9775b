package drive

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/agentid-dev/agentid/loadtest/local"
	"github.com/agentid-dev/agentid/loadtest/proc"
	"github.com/agentid-dev/agentid/loadtest/scenario"
)

// LocalConfig is a run on this machine. Binary and Scenario are required.
type LocalConfig struct {
	Binary   string
	Version  string
	Scenario scenario.Scenario
	Extra    string       // more of the server's configuration, as YAML
	Progress func(string) // nil: silent
}

// Local brings a deployment up for each value of what the scenario varies, runs it there,
// and gives the result, which holds its own verdict. An error means that it could not be
// carried out.
func Local(ctx context.Context, cfg LocalConfig) (*Result, error) {
	out := &Result{
		Kind: "run", Scenario: describe(cfg.Scenario), Target: "local", Version: cfg.Version,
		Started: time.Now().UTC().Truncate(time.Second), Machine: ThisMachine(), Faults: []string{},
	}
	values := cfg.Scenario.Vary.Values
	if len(values) == 0 {
		values = []int{0}
	}
	for _, v := range values {
		s := cfg.Scenario
		if v != 0 {
			s = s.At(v)
		}
		points, err := localOnce(ctx, cfg, s, v)
		if err != nil {
			return nil, err
		}
		out.Points = append(out.Points, points...)
	}
	out.Faults = append(out.Faults, Judge(cfg.Scenario, out.Points)...)
	return out, nil
}

func localOnce(ctx context.Context, cfg LocalConfig, s scenario.Scenario, value int) ([]Point, error) {
	dir, err := os.MkdirTemp("", "agentid-load-")
	if err != nil {
		return nil, fmt.Errorf("loadtest: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	d, err := local.Start(ctx, local.Config{Binary: cfg.Binary, Dir: dir, World: s.World, Extra: cfg.Extra, Progress: cfg.Progress})
	if err != nil {
		return nil, err //nolint:wrapcheck // says what failed
	}
	defer d.Close()
	return Points(ctx, s, localTarget(d, s, cfg.Progress), value)
}

// needs are the templates of operations that are no plain reads.
var needs = map[string]string{scenario.OpPreview: local.TemplatePreview, scenario.OpRefund: local.TemplateRefund}

func localTarget(d *local.Deployment, s scenario.Scenario, progress func(string)) *Target {
	t := &Target{Name: "local", Progress: progress, HTTP: Client(d.Dial), Observe: func() (Reading, error) { return observe(d) }}
	templates, bearer := []string{local.TemplateRead}, s.Tokens.Binding == scenario.BindingBearer
	for _, m := range s.Mix {
		if more, ok := needs[m.Do]; ok {
			templates = append(templates, more)
		}
	}
	for _, tenant := range d.Tenants {
		for _, a := range tenant.Agents {
			t.Callers = append(t.Callers, &Caller{
				Agent: a.Client, Resource: tenant.Resource, Request: a.Request(tenant, bearer, templates...), Service: tenant.Service,
				Read: "/v1/customers/" + a.Customer, Denied: "/v1/customers/" + a.Customer + "_other", Customer: a.Customer, Charge: a.Charge,
			})
		}
	}
	return t
}

// observe reads the processes of a deployment.
func observe(d *local.Deployment) (Reading, error) {
	server, err := proc.Sum(d.Processes()...)
	if err != nil {
		return Reading{}, fmt.Errorf("the server: %w\n%s", err, d.Server.Tail())
	}
	upstream, err := d.Upstream.Usage()
	if err != nil {
		return Reading{}, fmt.Errorf("the upstream: %w", err)
	}
	self, err := proc.Self()
	if err != nil {
		return Reading{}, err //nolint:wrapcheck // says what failed
	}
	return Reading{
		Server: server.CPU, Upstream: upstream.CPU, Client: self.CPU, Resident: server.Resident, Goroutines: goroutines(d.Base),
	}, nil
}

// goroutines reads the server's own metric; 0 when it cannot be had.
func goroutines(base string) int {
	resp, err := metrics.Get(base + "/metrics")
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0
			}
			return int(n)
		}
	}
	return 0
}

var metrics = &http.Client{Timeout: 2 * time.Second}
