package egress_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid/internal/egress"
)

func TestAddressesThatWeSpeakTo(t *testing.T) {
	for text, want := range map[string]struct{ public, private bool }{
		"8.8.8.8":                {true, true},
		"2606:4700::1111":        {true, true},
		"127.0.0.1":              {false, true},
		"127.8.8.8":              {false, true},
		"10.1.2.3":               {false, true},
		"172.16.0.1":             {false, true},
		"192.168.1.1":            {false, true},
		"100.64.0.1":             {false, true},
		"::1":                    {false, true},
		"fd00::1":                {false, true},
		"0.0.0.0":                {},
		"0.1.2.3":                {},
		"169.254.169.254":        {},
		"169.254.1.1":            {},
		"168.63.129.16":          {},
		"100.100.100.200":        {},
		"fd00:ec2::254":          {},
		"255.255.255.255":        {},
		"224.0.0.1":              {},
		"240.0.0.1":              {},
		"192.0.2.1":              {},
		"198.18.0.1":             {},
		"::":                     {},
		"fe80::1":                {},
		"fe80::1%eth0":           {},
		"ff02::1":                {},
		"::ffff:127.0.0.1":       {},
		"::ffff:8.8.8.8":         {},
		"::ffff:169.254.169.254": {},
		"::127.0.0.1":            {},
		"64:ff9b::7f00:1":        {},
		"64:ff9b:1::a9fe:a9fe":   {},
		"2002:7f00:1::":          {},
		"2001:0:4136:e378::1":    {},
		"2001:db8::1":            {},
		"fec0::1":                {},
		"5f00::1":                {},
		"4000::1":                {},
		"1::1":                   {},
		"203.0.113.9":            {},
		"192.88.99.1":            {},
		"192.0.0.170":            {},
		"100::1":                 {},
		"3fff::1":                {},
		"64:ff9b::8.8.8.8":       {},
		"2001:4860:4860::8888":   {true, true},
		"172.32.0.1":             {true, true},
		"100.128.0.1":            {true, true},
		"2600:1f00::1":           {true, true},
		"fdff:ffff::1":           {false, true},
		"fd20:ce::254":           {},
	} {
		a := netip.MustParseAddr(text)
		require.Equal(t, want.public, egress.Permitted(a, false), text)
		require.Equal(t, want.private, egress.Permitted(a, true), text)
	}
	require.False(t, egress.Permitted(netip.Addr{}, true))
}

// names is a resolver under an attacker's control: it answers differently each time.
type names struct {
	answers [][]string
	asked   int
}

func (n *names) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	answer := n.answers[min(n.asked, len(n.answers)-1)]
	n.asked++
	var out []netip.Addr
	for _, s := range answer {
		out = append(out, netip.MustParseAddr(s))
	}
	return out, nil
}

func TestDialAfterResolution(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	for name, answers := range map[string][]string{
		"loopback":           {"127.0.0.1"},
		"metadata":           {"169.254.169.254"},
		"mapped loopback":    {"::ffff:127.0.0.1"},
		"one of several":     {"8.8.8.8", "127.0.0.1"},
		"unique local":       {"fd00::8"},
		"NAT64 of loopback":  {"64:ff9b::7f00:1"},
		"6to4 of loopback":   {"2002:7f00:1::"},
		"unspecified":        {"0.0.0.0"},
		"no address at all":  {},
		"IPv6 loopback":      {"::1"},
		"shared address":     {"100.64.0.1"},
		"link-local of IPv6": {"fe80::1"},
	} {
		d := &egress.Dialer{Resolver: &names{answers: [][]string{answers}}}
		_, err := d.DialContext(t.Context(), "tcp", "upstream.example:"+port)
		require.Error(t, err, name)
		if len(answers) > 0 {
			require.Contains(t, err.Error(), "not public", name)
		}
	}
	for _, literal := range []string{"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "0.0.0.0"} {
		_, err := (&egress.Dialer{}).DialContext(t.Context(), "tcp", literal+":"+port)
		require.ErrorContains(t, err, "not public", literal)
	}
	// Spellings that only a C library takes for an address do not become one.
	for _, odd := range []string{"2130706433", "0177.0.0.1", "0x7f.1", "127.1"} {
		_, err := (&egress.Dialer{Resolver: failing{}}).DialContext(t.Context(), "tcp", odd+":"+port)
		require.ErrorContains(t, err, "resolve", odd)
	}
}

type failing struct{}

func (failing) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return nil, errors.New("no such host")
}

// What was looked at is what is connected to: a second answer of the resolver is never
// asked for.
func TestDNSRebinding(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	resolver := &names{answers: [][]string{{"127.0.0.1"}, {"169.254.169.254"}}}
	d := &egress.Dialer{Resolver: resolver, AllowPrivate: true}
	conn, err := d.DialContext(t.Context(), "tcp", "rebind.example:"+strings.Split(l.Addr().String(), ":")[1])
	require.NoError(t, err)
	require.Equal(t, l.Addr().String(), conn.RemoteAddr().String())
	require.NoError(t, conn.Close())
	require.Equal(t, 1, resolver.asked)
}
