package agents_test

import "time"

// oracle is what agents, tokens and policy should come to, said as plainly as possible:
// no graph, no ledger, no caches; every answer walks up from the leaf.
type oracle struct {
	agents     map[string]*oAgent
	typeGrants map[string]bool
	ownerGrant map[string]bool
	ownerGone  map[string]bool
}

type oAgent struct {
	typ, owner, parent string
	independent        bool
	frozen             map[string]bool
	retired            bool
	expires            time.Time
	ceiling            int64 // largest refund; 0: none of its own
}

// oToken is one token: what it carries, and the token it was made from.
type oToken struct {
	agent     string
	bounding  map[string]bool // ancestors that bound it, as they were when it was made
	maximum   int64
	expires   time.Time
	withdrawn bool
	from      *oToken
}

func (o *oracle) line(name string) (out []string) {
	for ; name != ""; name = o.agents[name].parent {
		out = append(out, name)
	}
	return out
}

// bounding are the ancestors up to the first independent link.
func (o *oracle) bounding(name string) map[string]bool {
	out := map[string]bool{}
	for a := o.agents[name]; a.parent != "" && !a.independent; a = o.agents[a.parent] {
		out[a.parent] = true
	}
	return out
}

func (o *oracle) alive(name string, now time.Time) bool {
	a := o.agents[name]
	return !a.retired && len(a.frozen) == 0 && now.Before(a.expires) && !o.ownerGone[a.owner]
}

func (o *oracle) live(name string, now time.Time) bool {
	for _, member := range o.line(name) {
		if !o.alive(member, now) {
			return false
		}
	}
	return true
}

// decide answers an operation of an agent: "" or the reason why not.
func (o *oracle) decide(name string, bounding map[string]bool, now time.Time) string {
	a := o.agents[name]
	switch {
	case !o.live(name, now):
		return "agent_not_live"
	case !o.typeGrants[a.typ]:
		return "policy_denied"
	}
	for ancestor := range bounding {
		if !o.typeGrants[o.agents[ancestor].typ] {
			return "policy_denied"
		}
	}
	if !o.ownerGrant[a.owner] {
		return "principal_denied"
	}
	return ""
}

// use answers an operation with a token.
func (o *oracle) use(t *oToken, now time.Time) string {
	if !now.Before(t.expires) {
		return "token_expired"
	}
	for link := t; link != nil; link = link.from {
		if link.withdrawn {
			return "token_revoked"
		}
	}
	return o.decide(t.agent, t.bounding, now)
}

// maximum is the largest refund that a token may carry that is asked for at most asked.
func (o *oracle) maximum(name string, bounding map[string]bool, asked int64) int64 {
	for _, member := range o.line(name) {
		if c := o.agents[member].ceiling; c > 0 && (member == name || bounding[member]) {
			asked = min(asked, c)
		}
	}
	return asked
}

// mayStart says whether a child can be started below a parent.
func (o *oracle) mayStart(parent, typ string, independent bool, expires, now time.Time) bool {
	if !o.live(parent, now) || expires.After(o.agents[parent].expires) || len(o.line(parent)) > 16 {
		return false
	}
	return !independent || typ == "clerk"
}

// withdraw takes the tokens of an agent back, and those of the agents that it bounds.
func (o *oracle) withdraw(tokens []*oToken, name string, below bool) {
	for _, t := range tokens {
		if t.agent == name || below && o.bounding(t.agent)[name] {
			t.withdrawn = true
		}
	}
}
