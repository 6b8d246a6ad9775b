package agentrun

import (
	"slices"
	"strings"

	"github.com/agentid-dev/agentid"
)

// placeholder stands where an SDK wants a key: it opens nothing.
const placeholder = "unused"

// own is the prefix of the variables that are about AgentID. The command gets none of the
// caller's: they say where credentials are.
const own = "AGENTID_"

// environment is the caller's without what leads to credentials, with the proxies' URLs:
//
//	AGENTID_AGENT            the agent: "agent:acme/run-x"
//	AGENTID_<CONNECTOR>_URL  base URL of each connector
//
// and what the SDKs of a connector's kind read, where the kind has one connector only.
func (c Config) environment(all proxies) ([]string, error) {
	set := map[string]string{own + "AGENT": c.Agent.Agent().String()}
	for _, p := range all {
		name := own + variable(p.name) + "_URL"
		if _, taken := set[name]; taken {
			return nil, agentid.Invalidf("connector", "two connectors would be %s", name)
		}
		set[name] = p.url
		kind, known := c.Kinds[p.kind]
		if !known || slices.ContainsFunc(all, func(o *proxy) bool { return o != p && o.kind == p.kind }) {
			continue
		}
		for _, name := range kind.Environment.BaseURL {
			set[name] = p.url
		}
		for _, name := range kind.Environment.Placeholder {
			set[name] = placeholder
		}
	}
	var out []string
	direct := []string{"127.0.0.1", "localhost"}
	for _, pair := range c.Environment {
		name, value, _ := strings.Cut(pair, "=")
		switch _, ours := set[name]; {
		case ours, strings.HasPrefix(name, own), slices.Contains(c.Hidden, name):
			continue
		case strings.EqualFold(name, "no_proxy"):
			direct = append(direct, value)
			continue
		}
		out = append(out, pair)
	}
	set["NO_PROXY"] = strings.Join(direct, ",") // loopback is not behind the caller's web proxy
	set["no_proxy"] = set["NO_PROXY"]
	for name, value := range set {
		out = append(out, name+"="+value)
	}
	slices.Sort(out)
	return out, nil
}

// variable is a connector's name as part of a variable's.
func variable(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)
}
