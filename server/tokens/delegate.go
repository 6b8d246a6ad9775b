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
}

// delegate finds the person that the request names, and what they have the agent do. An
// assertion grant that names nobody is refused.
func (e *Endpoint) delegate(ctx context.Context, x *pending, form httpx.Form) error {
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
	x.request.Delegated, err = e.cfg.Delegations.Authorize(ctx, x.delegator, x.client.Agent)
	return err
}
