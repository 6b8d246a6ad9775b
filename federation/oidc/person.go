package oidc

import (
	"slices"
	"strings"
	"time"

	"github.com/agentid-dev/agentid/capability/strictjson"
	"github.com/agentid-dev/agentid/federation"
)

// Person is one human as the provider knows them. The zero Person is nobody.
type Person struct {
	Identity federation.Identity
	Groups   []string // of the mapped claim, sorted; nil when it was not there
	Email    string   // only where email_verified is true
	Name     string   // to be shown to people, bounded
	MayAct   string   // sub of the only actor that the token admits (RFC 8693 section 4.4), or ""
}

const (
	maxGroups     = 1000
	maxGroupBytes = 256
	maxNameBytes  = 128
	maxSubject    = 255 // OpenID Connect Core section 2
)

// person reads the mapped claims. The subject must be there; what cannot be read as a
// group or a name is left out.
func (p *Provider) person(v strictjson.Value, audience string, trace *federation.Trace) (Person, error) {
	claims, err := federation.Flatten(v)
	if err != nil {
		return Person{}, trace.Fail(federation.StepClaims, federation.Refuse(federation.ReasonClaim, "", "the claims are ambiguous", err))
	}
	subject, _ := claims.Text(p.cfg.SubjectClaim)
	if subject == "" || len(subject) > maxSubject || strings.ContainsFunc(subject, func(c rune) bool { return c < 0x20 || c == 0x7f }) {
		return Person{}, trace.Fail(federation.StepClaims, federation.Refuse(federation.ReasonClaim, p.cfg.SubjectClaim, "the subject is missing or malformed", nil))
	}
	out := Person{Identity: federation.Identity{
		Source: Kind, Issuer: p.cfg.Issuer, Subject: subject, Audience: audience, Claims: claims,
		Issued: seconds(v, "iat"), Expires: seconds(v, "exp"),
	}}
	out.Identity.ID, _ = v.Get("jti").Text()
	p.describe(&out, claims)
	if actor := v.Get("may_act"); actor.Kind() != strictjson.Invalid {
		if out.MayAct, _ = actor.Get("sub").Text(); out.MayAct == "" {
			return Person{}, trace.Fail(federation.StepClaims, federation.Refuse(federation.ReasonClaim, "may_act", "names no actor", nil))
		}
	}
	trace.Pass(federation.StepClaims, "subject "+subject)
	return out, nil
}

// describe reads what may be missing: groups, name, verified e-mail.
func (p *Provider) describe(out *Person, claims federation.Claims) {
	if _, there := claims[p.cfg.GroupsClaim]; there {
		out.Groups = []string{}
		for _, group := range claims.Values(p.cfg.GroupsClaim) {
			if group != "" && len(group) <= maxGroupBytes && len(out.Groups) < maxGroups {
				out.Groups = append(out.Groups, group)
			}
		}
		slices.Sort(out.Groups)
		out.Groups = slices.Compact(out.Groups)
	}
	if verified, _ := claims["email_verified"].(bool); verified {
		out.Email, _ = claims.Text("email")
	}
	for _, name := range []string{p.cfg.NameClaim, "preferred_username"} {
		if text, _ := claims.Text(name); text != "" && len(text) <= maxNameBytes {
			out.Name = text
			return
		}
	}
	if len(out.Email) <= maxNameBytes {
		out.Name = out.Email
	}
}

// seconds is a NumericDate; zero when it is not a whole number of seconds.
func seconds(v strictjson.Value, name string) time.Time {
	n, err := v.Get(name).Integer()
	if err != nil || n <= 0 {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}
