package drive

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/client"
	"github.com/agentid-dev/agentid/loadtest/scenario"
)

// Client is an HTTP client for many concurrent requests. dial is net.Dialer's when nil.
func Client(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *http.Client {
	return &http.Client{
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dial, MaxIdleConns: 4096, MaxIdleConnsPerHost: 1024, IdleConnTimeout: time.Minute, DisableCompression: true,
		},
	}
}

// Limits hold a run against a deployment that others use.
type Limits struct {
	Hosts       []string      // host or host:port that may be loaded, besides nothing
	MaxRate     int           // arrivals per second
	MaxDuration time.Duration // of the whole run
	Confirmed   bool          // the one who starts it said so
}

// The limits of a live run where none are given.
const (
	DefaultMaxRate     = 50
	DefaultMaxDuration = time.Minute
)

// LiveConfig is a run against a deployment that is there already.
type LiveConfig struct {
	Version  string
	Scenario scenario.Scenario
	Target   string // the connector's URL at the gateway
	Agent    *client.Client
	Request  client.TokenRequest
	Read     string // path of an allowed read
	Limits   Limits
	Progress func(string)
}

// Check refuses a run that could do harm, before anything is sent: operations that change
// anything, hosts that were not named, more load than the limits, no confirmation.
func (c LiveConfig) Check() error {
	s := c.Scenario
	for _, m := range s.Mix {
		if m.Do != scenario.OpRead && m.Do != scenario.OpMint {
			return agentid.Invalidf("mix", "%s is not sent to a live deployment: only %s and %s are", m.Do, scenario.OpRead, scenario.OpMint)
		}
	}
	if s.Vary.Over != "" || s.World != (scenario.World{Tenants: 1, Agents: 1, Depth: 1}) {
		return agentid.Invalidf("world", "a live deployment is as it is: take world and vary out of the scenario")
	}
	if s.Tokens.Reuse == scenario.ReuseFresh {
		return agentid.Invalidf("tokens.reuse", "a live deployment is not asked for a token for each request")
	}
	for field, where := range map[string]string{"target": c.Target, "issuer": c.Agent.Issuer()} {
		if err := c.Limits.admits(where); err != nil {
			return agentid.AsError(err).WithField(field)
		}
	}
	if !strings.HasPrefix(c.Read, "/") {
		return agentid.Invalidf("path", "want the path of a read that the token allows, such as /v1/customers/cus_123")
	}
	return c.Limits.check(s)
}

func (l Limits) check(s scenario.Scenario) error {
	rate, longest := l.MaxRate, l.MaxDuration
	if rate <= 0 {
		rate = DefaultMaxRate
	}
	if longest <= 0 {
		longest = DefaultMaxDuration
	}
	switch {
	case s.MaxRate() > rate:
		return agentid.Invalidf("rates", "up to %d per second, and the limit is %d", s.MaxRate(), rate)
	case s.Burst > rate:
		return agentid.Invalidf("burst", "%d at once, and the limit is %d per second", s.Burst, rate)
	case s.Duration() > longest:
		return agentid.Invalidf("step", "the run takes %s, and the limit is %s", s.Duration(), longest)
	case !l.Confirmed:
		return agentid.Invalidf("confirm", "load on a live deployment has to be confirmed")
	}
	return nil
}

// admits refuses a URL whose host was not named, and plain http to another machine.
func (l Limits) admits(where string) error {
	u, err := url.Parse(where)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return agentid.Invalidf("url", "want scheme://host")
	}
	if !slices.Contains(l.Hosts, u.Host) && !slices.Contains(l.Hosts, u.Hostname()) {
		return agentid.Errorf(agentid.KindForbidden, "host_not_named", "%s is not among the hosts that may be loaded", u.Host)
	}
	if addr, err := netip.ParseAddr(u.Hostname()); u.Scheme == "http" && (err != nil || !addr.IsLoopback()) && u.Hostname() != "localhost" {
		return agentid.Invalidf("url", "http is for loopback addresses only")
	}
	return nil
}

// Live checks the limits and runs.
func Live(ctx context.Context, cfg LiveConfig) (*Result, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	t := &Target{Name: cfg.Target, HTTP: Client(nil), Progress: cfg.Progress, Callers: []*Caller{{
		Agent: cfg.Agent, Resource: strings.TrimSuffix(cfg.Target, "/"), Request: cfg.Request, Read: cfg.Read,
	}}}
	out := &Result{
		Kind: "run", Scenario: describe(cfg.Scenario), Target: cfg.Target, Version: cfg.Version,
		Started: time.Now().UTC().Truncate(time.Second), Machine: ThisMachine(), Faults: []string{},
	}
	var err error
	if out.Points, err = Points(ctx, cfg.Scenario, t, 0); err != nil {
		return nil, err
	}
	out.Faults = append(out.Faults, Judge(cfg.Scenario, out.Points)...)
	return out, nil
}
