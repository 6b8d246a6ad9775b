package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Fault is one value that cannot stand.
type Fault struct{ Key, Message string }

// Validate lists what is wrong with the effective values; empty means usable. It
// looks at no file and no socket.
func (c Config) Validate() []Fault {
	v := &validator{}
	v.broker(c.Broker)
	v.gateway(c)
	v.tokens(c.Tokens)
	v.readOnly(c.ReadOnly)
	v.fleet(c.Fleet)
	v.oneOf("graph.mode", c.Graph.Mode, "embedded")
	v.atLeast("graph.gc_window", c.Graph.GCWindow, time.Minute)
	v.atLeast("graph.gc_interval", c.Graph.GCInterval, time.Second)
	v.oneOf("log.format", c.Log.Format, "json", "text")
	v.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	v.atLeast("drain", c.Drain, time.Second)
	v.rates(c.Rates)
	if c.Telemetry.OTLPEndpoint != "" {
		v.url("telemetry.otlp_endpoint", c.Telemetry.OTLPEndpoint, true)
	}
	if c.Telemetry.MetricsListen != "" {
		v.listen("telemetry.metrics_listen", c.Telemetry.MetricsListen)
	}
	v.profile(c.Telemetry.ProfileListen)
	return v.sorted()
}

type validator struct{ faults []Fault }

func (v *validator) sorted() []Fault {
	slices.SortFunc(v.faults, func(a, b Fault) int { return strings.Compare(a.Key, b.Key) })
	return v.faults
}

func (v *validator) rates(r Rates) {
	for key, n := range map[string]int{
		"rates.token_per_minute": r.TokenPerMinute, "rates.token_burst": r.TokenBurst,
		"rates.agent_per_minute": r.AgentPerMinute, "rates.agent_burst": r.AgentBurst,
		"rates.tenant_per_minute": r.TenantPerMinute, "rates.tenant_burst": r.TenantBurst,
		"rates.mint_per_minute": r.MintPerMinute, "rates.mint_burst": r.MintBurst,
	} {
		if n < 0 {
			v.add(key, "must not be negative")
		}
	}
}

func (v *validator) add(key, message string) { v.faults = append(v.faults, Fault{key, message}) }

func (v *validator) broker(b Broker) {
	host := v.listen("broker.listen", b.Listen)
	v.tls("broker.tls", b.TLS)
	v.plain("broker.listen", host, b.TLS, b.BehindTLSProxy)
	u := v.url("broker.url", b.URL, false)
	if u == nil {
		return
	}
	if u.Scheme == "http" && !IsLoopback(u.Hostname()) {
		v.add("broker.url", "must be https; http is for loopback only")
	}
	if b.TLS.Enabled() && u.Scheme != "https" {
		v.add("broker.url", "must be https, because broker.tls is set")
	}
}

func (v *validator) gateway(c Config) {
	v.tls("gateway.tls", c.Gateway.TLS)
	v.gatewayListen(c.Gateway, c.Broker.Listen)
}

func (v *validator) gatewayListen(g Gateway, taken ...string) {
	seen := map[string]bool{}
	for _, addr := range taken {
		seen[addr] = true
	}
	for i, addr := range g.Listen {
		key := fmt.Sprintf("gateway.listen[%d]", i)
		host := v.listen(key, addr)
		v.plain(key, host, g.TLS, g.BehindTLSProxy)
		if seen[addr] && !strings.HasSuffix(addr, ":0") {
			v.add(key, "is listened on twice")
		}
		seen[addr] = true
	}
}

func (v *validator) tokens(t Tokens) {
	v.oneOf("tokens.algorithm", t.Algorithm, "EdDSA", "ES256")
	v.atLeast("tokens.lifetime", t.Lifetime, 10*time.Second)
	if t.Lifetime > MaxLifetime {
		v.add("tokens.lifetime", "must not be over 1h")
	}
}

func (v *validator) readOnly(r ReadOnly) {
	if r.Listen == "" {
		if !r.Key.IsZero() {
			v.add("spicedb_readonly.listen", "is required where spicedb_readonly.key is given")
		}
		return
	}
	host := v.listen("spicedb_readonly.listen", r.Listen)
	if host != "" && !IsLoopback(host) {
		v.add("spicedb_readonly.listen", "must be on loopback")
	}
	if r.Key.IsZero() {
		v.add("spicedb_readonly.key", "is required: file:/path or env:NAME")
	}
}

// listen checks host:port and gives the host.
func (v *validator) listen(key, addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		v.add(key, "expected host:port, such as 127.0.0.1:7420")
		return ""
	}
	if host == "" {
		return "0.0.0.0"
	}
	return host
}

func (v *validator) profile(addr string) {
	const key = "telemetry.profile_listen"
	if addr != "" {
		if host := v.listen(key, addr); host != "" && !IsLoopback(host) {
			v.add(key, "must be on loopback")
		}
	}
}

func (v *validator) tls(key string, t TLS) {
	if t.Enabled() && (t.Cert == "" || t.Key.IsZero()) {
		v.add(key, "needs both cert (a path) and key (file:/path or env:NAME)")
	}
}

// plain refuses unencrypted listening off loopback, unless a proxy in front does TLS.
func (v *validator) plain(key, host string, t TLS, behindProxy bool) {
	if host != "" && !IsLoopback(host) && !t.Enabled() && !behindProxy {
		section, _, _ := strings.Cut(key, ".")
		v.add(key, "listens beyond loopback without TLS; set "+section+".tls, or "+section+".behind_tls_proxy: true where a proxy in front does it")
	}
}

func (v *validator) url(key, text string, path bool) *url.URL {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		v.add(key, "expected scheme://host[:port] with http or https")
		return nil
	}
	if !path && u.Path != "" {
		v.add(key, "must have no path and no trailing slash")
		return nil
	}
	return u
}

func (v *validator) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		v.add(key, "expected "+strings.Join(allowed, " or "))
	}
}

func (v *validator) atLeast(key string, value, least time.Duration) {
	if value < least {
		v.add(key, "must be at least "+least.String())
	}
}

// IsLoopback reports whether a host name or address stays on this machine.
func IsLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
