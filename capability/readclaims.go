package capability

import (
	"strings"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/strictjson"
)

// claimsFrom reads a verified payload. Unknown claims are ignored (RFC 7519 section
// 4), unless they differ from a known one in letter case only; inside our own claim
// nothing unknown is accepted. Errors are KindInvalid with the claim as field.
func claimsFrom(v strictjson.Value) (Claims, error) {
	members, _ := v.Members()
	r := claimReader{}
	for _, m := range members {
		r.claim(m)
	}
	if r.err != nil {
		return Claims{}, r.err
	}
	return r.claims, r.claims.Validate()
}

// claimReader keeps the first error.
type claimReader struct {
	claims Claims
	err    error
}

var knownClaims = []string{"iss", "sub", "client_id", "aud", "jti", "scope", "iat", "nbf", "exp", "act", "authorization_details", "cnf", ContextClaim}

func (r *claimReader) claim(m strictjson.Member) {
	c := &r.claims
	switch m.Name {
	case "iss":
		c.Issuer = r.text(m)
	case "sub":
		c.Subject = r.text(m)
	case "client_id":
		c.ClientID = r.text(m)
	case "aud":
		c.Audience = r.text(m)
	case "jti":
		c.ID = r.text(m)
	case "scope":
		c.Scope = r.text(m)
	case "iat":
		c.IssuedAt = r.time(m)
	case "nbf":
		c.NotBefore = r.time(m)
	case "exp":
		c.Expiry = r.time(m)
	case "act":
		c.Actor = r.actor(m.Value, 1)
	case "authorization_details":
		capabilities, err := capabilitiesFrom(m.Value)
		c.Capabilities = capabilities
		r.fail(err)
	case "cnf":
		r.confirmation(m.Value)
	case ContextClaim:
		r.context(m.Value)
	default:
		for _, known := range knownClaims {
			if strings.EqualFold(m.Name, known) {
				r.failf(known, "is misspelt")
			}
		}
	}
}

func (r *claimReader) fail(err error) {
	if r.err == nil && err != nil {
		r.err = err
	}
}

func (r *claimReader) failf(field, format string, args ...any) {
	r.fail(agentid.Invalidf(field, format, args...))
}

func (r *claimReader) text(m strictjson.Member) string {
	text, ok := m.Value.Text()
	if !ok {
		r.failf(m.Name, "want a string, have %s", m.Value.Kind())
	}
	return text
}

// time reads a NumericDate of whole seconds after 1970.
func (r *claimReader) time(m strictjson.Member) time.Time {
	n, err := m.Value.Integer()
	if err != nil || n <= 0 || n > 253402300799 { // the end of the year 9999
		r.failf(m.Name, "want whole seconds")
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

func (r *claimReader) actor(v strictjson.Value, depth int) *Actor {
	if depth > MaxLineage {
		r.failf("act", "is nested more than %d deep", MaxLineage)
		return nil
	}
	if err := onlyMembers(v, "act", "sub", "act"); err != nil {
		r.fail(err)
		return nil
	}
	a := &Actor{Subject: r.text(strictjson.Member{Name: "act", Value: v.Get("sub")})}
	if inner := v.Get("act"); inner.Kind() != strictjson.Invalid && r.err == nil {
		a.Actor = r.actor(inner, depth+1)
	}
	return a
}

func (r *claimReader) confirmation(v strictjson.Value) {
	members, ok := v.Members()
	if !ok || len(members) != 1 {
		r.failf("cnf", "want an object with one method")
		return
	}
	switch members[0].Name {
	case "jkt":
		r.claims.Confirmation.JKT = r.text(members[0])
	case "x5t#S256":
		r.claims.Confirmation.X5T = r.text(members[0])
	default:
		r.failf("cnf", "has a method that we do not know")
	}
	if r.claims.Confirmation.IsZero() {
		r.failf("cnf", "is empty")
	}
}

func (r *claimReader) context(v strictjson.Value) {
	members, ok := v.Members()
	if !ok {
		r.failf("context", "want an object")
		return
	}
	c := &r.claims.Context
	for _, m := range members {
		name := m.Name
		m.Name = "context." + printable(name)
		switch name {
		case "tenant":
			c.Tenant = r.text(m)
		case "agent_type":
			c.AgentType = r.ref(m)
		case "principal":
			c.Principal = r.ref(m)
		case "zookie":
			c.Zookie = agentid.Zookie(r.text(m))
		case "epoch":
			n, err := m.Value.Integer()
			if err != nil {
				r.failf(m.Name, "want an integer")
			}
			c.Epoch = agentid.Epoch(n)
		case "incarnation":
			c.Incarnation = r.text(m)
		case "policy_version":
			c.PolicyVersion = r.text(m)
		case "lineage_digest":
			c.LineageDigest = r.text(m)
		case "own_authority":
			if c.OwnAuthority, ok = m.Value.Flag(); !ok {
				r.failf(m.Name, "want a boolean")
			}
		case "attenuated":
			for _, item := range r.list(m, MaxLineage) {
				c.Attenuated = append(c.Attenuated, r.ref(item))
			}
		case "chain":
			for _, item := range r.list(m, MaxChain) {
				c.Chain = append(c.Chain, r.text(item))
			}
		case "delegation":
			if c.Delegation = r.text(m); c.Delegation == "" {
				r.failf(m.Name, "is empty")
			}
		case "counters":
			c.Counters = r.counters(m)
		default:
			r.failf(m.Name, "is not a member of this claim")
		}
	}
}

func (r *claimReader) ref(m strictjson.Member) agentid.Ref {
	ref, err := agentid.ParseRef(r.text(m))
	if err != nil {
		r.failf(m.Name, "is not a ref")
	}
	return ref
}

func (r *claimReader) list(m strictjson.Member, most int) []strictjson.Member {
	items, ok := m.Value.Items()
	if !ok || len(items) > most {
		r.failf(m.Name, "want an array of at most %d", most)
		return nil
	}
	out := make([]strictjson.Member, len(items))
	for i, item := range items {
		out[i] = strictjson.Member{Name: m.Name, Value: item}
	}
	return out
}
