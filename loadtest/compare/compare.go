package compare

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/agentid-dev/agentid/loadtest/drive"
	"github.com/agentid-dev/agentid/loadtest/local"
)

// Config says what to compare. Binary is required.
type Config struct {
	Binary    string // the agentid program
	Peers     string // folder with opa, openfga, spicedb and adapter
	Version   string
	Rounds    int           // 3 when zero
	Slice     time.Duration // 1 s when zero
	Without   []string      // stacks of Optional() that are left out
	Workloads []string      // names that are measured; all when empty
	Profiles  string        // folder for CPU profiles of AgentID under each workload; empty: none are taken
	Progress  func(string)  // nil: silent
}

// The workloads.
const (
	LoadReads      = "reads"
	LoadProven     = "reads with a DPoP proof"
	LoadFresh      = "reads with a fresh token"
	LoadAmounts    = "reads with another amount each"
	LoadDepth      = "reads, lineage of 32 beside 1"
	LoadEffects    = "effects"
	LoadMints      = "mints"
	LoadIntrospect = "introspections"
)

// Workloads lists them all.
func Workloads() []string {
	return []string{LoadReads, LoadProven, LoadFresh, LoadAmounts, LoadDepth, LoadEffects, LoadMints, LoadIntrospect}
}

// The aims: least ratios of throughput and of requests per CPU second.
const (
	aimReads, mostCPUReads                               = 0.80, 1.25
	aimOPA, aimOpenFGA                                   = 4.0, 8.0
	aimAmounts, mostCPUDepth                             = 0.40, 1.2
	aimProven, aimFresh, aimEffects, aimMints, aimIntros = 0.45, 0.45, 0.25, 0.40, 0.60
)

// mostClient is the share of the CPU above which the client, and not the stack, is what
// was measured.
const mostClient = 0.5

// Run brings all stacks up, qualifies and measures them. An error means that it could not
// be carried out; what failed in it is in the result's Faults.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if cfg.Rounds <= 0 {
		cfg.Rounds = 3
	}
	if cfg.Slice <= 0 {
		cfg.Slice = time.Second
	}
	say := func(format string, args ...any) {
		if cfg.Progress != nil {
			cfg.Progress(fmt.Sprintf(format, args...))
		}
	}
	dir, err := os.MkdirTemp("", "agentid-compare-")
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	out := &Result{
		Kind: "compare", Version: cfg.Version, Started: time.Now().UTC().Truncate(time.Second), Machine: drive.ThisMachine(),
		Rounds: cfg.Rounds, Slice: cfg.Slice.Seconds(), Faults: []string{},
	}
	f, err := bringUp(ctx, cfg, &environment{dir: dir, peers: cfg.Peers}, say)
	if f != nil {
		defer f.close()
	}
	if err != nil {
		return nil, err
	}
	var faults []string
	if out.Stacks, faults, err = f.qualify(ctx, say); err != nil {
		return nil, err
	}
	out.Faults = append(out.Faults, faults...)
	b := &bench{rounds: cfg.Rounds, slice: cfg.Slice, upstream: f.deployment.Upstream, say: say, profiles: cfg.Profiles}
	for _, w := range f.workloads() {
		if len(cfg.Workloads) > 0 && !slices.Contains(cfg.Workloads, w.name) {
			continue
		}
		cells, err := b.run(ctx, w)
		if err != nil {
			return nil, err
		}
		out.Cells = append(out.Cells, cells...)
	}
	out.Versus = versus(out.Cells)
	out.Faults = append(out.Faults, judge(out.Cells)...)
	return out, nil
}

func bringUp(ctx context.Context, cfg Config, e *environment, say func(string, ...any)) (*field, error) {
	for _, name := range cfg.Without {
		if !slices.Contains(Optional(), name) {
			return nil, fmt.Errorf("without %q: want one of %q", name, Optional())
		}
	}
	for _, name := range cfg.Workloads {
		if !slices.Contains(Workloads(), name) {
			return nil, fmt.Errorf("workload %q: want one of %q", name, Workloads())
		}
	}
	f := &field{stacks: map[string]*stack{}}
	var err error
	say("starting AgentID")
	f.deployment, err = local.Start(ctx, local.Config{Binary: cfg.Binary, Dir: e.dir, World: world(), Profiled: cfg.Profiles != ""})
	if err != nil {
		return f, err //nolint:wrapcheck // says what failed
	}
	if f.ours, err = newOurs(ctx, f.deployment); err != nil {
		return f, err
	}
	if err := f.startBare(ctx, cfg.Binary); err != nil {
		return f, err
	}
	f.addOurs(StackOurs, "agentid serve: broker, gateway, SpiceDB and audit in one process", f.deployment, f.ours)
	if !slices.Contains(cfg.Without, StackApart) {
		say("starting %s", StackApart)
		if err := f.startApart(ctx, cfg, e.dir); err != nil {
			return f, fmt.Errorf("%s: %w", StackApart, err)
		}
	}
	for _, name := range Peers() {
		if slices.Contains(cfg.Without, name) {
			continue
		}
		say("starting %s", name)
		if err := peers()[name](ctx, f, e); err != nil {
			return f, fmt.Errorf("%s: %w", name, err)
		}
	}
	return f, nil
}

// workloads are what is measured, with the baseline first.
func (f *field) workloads() []workload {
	const few, many = 16, 64
	bare, our, o := f.stacks[StackBare], f.stacks[StackOurs], f.ours
	reads := workload{LoadReads, few, []entry{
		{stack: bare, requests: o.warmReads}, {stack: our, requests: o.warmReads, aim: aimReads, mostCPU: mostCPUReads},
	}}
	proven := workload{LoadProven, few, []entry{{stack: bare, requests: o.warmReads}, {stack: our, requests: o.provenReads, once: true, aim: aimProven}}}
	effects := workload{LoadEffects, many, []entry{{stack: bare, requests: o.refunds, once: true}, {stack: our, requests: o.refunds, once: true, aim: aimEffects}}}
	if s, ok := f.stacks[StackApart]; ok {
		reads.entries = append(reads.entries, entry{stack: s, requests: f.split.warmReads})
		proven.entries = append(proven.entries, entry{stack: s, requests: f.split.provenReads, once: true})
		effects.entries = append(effects.entries, entry{stack: s, requests: f.split.refunds, once: true})
	}
	for _, name := range Peers() {
		if s, ok := f.stacks[name]; ok {
			peer, _ := s.subject.(*others)
			reads.entries = append(reads.entries, entry{stack: s, requests: peer.reads})
		}
	}
	broker := f.deployment.Base[len("http://"):]
	minted := "/" + o.tenant.Name + "/oauth2/"
	return []workload{
		reads,
		proven,
		{LoadFresh, few, []entry{{stack: bare, requests: o.warmReads}, {stack: our, requests: o.freshReads, once: true, aim: aimFresh}}},
		{LoadAmounts, few, []entry{{stack: bare, requests: o.previews, once: true}, {stack: our, requests: o.previews, once: true, aim: aimAmounts}}},
		f.slope(),
		effects,
		{LoadMints, many, []entry{
			{stack: bare, requests: o.mints(f.bareAddr, "/bare/token"), once: true},
			{stack: our, addr: broker, requests: o.mints(broker, minted+"token"), once: true, aim: aimMints},
		}},
		{LoadIntrospect, few, []entry{
			{stack: bare, requests: f.remembered},
			{stack: our, addr: broker, requests: o.introspections(broker, minted+"introspect"), aim: aimIntros},
		}},
	}
}

// remembered tells the bare handler the tokens that it is asked about.
func (f *field) remembered(ctx context.Context, n int) ([][]byte, error) {
	for _, t := range f.ours.tokens {
		status, _, err := ask(ctx, f.bareAddr, message(http.MethodPost, "/bare/remember", f.bareAddr, "token="+t.Access.Reveal()))
		if err != nil || status != http.StatusOK {
			return nil, errors.Join(err, fmt.Errorf("the bare handler answered %d", status))
		}
	}
	return f.ours.introspections(f.bareAddr, "/bare/introspect")(ctx, n)
}

// versus holds AgentID's requests per CPU second against each peer's, round by round.
func versus(cells []Cell) []Versus {
	aims := map[string]float64{StackOPA: aimOPA, StackOpenFGA: aimOpenFGA}
	var out []Versus
	for _, our := range cells {
		if our.Stack != StackOurs {
			continue
		}
		for _, peer := range cells {
			if peer.Workload == our.Workload && slices.Contains(Peers(), peer.Stack) {
				out = append(out, Versus{our.Workload, our.Stack, peer.Stack, ratios(our.Rounds, peer.Rounds, func(r Round) float64 {
					return float64(r.Requests) / max(r.Stack, 1e-9)
				}), aims[peer.Stack]})
			}
		}
	}
	return out
}

// judge lists what makes the run worthless. Cells that miss their aim are no faults: they
// are shown as they are.
func judge(cells []Cell) []string {
	var faults []string
	for _, c := range cells {
		failed := int64(0)
		for _, r := range c.Rounds {
			failed += r.Failed
		}
		if failed > 0 {
			faults = append(faults, fmt.Sprintf("%s, %s: %d requests were not answered rightly", c.Workload, c.Stack, failed))
		}
		if c.ClientShare > mostClient {
			faults = append(faults, fmt.Sprintf("%s, %s: the client used %.0f %% of the CPU: it was saturated before the stack", c.Workload, c.Stack, c.ClientShare*100))
		}
	}
	return faults
}
