package principals

import (
	"context"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability/jws"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/keyset"
	"github.com/agentid-dev/agentid/federation/oidc"
)

// Explained is what a person's token resolves to, as far as it does.
type Explained struct {
	Identity  federation.Identity
	Principal agentid.Ref
	Checks    []federation.Check
	OK        bool
}

// Explain is the dry run: it verifies a person's ID token or access token as a token
// exchange would, and makes nobody. ok is false for a token that names no identity
// provider of the tenant. An error is an outage.
func (s *Service) Explain(ctx context.Context, tenant, raw string) (out Explained, ok bool, err error) {
	policy := keyset.Policy()
	policy.Types = []string{"", "JWT", "at+jwt", "application/at+jwt"}
	message, err := jws.Parse(raw, policy)
	if err != nil {
		return Explained{}, false, nil //nolint:nilerr // not a token of a person: whoever is asked next says what is wrong
	}
	issuer, _ := message.Hint("iss")
	set, err := s.cfg.Ledger.IdentityProviderByIssuer(ctx, tenant, issuer)
	if err != nil && agentid.KindOf(err) == agentid.KindNotFound {
		return Explained{}, false, nil
	}
	if err != nil {
		return Explained{}, false, err
	}
	trace := &federation.Trace{}
	trace.Pass(federation.StepIssuer, "identity provider "+set.Name)
	finish := func() (Explained, bool, error) {
		out.Checks, out.OK = trace.Checks, trace.Failed() == ""
		return out, true, nil
	}
	provider, err := s.cfg.Providers.Open(ctx, set)
	if err != nil {
		_ = trace.Fail(federation.StepKey, err)
		return finish()
	}
	kind := oidc.TypeIDToken
	if typ := message.Header().Type; typ != "" && typ != "JWT" {
		kind = oidc.TypeAccessToken
	}
	person, steps, err := provider.Present(ctx, raw, kind)
	trace.Append(steps)
	if err != nil {
		return finish()
	}
	out.Identity = person.Identity
	p, err := s.Known(ctx, set, person)
	if err != nil {
		_ = trace.Fail(federation.StepPrincipal, err)
		return finish()
	}
	out.Principal = p.Ref
	trace.Pass(federation.StepPrincipal, p.Ref.String())
	return finish()
}
