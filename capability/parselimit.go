package capability

import (
	"net/netip"
	"slices"
	"time"

	"github.com/agentid-dev/agentid/capability/strictjson"
)

// parseLimit reads the limits of one input, not yet in normal form. path names the
// input, for errors.
func parseLimit(name string, v strictjson.Value, path string) (limit, error) {
	members, ok := v.Members()
	if !ok {
		return limit{}, detailError(path, "want an object of limits, have %s", v.Kind())
	}
	if len(members) == 0 {
		return limit{}, detailError(path, "holds no limit")
	}
	if name == fieldUses {
		return parseUses(v, path)
	}
	var l limit
	for _, m := range members {
		if err := l.parseKind(m.Name, m.Value, path+"."+printable(m.Name)); err != nil {
			return limit{}, err
		}
	}
	if l.max != nil && l.max.amount < 0 {
		return limit{}, detailError(path+"."+kindCurrency, "stands without max")
	}
	return l, nil
}

func parseUses(v strictjson.Value, path string) (limit, error) {
	members, _ := v.Members()
	for _, m := range members {
		if m.Name != kindMax {
			return limit{}, detailError(path+"."+printable(m.Name), "is not a limit of uses")
		}
	}
	n, err := v.Get(kindMax).Integer()
	if err != nil || n < 1 {
		return limit{}, detailError(path+"."+kindMax, "want a whole number from 1 to 2^53")
	}
	return limit{max: &bound{amount: n}}, nil
}

func (l *limit) parseKind(kind string, v strictjson.Value, path string) error {
	switch kind {
	case kindMax, kindCurrency:
		return l.parseBound(kind, v, path)
	case kindIn:
		return l.parseSet(v, path)
	case kindIs:
		s, err := parseScalar(v, path)
		l.is = &s
		return err
	case kindPrefix:
		text, ok := v.Text()
		if !ok || !cleanPath(text) {
			return detailError(path, "want a path without empty, '.' and '..' segments, '\\' and '%%'")
		}
		l.prefix = text
	case kindAfter, kindBefore:
		return l.parseTime(kind, v, path)
	case kindWithin:
		return l.parseNetworks(v, path)
	case kindFact:
		return l.parseFacts(v, path)
	default:
		return detailError(path, "is not a kind of limit")
	}
	return nil
}

// parseBound reads max and currency in either order; an amount of -1 stands for a
// max that has not come yet.
func (l *limit) parseBound(kind string, v strictjson.Value, path string) error {
	if l.max == nil {
		l.max = &bound{amount: -1}
	}
	if kind == kindCurrency {
		text, ok := v.Text()
		if !ok || !isCurrency(text) {
			return detailError(path, "want an ISO 4217 code in lower case")
		}
		l.max.currency = text
		return nil
	}
	n, err := v.Integer()
	if err != nil {
		return detailError(path, "%s", err.Error())
	}
	if n < 0 {
		return detailError(path, "must not be negative")
	}
	l.max.amount = n
	return nil
}

func parseScalar(v strictjson.Value, path string) (scalar, error) {
	if v.Kind() == strictjson.Number {
		n, err := v.Integer()
		if err != nil {
			return scalar{}, detailError(path, "%s", err.Error())
		}
		return scalar{number: n}, nil
	}
	text, ok := v.Text()
	if !ok || !isText(text) {
		return scalar{}, detailError(path, "want a whole number or a string of 1 to %d bytes without control characters", MaxText)
	}
	return scalar{text: text, isText: true}, nil
}

// parseItems reads a list of 1 to MaxElements values.
func parseItems(v strictjson.Value, path string) ([]strictjson.Value, error) {
	items, ok := v.Items()
	if !ok || len(items) == 0 || len(items) > MaxElements {
		return nil, detailError(path, "want an array of 1 to %d values", MaxElements)
	}
	return items, nil
}

func (l *limit) parseSet(v strictjson.Value, path string) error {
	items, err := parseItems(v, path)
	if err != nil {
		return err
	}
	l.in = make([]scalar, len(items))
	for i, item := range items {
		if l.in[i], err = parseScalar(item, path); err != nil {
			return err
		}
	}
	slices.SortFunc(l.in, scalar.compare)
	l.in = slices.Compact(l.in)
	return nil
}

func (l *limit) parseTime(kind string, v strictjson.Value, path string) error {
	text, _ := v.Text()
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.IsZero() || t.UTC().Year() < 1 || t.UTC().Year() > 9999 {
		return detailError(path, "want a time as in RFC 3339")
	}
	if kind == kindAfter {
		l.after = t.UTC()
	} else {
		l.before = t.UTC()
	}
	return nil
}

func (l *limit) parseNetworks(v strictjson.Value, path string) error {
	items, err := parseItems(v, path)
	if err != nil {
		return err
	}
	list := make([]netip.Prefix, len(items))
	for i, item := range items {
		text, _ := item.Text()
		p, err := netip.ParsePrefix(text)
		if err != nil || p != p.Masked() || p.Addr().Is4In6() {
			return detailError(path, "want networks such as 10.0.0.0/8, with no bits set beyond the mask")
		}
		list[i] = p
	}
	l.within = mergeNetworks(list)
	return nil
}

func (l *limit) parseFacts(v strictjson.Value, path string) error {
	items := []strictjson.Value{v}
	if v.Kind() == strictjson.Array {
		var err error
		if items, err = parseItems(v, path); err != nil {
			return err
		}
	}
	for _, item := range items {
		text, ok := item.Text()
		if !ok || !isFact(text) {
			return detailError(path, "want the name of a fact, such as charge.refundable")
		}
		l.facts = append(l.facts, text)
	}
	return nil
}
