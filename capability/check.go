package capability

import (
	"net/netip"
	"slices"
	"time"
)

// Check holds an operation's inputs against every limit but uses and facts. An
// input that a limit names and that is absent, of another type, in another currency,
// negative or above 2^53 is refused like one that is out of bounds. The error is
// KindForbidden; its field is the input, its reason "constraint_<input>_<what>",
// what being the kind, or missing, type, currency or invalid.
func (c Constraints) Check(in Inputs) error {
	for i := range c.fields {
		f := &c.fields[i]
		if f.name == fieldUses {
			continue
		}
		value, ok := in[f.name]
		if !ok {
			return refusal(f.name, "missing", "the token limits this input, and the operation does not have it")
		}
		if err := f.check(value); err != nil {
			return err
		}
	}
	return nil
}

// CheckFacts holds inputs against the facts that at_most_fact names. A fact that is
// absent, of another type, in another currency or negative is refused: KindForbidden,
// reason constraint_<input>_at_most_fact.
func (c Constraints) CheckFacts(in Inputs, facts Facts) error {
	for i := range c.fields {
		f := &c.fields[i]
		for _, name := range f.facts {
			if err := f.check(in[f.name]); err != nil {
				return err
			}
			if !atMost(in[f.name], facts[name]) {
				return refusal(f.name, kindFact, "is more than "+name+" allows now")
			}
		}
	}
	return nil
}

// atMost compares two amounts of one type and currency; anything else is false.
func atMost(value, fact any) bool {
	switch v := value.(type) {
	case int64:
		n, ok := fact.(int64)
		return ok && n >= 0 && v <= n
	case Money:
		m, ok := fact.(Money)
		return ok && m.Amount >= 0 && m.Currency == v.Currency && v.Amount <= m.Amount
	}
	return false
}

func (f *namedLimit) check(value any) error {
	switch v := value.(type) {
	case string:
		return f.checkScalar(scalar{text: v, isText: true})
	case int64:
		if f.max != nil || f.facts != nil {
			return f.checkNumber(v)
		}
		return f.checkScalar(scalar{number: v})
	case Money:
		return f.checkMoney(v)
	case time.Time:
		return f.checkTime(v)
	case netip.Addr:
		return f.checkAddr(v)
	}
	return f.wrongType()
}

func (f *namedLimit) wrongType() error {
	return refusal(f.name, "type", "is not of the type that the limit is for")
}

// amountInvalid bounds every amount that a limit looks at.
func amountInvalid(n int64) bool { return n < 0 || n > MaxInteger }

func (f *namedLimit) checkScalar(s scalar) error {
	switch {
	case f.is != nil:
		if *f.is != s {
			return f.mismatch(s, f.is.isText, kindIs)
		}
	case f.in != nil:
		if !slices.Contains(f.in, s) {
			return refusal(f.name, kindIn, "is not one of the allowed values")
		}
	case f.prefix != "" && s.isText:
		if !underPrefix(s.text, f.prefix) {
			return refusal(f.name, kindPrefix, "is not below the allowed prefix")
		}
	default:
		return f.wrongType()
	}
	return nil
}

func (f *namedLimit) mismatch(s scalar, wantText bool, kind string) error {
	if s.isText != wantText {
		return f.wrongType()
	}
	return refusal(f.name, kind, "is not the allowed value")
}

func (f *namedLimit) checkNumber(n int64) error {
	switch {
	case f.max != nil && f.max.currency != "":
		return f.wrongType()
	case amountInvalid(n):
		return refusal(f.name, "invalid", "is negative or above 2^53")
	case f.max != nil && n > f.max.amount:
		return refusal(f.name, kindMax, "is above the limit")
	case f.is != nil || f.in != nil:
		return f.checkScalar(scalar{number: n})
	}
	return nil
}

func (f *namedLimit) checkMoney(m Money) error {
	switch {
	case f.max == nil && f.facts == nil, f.is != nil, f.in != nil, f.max != nil && f.max.currency == "":
		return f.wrongType()
	case amountInvalid(m.Amount) || !isCurrency(m.Currency):
		return refusal(f.name, "invalid", "is negative, above 2^53, or has no currency")
	case f.max != nil && m.Currency != f.max.currency:
		return refusal(f.name, kindCurrency, "is in another currency than the limit")
	case f.max != nil && m.Amount > f.max.amount:
		return refusal(f.name, kindMax, "is above the limit")
	}
	return nil
}

func (f *namedLimit) checkTime(t time.Time) error {
	switch {
	case f.after.IsZero() && f.before.IsZero() || t.IsZero():
		return f.wrongType()
	case !f.after.IsZero() && t.Before(f.after):
		return refusal(f.name, kindAfter, "is before the allowed time")
	case !f.before.IsZero() && !t.Before(f.before):
		return refusal(f.name, kindBefore, "is after the allowed time")
	}
	return nil
}

func (f *namedLimit) checkAddr(a netip.Addr) error {
	if f.within == nil || !a.IsValid() {
		return f.wrongType()
	}
	a = a.Unmap().WithZone("")
	for _, network := range f.within {
		if network.Contains(a) {
			return nil
		}
	}
	return refusal(f.name, kindWithin, "is not in an allowed network")
}
