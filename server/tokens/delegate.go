package tokens

import (
	"context"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/httpx"
	"github.com/agentid-dev/agentid/server/delegation"
	"github.com/agentid-dev/agentid/server/discovery"
	"github.com/agentid-dev/agentid/server/issue"
)

// Delegations is delegation.Service: the person that a request names.
type Delegations interface {
	// Read verifies whom the request names; zero: nobody.
	Read(ctx context.Context, issuer, tenant, grant string, form httpx.Form) (delegation.Delegator, error)
	// Authorize says what that person has the agent do.
	Authorize(ctx context.Context, d delegation.Delegator, agent issue.Agent, names ...string) (*issue.Delegated, error)
	// Admits says whether they may start an agent of a type.
	Admits(ctx context.Context, d delegation.Delegator, typ agentid.Ref) error
	// Under records that an agent which is about to be made lives by what they delegated.
	Under(ctx context.Context, d delegation.Delegator, agent agentid.Ref) error
}

// delegate finds the person that the request names, and what they have the agent do. An
// assertion grant that names nobody is refused.
func (e *Endpoint) delegate(ctx context.Context, x *pending, form httpx.Form) error {
	if x.admission.IsGrant() {
		return nil // it named the workload itself
	}
	tenant := x.client.Agent.Ref.Tenant()
	if x.delegator.IsZero() {
		var err error
		if x.delegator, err = e.cfg.Delegations.Read(ctx, x.issuer, tenant, x.grant, form); err != nil {
			return err
		}
	}
	if x.delegator.IsZero() {
		if x.grant == discovery.GrantJWTBearer {
			return agentid.Errorf(agentid.KindInvalid, httperr.InvalidGrant, "the assertion is not accepted").WithField("assertion")
		}
		return nil
	}
	var err error
	var names []string
	if subject := x.admission.Identity.Subject; subject != "" {
		names = append(names, subject)
	}
	x.request.Delegated, err = e.cfg.Delegations.Authorize(ctx, x.delegator, x.client.Agent, names...)
	return err
}

// delegating is whom an admitted workload acts for: its rule's principal, or else the
// person that the request names, who may start agents of that type. Zero: nobody.
func (e *Endpoint) delegating(ctx context.Context, x *pending, form httpx.Form) (agentid.Ref, error) {
	if !x.admission.Principal().IsZero() || x.admission.IsGrant() {
		return x.admission.Principal(), nil
	}
	var err error
	if x.delegator, err = e.cfg.Delegations.Read(ctx, x.issuer, x.admission.Issuer.Ref.Tenant(), x.grant, form); err != nil || x.delegator.IsZero() {
		return agentid.Ref{}, err
	}
	return x.delegator.Principal, e.cfg.Delegations.Admits(ctx, x.delegator, x.admission.Rule.Type)
}
