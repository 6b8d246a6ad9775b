package capability

import (
	"context"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/jws"
)

// Lineage is who acts for whom by one token, as its signature vouches for it.
type Lineage struct {
	Token     string          `json:"token"`  // jti
	Issuer    string          `json:"issuer"` // as the token says; trusted as far as the key set is its
	KeyID     string          `json:"kid"`
	Tenant    string          `json:"tenant"`
	Principal agentid.Ref     `json:"principal"`            // the one that all of them act for
	Agents    []agentid.Ref   `json:"lineage"`              // the agent, then its ancestors
	Bounds    []agentid.Ref   `json:"attenuated,omitempty"` // the ancestors whose rights bound the agent's
	Tokens    []string        `json:"chain"`                // jti of the token, then of those that it was made from
	Digest    string          `json:"lineage_digest"`
	Scope     string          `json:"scope"`
	Counts    []LineageCounts `json:"counts,omitempty"`
	IssuedAt  time.Time       `json:"issued_at"`
	Expiry    time.Time       `json:"expires_at"`
}

// LineageCounts are the counts that one use of a capability takes from.
type LineageCounts struct {
	Capability Capability `json:"capability"`
	Counts     []Counter  `json:"counts"` // its own first
}

// VerifyLineage checks a token's signature by keys alone, and holds what it says of its
// lineage together: act against client_id, tenant and the lineage digest, without a
// cycle or an agent of another tenant; the chain of tokens and the counts against act and
// against each other. It asks nobody, so it knows nothing of revocation, and it looks at
// no clock: whether the token has expired is to be read from Expiry. The errors are those
// of Verifier.Verify.
//
// What it proves is that the issuer said so. The tokens of the chain are named, not
// shown: each was verified by the issuer when the next one was made from it.
func VerifyLineage(ctx context.Context, compact string, keys KeySource) (Lineage, error) {
	message, err := jws.Parse(compact, tokenPolicy)
	if err != nil {
		return Lineage{}, refuseJWS(err)
	}
	issuer, _ := message.Hint("iss")
	v := Verifier{cfg: VerifierConfig{Keys: keys, Issuers: []string{issuer}}}
	token, err := v.signed(ctx, compact)
	if err != nil {
		return Lineage{}, err
	}
	c := token.Claims
	if !issuerOf(c.Issuer, c.Context.Tenant) {
		return Lineage{}, refuse(ReasonIssuer, "iss", nil)
	}
	out := Lineage{
		Token: c.ID, Issuer: c.Issuer, KeyID: message.Header().KeyID, Tenant: c.Context.Tenant,
		Principal: c.Principal(), Agents: c.Lineage(), Bounds: c.Context.Attenuated,
		Tokens: append([]string{c.ID}, c.Context.Chain...), Digest: c.Context.LineageDigest,
		Scope: c.Scope, IssuedAt: c.IssuedAt, Expiry: c.Expiry,
	}
	for _, capability := range c.Capabilities {
		if counts := c.Counts(capability); len(counts) > 0 {
			out.Counts = append(out.Counts, LineageCounts{Capability: capability, Counts: counts})
		}
	}
	return out, nil
}

// issuerOf reports whether an issuer is a root issuer, or the tenant's own.
func issuerOf(issuer, tenant string) bool {
	u, err := url.Parse(issuer)
	return err == nil && (u.Path == "" || u.Path == "/"+tenant)
}

// KeySet is a KeySource of one published key set, for every issuer.
type KeySet jose.JSONWebKeySet

// Key implements KeySource: KindNotFound when no key has the kid, or more than one.
func (s KeySet) Key(_ context.Context, _, kid string) (jose.JSONWebKey, error) {
	found := (*jose.JSONWebKeySet)(&s).Key(kid)
	if len(found) != 1 || kid == "" {
		return jose.JSONWebKey{}, agentid.Errorf(agentid.KindNotFound, ReasonKey, "the key set has no such key")
	}
	return found[0], nil
}
