package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentid-dev/agentid/loadtest/compare"
	"github.com/agentid-dev/agentid/loadtest/drive"
	"github.com/agentid-dev/agentid/loadtest/local"
	"github.com/agentid-dev/agentid/loadtest/report"
	"github.com/agentid-dev/agentid/loadtest/scenario"
)

func newLoadtest() *cobra.Command {
	cmd := &cobra.Command{
		Use: "loadtest", Short: "Put load on AgentID, measure it, and compare it with what people assemble",
		Example: `  agentid loadtest run mixed --out mixed.json       # built-in, on this machine
  agentid loadtest run ./mine.yaml --html mine.html
  agentid loadtest compare --out compare.json       # beside nginx, OPA, OpenFGA, SpiceDB
  agentid loadtest report *.json --html report.html`,
	}
	cmd.AddCommand(newLoadtestRun(), newLoadtestCompare(), newLoadtestReport(), newLoadtestUpstream(), newLoadtestBare())
	return cmd
}

// written is where results go.
type written struct{ json, html string }

func (w *written) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.json, "out", "", "write the result as JSON to this file")
	cmd.Flags().StringVar(&w.html, "html", "", "write a report, one HTML file, to this file")
}

// save writes a result, prints its table and passes on what made it fail.
func (w *written) save(cmd *cobra.Command, result any, faults []string) error {
	if err := report.Text(cmd.OutOrStdout(), result); err != nil {
		return err //nolint:wrapcheck // standard output is gone
	}
	if w.json != "" {
		data, err := json.MarshalIndent(result, "", "  ")
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		if err := os.WriteFile(w.json, append(data, '\n'), 0o644); err != nil { //nolint:gosec // holds no secret
			return fmt.Errorf("--out: %w", err)
		}
	}
	if w.html != "" {
		if err := writeReport(w.html, result); err != nil {
			return err
		}
	}
	if len(faults) > 0 {
		return errors.New("the run failed:\n  " + strings.Join(faults, "\n  "))
	}
	return nil
}

func writeReport(path string, results ...any) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	return errors.Join(report.HTML(f, results...), f.Close())
}

// progress writes lines to standard error, so that a long run is seen to work.
func progress(cmd *cobra.Command, quiet bool) func(string) {
	if quiet {
		return nil
	}
	start := time.Now()
	return func(line string) {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%6s  %s\n", time.Since(start).Round(time.Second), line)
	}
}

// load reads a scenario: the name of a built-in one, or a file.
func load(name string) (scenario.Scenario, error) {
	if strings.ContainsAny(name, "./"+string(filepath.Separator)) {
		return scenario.Load(name) //nolint:wrapcheck // every problem with its line
	}
	s, err := scenario.Builtin(name)
	if err != nil {
		return s, usageError{err}
	}
	return s, nil
}

func newLoadtestRun() *cobra.Command {
	var (
		out   written
		live  liveFlags
		quiet bool
		step  time.Duration
	)
	cmd := &cobra.Command{
		Use: "run SCENARIO", Short: "Carry a scenario out, on this machine or against a deployment", Args: cobra.ExactArgs(1),
		Long: `Carry a scenario out: a built-in one by its name (` + strings.Join(scenario.Names(), ", ") + `), or a YAML file.

Requests arrive at a constant rate, whatever the server does, and latency counts from the
moment that each was meant to be sent. Every answer is held against what it must be.

Without --target it starts an upstream and "agentid serve" on loopback, with tenants and
agents as the scenario says, and ends them afterwards. With --target it goes to a deployment
that is there already: only reads and mints, only to hosts that are named with --allow-host,
at most --max-rate per second and --max-duration long, and only with --yes-load-this-target.` + agentHelp,
		Example: `  agentid loadtest run warm-tokens --html warm.html
  agentid loadtest run soak --step 10m
  agentid loadtest run ./reads.yaml --target https://pay.example.com --allow-host pay.example.com \
      --allow-host id.example.com --issuer https://id.example.com/acme --agent agent:acme/probe --key probe.key \
      --template read-customer --arg customer=cus_123 --path /v1/customers/cus_123 --yes-load-this-target`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := load(args[0])
			if err != nil {
				return err
			}
			if step > 0 {
				s.Step = step
			}
			var result *drive.Result
			if live.target != "" {
				result, err = live.run(cmd, s, progress(cmd, quiet))
			} else {
				var binary string
				if binary, err = os.Executable(); err == nil {
					result, err = drive.Local(cmd.Context(), drive.LocalConfig{Binary: binary, Version: version(), Scenario: s, Progress: progress(cmd, quiet)})
				}
			}
			if err != nil {
				return err //nolint:wrapcheck // says what failed
			}
			return out.save(cmd, result, result.Faults)
		},
	}
	out.flags(cmd)
	live.flags(cmd)
	cmd.Flags().BoolVar(&quiet, "quiet", false, "no progress on standard error")
	cmd.Flags().DurationVar(&step, "step", 0, "how long each rate is kept, in place of the scenario's own")
	return cmd
}

const agentHelp = `
The agent, its key and what to ask a token for are given as to "agentid token".`

// liveFlags are a run against a deployment.
type liveFlags struct {
	id     identity
	target string
	path   string
	bearer bool
	limits drive.Limits
}

func (l *liveFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&l.target, "target", "", "URL of the connector at a gateway that is there already")
	f.StringVar(&l.path, "path", "", "with --target: path of a read that the token allows")
	f.StringArrayVar(&l.limits.Hosts, "allow-host", nil, "with --target: a host, or host:port, that may be loaded; repeatable")
	f.IntVar(&l.limits.MaxRate, "max-rate", drive.DefaultMaxRate, "with --target: most arrivals per second")
	f.DurationVar(&l.limits.MaxDuration, "max-duration", drive.DefaultMaxDuration, "with --target: longest run")
	f.BoolVar(&l.limits.Confirmed, "yes-load-this-target", false, "with --target: confirm that load is meant to go there")
	f.BoolVar(&l.bearer, "bearer", false, "with --target: ask for an unbound token")
	l.id.flags(cmd)
	l.id.requestFlags(cmd)
}

func (l *liveFlags) run(cmd *cobra.Command, s scenario.Scenario, say func(string)) (*drive.Result, error) {
	agent, err := l.id.client()
	if err != nil {
		return nil, err
	}
	l.id.resource = strings.TrimSuffix(l.target, "/")
	request, err := l.id.request()
	if err != nil {
		return nil, err
	}
	request.Bearer = l.bearer
	return drive.Live(cmd.Context(), drive.LiveConfig{ //nolint:wrapcheck // says what failed
		Version: version(), Scenario: s, Target: l.target, Agent: agent, Request: request, Read: l.path, Limits: l.limits, Progress: say,
	})
}

func newLoadtestCompare() *cobra.Command {
	var (
		out   written
		cfg   compare.Config
		quiet bool
	)
	cmd := &cobra.Command{
		Use: "compare", Short: "Measure AgentID beside a bare proxy, nginx, OPA, OpenFGA and SpiceDB", Args: cobra.NoArgs,
		Long: `Start every stack on loopback, ask each whether it answers allowed, forbidden, expired,
misdirected, revoked and stolen requests rightly, and then measure all in turns: throughput,
CPU of each stack with its sidecars, and their ratios round by round.

It fails if a stack does not hold what it claims, or if the client was saturated. "make
bench-compare" builds the peers and runs it.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if cfg.Binary, err = os.Executable(); err != nil {
				return err //nolint:wrapcheck // the program's own path
			}
			cfg.Version, cfg.Progress = version(), progress(cmd, quiet)
			result, err := compare.Run(cmd.Context(), cfg)
			if err != nil {
				return err //nolint:wrapcheck // says what failed
			}
			return out.save(cmd, result, result.Faults)
		},
	}
	out.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&cfg.Peers, "peers", ".cache/peers", "folder with opa, openfga, spicedb and adapter")
	f.IntVar(&cfg.Rounds, "rounds", 3, "rounds; each stack has two slices in each")
	f.DurationVar(&cfg.Slice, "slice", time.Second, "how long one slice is")
	f.StringArrayVar(&cfg.Without, "without", nil, "leave a stack out: "+strings.Join(compare.Optional(), ", ")+"; repeatable")
	f.StringArrayVar(&cfg.Workloads, "workload", nil, "measure only this: "+strings.Join(compare.Workloads(), ", ")+"; repeatable")
	f.StringVar(&cfg.Profiles, "profiles", "", "also write CPU profiles of AgentID under each workload into this folder")
	f.BoolVar(&quiet, "quiet", false, "no progress on standard error")
	return cmd
}

func newLoadtestReport() *cobra.Command {
	var html string
	cmd := &cobra.Command{
		Use: "report RESULT...", Short: "Draw a report of results: one HTML file that needs nothing else", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var results []any
			for _, path := range args {
				data, err := os.ReadFile(path)
				if err != nil {
					return err //nolint:wrapcheck // names the file
				}
				result, err := report.Read(data)
				if err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
				results = append(results, result)
				if err := report.Text(cmd.OutOrStdout(), result); err != nil {
					return err //nolint:wrapcheck // standard output is gone
				}
			}
			if html == "" {
				return nil
			}
			return writeReport(html, results...)
		},
	}
	cmd.Flags().StringVar(&html, "html", "", "write the report to this file; without it the tables are printed")
	return cmd
}

// newLoadtestUpstream serves the payments API that local runs have behind the gateway.
func newLoadtestUpstream() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use: "upstream", Hidden: true, Short: "Serve the upstream of local runs", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return local.ServeUpstream(cmd.Context(), listen, cmd.OutOrStdout()) //nolint:wrapcheck // says what failed
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "loopback address")
	return cmd
}

// newLoadtestBare serves what AgentID is held against.
func newLoadtestBare() *cobra.Command {
	var listen, upstream string
	cmd := &cobra.Command{
		Use: "bare", Hidden: true, Short: "Serve the bare proxy and handlers of comparisons", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return local.ServeBare(cmd.Context(), listen, upstream, cmd.OutOrStdout()) //nolint:wrapcheck // says what failed
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "loopback address")
	cmd.Flags().StringVar(&upstream, "upstream", "", "what is proxied to")
	return cmd
}
