package compare

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/agentid-dev/agentid/loadtest/local"
	"github.com/agentid-dev/agentid/loadtest/proc"
	"github.com/agentid-dev/agentid/loadtest/scenario"
)

// The stacks.
const (
	StackBare    = "bare Go proxy"
	StackNginx   = "nginx"
	StackOurs    = "AgentID"
	StackApart   = "AgentID, split"
	StackOPA     = "nginx + OPA"
	StackOpenFGA = "nginx + OpenFGA"
	StackSpiceDB = "nginx + SpiceDB"
)

// Peers are the stacks that need programs beside AgentID's own.
func Peers() []string { return []string{StackNginx, StackOPA, StackOpenFGA, StackSpiceDB} }

// Optional are the stacks that may be left out.
func Optional() []string { return append([]string{StackApart}, Peers()...) }

// agents is how many agents each stack serves.
const agents = 64

// field is all stacks that were started.
type field struct {
	deployment *local.Deployment
	apart      *local.Deployment // nil when it is left out
	ours       *ours
	split      *ours
	stacks     map[string]*stack
	order      []string
	bareAddr   string
	all        []*proc.Process
}

func (f *field) add(s *stack) {
	f.stacks[s.name] = s
	f.order = append(f.order, s.name)
}

func (f *field) close() {
	for _, p := range f.all {
		p.Stop()
	}
	for _, d := range []*local.Deployment{f.deployment, f.apart} {
		if d != nil {
			d.Close()
		}
	}
}

// keep notes a process to be ended, and passes an error on.
func (f *field) keep(p *proc.Process, err error) (*proc.Process, error) {
	if p != nil {
		f.all = append(f.all, p)
	}
	return p, err
}

func (f *field) startBare(ctx context.Context, binary string) error {
	p, err := f.keep(proc.Start(ctx, proc.Spec{Name: "bare", Ready: local.BareReady, Command: []string{
		binary, "loadtest", "bare", "--listen", "127.0.0.1:0", "--upstream", f.deployment.Origin,
	}}))
	if err != nil {
		return err
	}
	f.bareAddr = p.Line[strings.Index(p.Line, local.BareReady)+len(local.BareReady):]
	f.add(&stack{
		name: StackBare, about: "httputil.ReverseProxy with the gateway's transport: the limit of any gateway in Go",
		addr: f.bareAddr, group: []*proc.Process{p}, subject: f.ours, enforces: claims(),
	})
	return nil
}

func (f *field) addOurs(name, about string, d *local.Deployment, o *ours) {
	f.add(&stack{
		name: name, about: about, addr: d.Gateway, group: d.Processes(), subject: o, profiles: d.Profiles,
		enforces: claims(probeRefuse, probeExpired, probeAudience, probeRevoked, probeStolen),
	})
}

// startApart brings up broker and gateway as two processes, in front of the same upstream.
func (f *field) startApart(ctx context.Context, cfg Config, dir string) error {
	dir = filepath.Join(dir, "apart")
	const ownerOnly = 0o700
	if err := os.MkdirAll(dir, ownerOnly); err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	var err error
	f.apart, err = local.Start(ctx, local.Config{
		Binary: cfg.Binary, Dir: dir, World: world(), Apart: true, Origin: f.deployment.Origin, Profiled: cfg.Profiles != "",
	})
	if err != nil {
		return err //nolint:wrapcheck // says what failed
	}
	if f.split, err = newOurs(ctx, f.apart); err != nil {
		return err
	}
	f.addOurs(StackApart, "agentid broker and agentid gateway: two processes over mutual TLS", f.apart, f.split)
	return nil
}

func world() scenario.World { return scenario.World{Tenants: 2, Agents: agents, Depth: 1} }

// peer is one starter of a stack beside ours.
type peer func(ctx context.Context, f *field, e *environment) error

func peers() map[string]peer {
	return map[string]peer{StackNginx: startBareNginx, StackOPA: startWithOPA, StackOpenFGA: startWithOpenFGA, StackSpiceDB: startWithSpiceDB}
}

func startBareNginx(ctx context.Context, f *field, e *environment) error {
	addr, p, err := startNginx(ctx, e.dir, f.deployment.Origin, nginx{name: "nginx"})
	if _, err = f.keep(p, err); err != nil {
		return err
	}
	o, err := newOthers(agents, nil)
	if err != nil {
		return err
	}
	f.add(&stack{
		name: StackNginx, about: "nginx as a reverse proxy that asks nobody: the limit in C",
		addr: addr, group: []*proc.Process{p}, subject: o, enforces: claims(),
	})
	return nil
}

// enforcedByOthers is what the assembled stacks claim. None binds a token to a key.
func enforcedByOthers() map[string]bool {
	return claims(probeRefuse, probeExpired, probeAudience, probeRevoked)
}

func startWithOPA(ctx context.Context, f *field, e *environment) error {
	addr, err := local.FreePort()
	if err != nil {
		return err //nolint:wrapcheck // says what failed
	}
	o, err := newOthers(agents, revokeInOPA(addr))
	if err != nil {
		return err
	}
	opa, err := f.keep(startOPA(ctx, e, addr, o))
	if err != nil {
		return err
	}
	front, p, err := startNginx(ctx, e.dir, f.deployment.Origin, nginx{
		name: "nginx-opa", http: opaUpstream(addr), server: askOPA, location: "auth_request /_auth;",
	})
	if _, err = f.keep(p, err); err != nil {
		return err
	}
	f.add(&stack{
		name: StackOPA, about: "nginx auth_request to OPA: JWT and policy in Rego, data in memory",
		addr: front, group: []*proc.Process{p, opa}, subject: o, enforces: enforcedByOthers(),
	})
	return nil
}

func startWithOpenFGA(ctx context.Context, f *field, e *environment) error {
	return startWithStore(ctx, f, e, StackOpenFGA, "nginx auth_request to an adapter in Go, which asks OpenFGA (SQLite) by gRPC in one batch, at high consistency", "openfga", "",
		func(addr string) (*proc.Process, error) { return startOpenFGA(ctx, e, addr) })
}

func startWithSpiceDB(ctx context.Context, f *field, e *environment) error {
	return startWithStore(ctx, f, e, StackSpiceDB, "the same adapter, which asks SpiceDB (its memory) by gRPC in one bulk check, fully consistent", "spicedb", spiceKey,
		func(addr string) (*proc.Process, error) { return startSpiceDB(ctx, e, addr) })
}

func startWithStore(ctx context.Context, f *field, e *environment, name, about, backend, key string, start func(addr string) (*proc.Process, error)) error {
	addr, err := local.FreePort()
	if err != nil {
		return err //nolint:wrapcheck // says what failed
	}
	store, err := f.keep(start(addr))
	if err != nil {
		return err
	}
	var adapterAddr string
	o, err := newOthers(agents, revokeByAdapter(&adapterAddr))
	if err != nil {
		return err
	}
	var adapter *proc.Process
	adapterAddr, adapter, err = startAdapter(ctx, e, backend, addr, key, o)
	if _, err = f.keep(adapter, err); err != nil {
		return err
	}
	front, p, err := startNginx(ctx, e.dir, f.deployment.Origin, nginx{
		name: "nginx-" + backend, http: adapterUpstream(adapterAddr), server: askAdapter, location: "auth_request /_auth;",
	})
	if _, err = f.keep(p, err); err != nil {
		return err
	}
	f.add(&stack{name: name, about: about, addr: front, group: []*proc.Process{p, adapter, store}, subject: o, enforces: enforcedByOthers()})
	return nil
}

// describe qualifies every stack.
func (f *field) qualify(ctx context.Context, say func(string, ...any)) ([]Described, []string, error) {
	var out []Described
	var faults []string
	for _, name := range f.order {
		s := f.stacks[name]
		say("qualifying %s", name)
		probes, err := s.qualify(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("qualify %s: %w", name, err)
		}
		for _, p := range probes {
			if p.Verdict == Broken {
				faults = append(faults, fmt.Sprintf("%s: %s: answered %d", name, p.Name, p.Status))
			}
		}
		out = append(out, Described{name, s.about, probes})
	}
	return out, faults, nil
}
