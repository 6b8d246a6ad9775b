// Package jwtsource verifies the tokens of workload platforms that sign JWTs as OpenID
// Connect has it: one verifier, and a Profile for what is particular to a platform.
//
// It owns the checks that all of them share: the signature by a key of that issuer, the
// issuer byte for byte, one audience that is ours, the times, the profile's claims. Whose
// keys those are is keyset's; which claims a rule demands is the rule's.
package jwtsource

import (
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/internal/egress"
)

// DefaultMaxLifetime bounds exp - iat, or exp from now where there is no iat, of a profile
// that sets none.
const DefaultMaxLifetime = 24 * time.Hour

// Profile is what is particular to one platform. Kind is required.
type Profile struct {
	Kind string // "github"
	// CheckIssuer holds a configured issuer against the platform's own form, beside being an
	// URL that may be fetched. Nil: any.
	CheckIssuer func(issuer string) error
	Algorithms  []jose.SignatureAlgorithm // nil: all of keyset.Algorithms
	MaxLifetime time.Duration
	// Required are claims, by their flat names, that every token must have as text.
	Required []string
	// Check holds further claims. Its error names the claim.
	Check func(c federation.Claims) error
	// Binding are the claims that name one workload and nobody else: a rule has to require
	// one of them.
	Binding []string
	// Shared says of an audience that others accept as well, such as a platform's default: a
	// rule must not use it.
	Shared func(audience string) bool
}

// CheckRule says whether a rule with this audience and these requirements is specific
// enough: KindInvalid, naming the field.
func (p Profile) CheckRule(audience string, r federation.Requirements) error {
	switch {
	case audience == "":
		return agentid.Invalidf("audience", "is required: a token that is for others too can be replayed by them")
	case p.Shared != nil && p.Shared(audience):
		return agentid.Invalidf("audience", "is one that other services accept as well: choose one that names this tenant, such as its issuer URL")
	case !r.Bound(p.Binding...):
		return agentid.Invalidf("claims", "bind no subject: require at least one of %v", p.Binding)
	}
	return nil
}

// ValidateIssuer holds a configured issuer against the profile: KindInvalid issuer.
func (p Profile) ValidateIssuer(issuer string, allowPrivate bool) error {
	if _, err := egress.ParseURL(issuer, allowPrivate); err != nil {
		return agentid.Invalidf("issuer", "%s", err.Error())
	}
	if p.CheckIssuer != nil {
		if err := p.CheckIssuer(issuer); err != nil {
			return agentid.Invalidf("issuer", "%s", err.Error())
		}
	}
	return nil
}

func (p Profile) algorithms(all []jose.SignatureAlgorithm) []jose.SignatureAlgorithm {
	if p.Algorithms == nil {
		return all
	}
	return slices.Clone(p.Algorithms)
}
