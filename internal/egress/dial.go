package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// ErrBlocked marks an address that we do not speak to.
var ErrBlocked = errors.New("the address is not public")

// Resolver turns a host name into addresses; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Dialer connects to public addresses only. It resolves once, refuses when any of the
// addresses is not allowed, and connects to the address that it looked at, so that a
// name cannot point elsewhere in between.
type Dialer struct {
	Resolver     Resolver      // net.DefaultResolver when nil
	Timeout      time.Duration // per attempt; 5 s when zero
	AllowPrivate bool          // loopback, private and shared addresses too
	loopbackOnly bool          // for http in clear
}

const defaultDialTimeout = 5 * time.Second

// DialContext fits http.Transport.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	addrs, err := d.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if !Permitted(a, d.AllowPrivate) {
			return nil, fmt.Errorf("dial: %w", ErrBlocked)
		}
		if d.loopbackOnly && !a.IsLoopback() {
			return nil, fmt.Errorf("dial: %w", ErrInsecure)
		}
	}
	timeout := d.Timeout
	if timeout <= 0 {
		timeout = defaultDialTimeout
	}
	dialer := net.Dialer{Timeout: timeout}
	for _, a := range addrs {
		var conn net.Conn
		if conn, err = dialer.DialContext(ctx, network, net.JoinHostPort(a.String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, fmt.Errorf("dial: %w", err)
}

func (d *Dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	var r Resolver = net.DefaultResolver
	if d.Resolver != nil {
		r = d.Resolver
	}
	addrs, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("resolve: %w", err)
	}
	if len(addrs) == 0 {
		return nil, errors.New("resolve: the name has no address")
	}
	for i, a := range addrs {
		// A resolver hands out IPv4 answers in mapped form; as a literal or in an
		// AAAA record the mapped form is not told apart, and is judged as IPv4.
		addrs[i] = a.Unmap()
	}
	return addrs, nil
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// private may be allowed for a connector or an issuer: RFC 1918, loopback, shared address space,
// unique local addresses.
var private = prefixes("10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7")

// never is refused always: link-local with the clouds' metadata services,
// "this network", multicast, reserved and documentation ranges (RFC 6890), and the
// ranges that hide an IPv4 address: NAT64, 6to4, Teredo, IPv4-compatible.
var never = prefixes(
	"0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "100.100.100.200/32", "168.63.129.16/32",
	"64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16",
	"fe80::/10", "fec0::/10", "ff00::/8", "fd00:ec2::254/128", "fd20:ce::254/128",
)

// Permitted reports whether we may connect to a. A zoned or IPv4-mapped
// address is never permitted; outside of IPv4 only global unicast (2000::/3) is.
func Permitted(a netip.Addr, allowPrivate bool) bool {
	if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
		return false
	}
	for _, p := range never {
		if p.Contains(a) {
			return false
		}
	}
	for _, p := range private {
		if p.Contains(a) {
			return allowPrivate
		}
	}
	return a.Is4() || netip.MustParsePrefix("2000::/3").Contains(a)
}
