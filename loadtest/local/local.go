package local

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/internal/adminclient"
	"github.com/agentid-dev/agentid/loadtest/proc"
	"github.com/agentid-dev/agentid/loadtest/scenario"
)

// Config says what to bring up. Binary and Dir are required.
type Config struct {
	Binary   string // the agentid program
	Dir      string // for its data; emptied by the caller
	World    scenario.World
	Apart    bool         // broker and gateway as two processes
	Origin   string       // URL of an upstream that is there already; empty: one is started
	Extra    string       // more of the server's configuration, as YAML
	Profiled bool         // each process serves profiles, see Profiles
	Progress func(string) // nil: silent
}

// Deployment is a running AgentID with its upstream.
type Deployment struct {
	Server   *proc.Process // with Apart, the broker
	Enforcer *proc.Process // with Apart, the gateway; else nil
	Upstream *proc.Process
	Base     string // the broker
	Gateway  string // host:port
	Origin   string // the upstream's URL
	Admin    adminclient.Admin
	Tenants  []Tenant
	Profiles map[string]string // process name to the host:port of its /debug/pprof/

	cfg Config
}

// Tenant is one tenant's side of the deployment.
type Tenant struct {
	Name     string
	Issuer   string
	Resource string // of its connector; its host resolves to the gateway by Dial
	Agents   []Agent
	Service  adminclient.Service // the service behind the connector
}

// Agent is the leaf of a lineage. It may read, preview and refund its own customer.
type Agent struct {
	*client.Client
	Customer string
	Charge   string
	Signing  jose.SigningKey // the agent's private key
}

// Start brings everything up. On an error nothing is left running.
func Start(ctx context.Context, cfg Config) (*Deployment, error) {
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	d := &Deployment{cfg: cfg}
	steps := []func(context.Context) error{d.upstream, d.serve, d.declare, d.register}
	if cfg.Apart {
		steps = []func(context.Context) error{d.upstream, d.serveApart, d.declare, d.register}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			d.Close()
			return nil, err
		}
	}
	return d, nil
}

// Close ends all processes.
func (d *Deployment) Close() {
	d.Enforcer.Stop()
	d.Server.Stop()
	d.Upstream.Stop()
}

func (d *Deployment) upstream(ctx context.Context) error {
	if d.Origin = d.cfg.Origin; d.Origin != "" {
		return nil
	}
	p, err := proc.Start(ctx, proc.Spec{
		Name: "upstream", Command: []string{d.cfg.Binary, "loadtest", "upstream", "--listen", "127.0.0.1:0"}, Ready: upstreamReady,
	})
	if err != nil {
		return err //nolint:wrapcheck // names the process
	}
	d.Upstream = p
	d.Origin = "http://" + strings.TrimSpace(p.Line[strings.Index(p.Line, upstreamReady)+len(upstreamReady):])
	return nil
}

// FreePort is a loopback address that was free a moment ago.
func FreePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	return l.Addr().String(), l.Close() //nolint:wrapcheck // cannot fail
}

const (
	readyWithin = 60 * time.Second
	askEvery    = 20 * time.Millisecond
)

// WaitFor asks a URL until it answers below 400.
func WaitFor(ctx context.Context, p *proc.Process, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	c := &http.Client{Timeout: time.Second}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return fmt.Errorf("local: %w", err)
		}
		resp, err := c.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode < http.StatusBadRequest {
				return nil
			}
		}
		select {
		case <-p.Exited():
			return fmt.Errorf("%s ended:\n%s", p.Name, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", p.Name, ctx.Err(), p.Tail())
		case <-time.After(askEvery):
		}
	}
}

// Processes are those of AgentID itself.
func (d *Deployment) Processes() []*proc.Process {
	if d.Enforcer == nil {
		return []*proc.Process{d.Server}
	}
	return []*proc.Process{d.Server, d.Enforcer}
}

// Dial connects to the gateway, whatever tenant's host is asked for.
func (d *Deployment) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialer net.Dialer
	if host, _, err := net.SplitHostPort(addr); err == nil && strings.HasSuffix(host, hostSuffix) {
		addr = d.Gateway
	}
	return dialer.DialContext(ctx, network, addr) //nolint:wrapcheck // a dialer
}
