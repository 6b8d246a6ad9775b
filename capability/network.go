package capability

import (
	"net/netip"
	"slices"
)

// mergeNetworks sorts, drops networks inside others and joins halves, so that one
// set of addresses has one list.
func mergeNetworks(list []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, netip.Prefix.Compare)
	for _, p := range sorted {
		if n := len(out); n > 0 && out[n-1].Overlaps(p) {
			continue // sorted: the earlier one is the wider one
		}
		out = append(out, p)
		for n := len(out); n > 1; n = len(out) {
			joined, ok := join(out[n-2], out[n-1])
			if !ok {
				break
			}
			out = append(out[:n-2], joined)
		}
	}
	return out
}

// join gives the network whose two halves are a and b.
func join(a, b netip.Prefix) (netip.Prefix, bool) {
	if a.Bits() != b.Bits() || a.Bits() == 0 || a == b || a.Addr().Is4() != b.Addr().Is4() {
		return netip.Prefix{}, false
	}
	wide := netip.PrefixFrom(a.Addr(), a.Bits()-1).Masked()
	return wide, wide.Contains(b.Addr())
}

// meetNetworks intersects two merged lists; nil is no limit.
func meetNetworks(a, b []netip.Prefix) ([]netip.Prefix, bool) {
	if a == nil || b == nil {
		return slices.Concat(a, b), true
	}
	var out []netip.Prefix
	for _, p := range a {
		for _, q := range b {
			if !p.Overlaps(q) {
				continue
			}
			if p.Bits() > q.Bits() {
				out = append(out, p)
			} else {
				out = append(out, q)
			}
		}
	}
	return mergeNetworks(out), len(out) > 0
}
