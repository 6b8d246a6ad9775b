package capability

import (
	"slices"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
)

// MaxCounters bounds the inherited counts of one token, over all of its capabilities.
const MaxCounters = 128

// Counter is one count of uses: of a capability in a token, each use of which takes one.
type Counter struct {
	Token      string `json:"token"`      // jti of the token that holds the capability
	Capability string `json:"capability"` // its digest
	Max        int64  `json:"max"`        // how often it may be used in all
}

// Counts are the counts that one use of a capability of c takes from: its own first, then
// those of the capabilities that it was made from, the nearest first. None: it may be
// used without a limit.
func (c Claims) Counts(of Capability) []Counter {
	most, limited := of.Constraints.Uses()
	if !limited {
		return nil
	}
	digest := of.Digest()
	return append([]Counter{{Token: c.ID, Capability: digest, Max: most}}, c.Context.Counters[digest]...)
}

// Delegate holds the capabilities of a token that is made from parent against parent's:
// each must be within one of them, else the error is that of Within. It gives the
// Counters of the new token: each capability inherits the counts of the first of
// parent's that it is within.
func Delegate(children []Capability, parent Claims, ancestry Ancestry) (map[string][]Counter, error) {
	if err := Within(children, parent.Capabilities, ancestry); err != nil {
		return nil, err
	}
	counters := map[string][]Counter{}
	total := 0
	for _, child := range children {
		for _, from := range parent.Capabilities {
			if child.within(from, ancestry) != nil {
				continue
			}
			digest := child.Digest()
			if counts := parent.Counts(from); len(counts) > 0 && counters[digest] == nil {
				counters[digest] = counts
				total += len(counts)
			}
			break
		}
	}
	if total > MaxCounters {
		return nil, agentid.Errorf(agentid.KindForbidden, "token_too_large", "the capabilities would be counted %d times over, at most %d", total, MaxCounters).
			WithField("authorization_details")
	}
	if total == 0 {
		return nil, nil
	}
	return counters, nil
}

// validateCounters holds inherited counts to capabilities of this token that are counted
// themselves, and to tokens of its chain, each once and no less than what the capability
// may be used.
func (c Claims) validateCounters() error {
	if len(c.Context.Counters) == 0 {
		return nil
	}
	own := make(map[string]int64, len(c.Capabilities))
	for _, capability := range c.Capabilities {
		if most, limited := capability.Constraints.Uses(); limited {
			own[capability.Digest()] = most
		}
	}
	total := 0
	for digest, counts := range c.Context.Counters {
		most, counted := own[digest]
		if !counted || len(counts) == 0 || len(counts) > len(c.Context.Chain) {
			return agentid.Invalidf("context.counters", "are not of a counted capability of the token")
		}
		for i, count := range counts {
			if !slices.Contains(c.Context.Chain, count.Token) || !isDigest(count.Capability) {
				return agentid.Invalidf("context.counters", "name a capability that the token was not made from")
			}
			if count.Max < most || count.Max > MaxInteger {
				return agentid.Invalidf("context.counters", "are below what the capability may be used")
			}
			if slices.ContainsFunc(counts[:i], func(o Counter) bool { return o.Token == count.Token }) {
				return agentid.Invalidf("context.counters", "name a token twice")
			}
		}
		total += len(counts)
	}
	if total > MaxCounters {
		return agentid.Invalidf("context.counters", "are more than %d", MaxCounters)
	}
	return nil
}

func (r *claimReader) counters(m strictjson.Member) map[string][]Counter {
	members, ok := m.Value.Members()
	if !ok || len(members) == 0 || len(members) > MaxCapabilities {
		r.failf(m.Name, "want an object of 1 to %d capabilities", MaxCapabilities)
		return nil
	}
	out := make(map[string][]Counter, len(members))
	for _, of := range members {
		for _, item := range r.list(strictjson.Member{Name: m.Name, Value: of.Value}, MaxChain) {
			if err := onlyMembers(item.Value, m.Name, "token", "capability", "max"); err != nil {
				r.fail(err)
				return nil
			}
			most, err := item.Value.Get("max").Integer()
			if err != nil {
				r.failf(m.Name, "want an integer")
			}
			text := func(name string) string { return r.text(strictjson.Member{Name: m.Name, Value: item.Value.Get(name)}) }
			out[of.Name] = append(out[of.Name], Counter{Token: text("token"), Capability: text("capability"), Max: most})
		}
	}
	return out
}
