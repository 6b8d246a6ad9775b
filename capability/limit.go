package capability

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
)

// The kinds of limit, as they are written.
const (
	kindMax      = "max"
	kindCurrency = "currency"
	kindIn       = "in"
	kindIs       = "is"
	kindPrefix   = "prefix"
	kindAfter    = "after"
	kindBefore   = "before"
	kindWithin   = "within"
	kindFact     = "at_most_fact"
)

// limit holds all kinds for one input. All that are set must hold.
type limit struct {
	max           *bound
	in            []scalar // sorted, each once; nil is no limit
	is            *scalar
	prefix        string
	after, before time.Time
	within        []netip.Prefix // masked, merged and sorted; nil is no limit
	facts         []string       // sorted, each once
}

// bound is an upper bound. Without a currency it bounds a plain whole number.
type bound struct {
	amount   int64
	currency string
}

// scalar is a string or a whole number.
type scalar struct {
	text   string
	number int64
	isText bool
}

func (s scalar) compare(o scalar) int {
	if s.isText != o.isText {
		if o.isText {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(s.number, o.number), strings.Compare(s.text, o.text))
}

func (s scalar) wire() any {
	if s.isText {
		return s.text
	}
	return s.number
}

// meet combines two limits in normal form into one in normal form; false if no
// value satisfies both.
func (l limit) meet(o limit) (limit, bool) {
	out := limit{prefix: l.prefix, after: l.after, before: l.before}
	switch {
	case l.max == nil:
		out.max = o.max
	case o.max == nil:
		out.max = l.max
	case l.max.currency != o.max.currency:
		return limit{}, false
	default:
		out.max = &bound{amount: min(l.max.amount, o.max.amount), currency: l.max.currency}
	}
	if out.is = cmp.Or(l.is, o.is); l.is != nil && o.is != nil && *l.is != *o.is {
		return limit{}, false
	}
	var ok bool
	if out.in, ok = meetSets(l.in, o.in); !ok {
		return limit{}, false
	}
	if out.prefix, ok = meetPrefixes(l.prefix, o.prefix); !ok {
		return limit{}, false
	}
	if o.after.After(l.after) {
		out.after = o.after
	}
	if l.before.IsZero() || !o.before.IsZero() && o.before.Before(l.before) {
		out.before = o.before
	}
	if out.within, ok = meetNetworks(l.within, o.within); !ok {
		return limit{}, false
	}
	out.facts = slices.Concat(l.facts, o.facts)
	return out.normal()
}

// normal brings l into canonical form: is takes in and prefix in, in takes prefix
// in, and both take in a bound without a currency. False if the kinds ask for values
// of different types, if no value satisfies them all, or if they are too many.
func (l limit) normal() (limit, bool) {
	slices.Sort(l.facts)
	l.facts = slices.Compact(l.facts)
	if len(l.facts) == 0 {
		l.facts = nil
	}
	if len(l.facts) > MaxElements || len(l.within) > MaxElements {
		return limit{}, false
	}
	isTime := !l.after.IsZero() || !l.before.IsZero()
	isNumber := l.max != nil || l.facts != nil
	types := 0
	for _, set := range []bool{isTime, l.within != nil, l.prefix != "", isNumber} {
		if set {
			types++
		}
	}
	exact := l.is != nil || l.in != nil
	if types > 1 || exact && (isTime || l.within != nil || l.max != nil && l.max.currency != "") {
		return limit{}, false
	}
	if isTime && !l.after.IsZero() && !l.before.IsZero() && !l.after.Before(l.before) {
		return limit{}, false
	}
	if exact {
		return l.absorb()
	}
	return l, true
}

// absorb narrows is and in by the other kinds and drops what they then imply.
func (l limit) absorb() (limit, bool) {
	fits := func(s scalar) bool {
		switch {
		case l.prefix != "":
			return s.isText && underPrefix(s.text, l.prefix)
		case l.max != nil:
			return !s.isText && s.number >= 0 && s.number <= l.max.amount
		case l.facts != nil:
			return !s.isText && s.number >= 0
		}
		return true
	}
	if l.is != nil {
		if !fits(*l.is) || l.in != nil && !slices.Contains(l.in, *l.is) {
			return limit{}, false
		}
		l.in = nil
	} else {
		kept := make([]scalar, 0, len(l.in))
		for _, s := range l.in {
			if fits(s) {
				kept = append(kept, s)
			}
		}
		if len(kept) == 0 {
			return limit{}, false
		}
		l.in = kept
	}
	l.prefix, l.max = "", nil
	return l, true
}

func meetSets(a, b []scalar) ([]scalar, bool) {
	if a == nil || b == nil {
		return slices.Concat(a, b), true
	}
	var out []scalar
	for _, s := range a {
		if slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out, len(out) > 0
}

// meetPrefixes gives the longer one, if it lies below the shorter one.
func meetPrefixes(a, b string) (string, bool) {
	if a == "" || b == "" {
		return a + b, true
	}
	if len(a) > len(b) {
		a, b = b, a
	}
	return b, underPrefix(b, a)
}

// equal compares two limits in normal form.
func (l limit) equal(o limit) bool {
	sameMax := (l.max == nil) == (o.max == nil) && (l.max == nil || *l.max == *o.max)
	sameIs := (l.is == nil) == (o.is == nil) && (l.is == nil || *l.is == *o.is)
	return sameMax && sameIs && l.prefix == o.prefix && l.after.Equal(o.after) && l.before.Equal(o.before) &&
		slices.Equal(l.in, o.in) && slices.Equal(l.within, o.within) && slices.Equal(l.facts, o.facts)
}

// looserThan names the kind of parent that l does not keep, as the end of a field
// path, where one kind alone is at fault.
func (l limit) looserThan(parent limit) string {
	for _, kind := range parent.kinds() {
		one := parent.only(kind)
		if met, ok := l.meet(one); !ok || !met.equal(l) {
			return "." + kind
		}
	}
	return ""
}

// only is l with a single kind left.
func (l limit) only(kind string) limit {
	switch kind {
	case kindMax:
		return limit{max: l.max}
	case kindIn:
		return limit{in: l.in}
	case kindIs:
		return limit{is: l.is}
	case kindPrefix:
		return limit{prefix: l.prefix}
	case kindAfter:
		return limit{after: l.after}
	case kindBefore:
		return limit{before: l.before}
	case kindWithin:
		return limit{within: l.within}
	case kindFact:
		return limit{facts: l.facts}
	}
	return limit{}
}

// kinds are those that are set, in a fixed order.
func (l limit) kinds() []string {
	var out []string
	for _, k := range []struct {
		kind string
		set  bool
	}{
		{kindIs, l.is != nil},
		{kindIn, l.in != nil},
		{kindPrefix, l.prefix != ""},
		{kindMax, l.max != nil},
		{kindAfter, !l.after.IsZero()},
		{kindBefore, !l.before.IsZero()},
		{kindWithin, l.within != nil},
		{kindFact, l.facts != nil},
	} {
		if k.set {
			out = append(out, k.kind)
		}
	}
	return out
}

// wire is the JSON form.
func (l limit) wire() map[string]any {
	out := map[string]any{}
	if l.max != nil {
		out[kindMax] = l.max.amount
		if l.max.currency != "" {
			out[kindCurrency] = l.max.currency
		}
	}
	if l.in != nil {
		set := make([]any, len(l.in))
		for i, s := range l.in {
			set[i] = s.wire()
		}
		out[kindIn] = set
	}
	if l.is != nil {
		out[kindIs] = l.is.wire()
	}
	if l.prefix != "" {
		out[kindPrefix] = l.prefix
	}
	if !l.after.IsZero() {
		out[kindAfter] = l.after.Format(time.RFC3339Nano)
	}
	if !l.before.IsZero() {
		out[kindBefore] = l.before.Format(time.RFC3339Nano)
	}
	if l.within != nil {
		out[kindWithin] = l.within
	}
	switch len(l.facts) {
	case 0:
	case 1:
		out[kindFact] = l.facts[0]
	default:
		out[kindFact] = l.facts
	}
	return out
}

// text is the JSON form for a message to the caller, bounded.
func (l limit) text() string {
	const most = 200
	out, err := json.Marshal(l.wire())
	if err != nil {
		return "a limit"
	}
	if len(out) > most {
		return strings.ToValidUTF8(string(out[:most]), "") + "…"
	}
	return string(out)
}

// refusal is the error of one unmet limit: KindForbidden, with a reason such as
// constraint_amount_max and the input as its field.
func refusal(field, kind, message string) *agentid.Error {
	return &agentid.Error{Kind: agentid.KindForbidden, Reason: "constraint_" + field + "_" + kind, Field: field, Message: message}
}
