package gateway

import (
	"fmt"
	"time"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/capability"
	"github.com/agentid-dev/agentid/capability/dpop"
	"github.com/agentid-dev/agentid/gateway/challenge"
	"github.com/agentid-dev/agentid/gateway/freshness"
	"github.com/agentid-dev/agentid/gateway/limits"
	"github.com/agentid-dev/agentid/gateway/match"
	"github.com/agentid-dev/agentid/internal/policy"
)

// defaultBearerLifetime bounds unbound tokens where the connector sets no limit.
const defaultBearerLifetime = 5 * time.Minute

// caller is a verified token in the hands of its holder. Only authenticate makes one.
type caller struct {
	*holder
	claims *capability.Claims // shared by all requests with the token
	floor  freshness.Floor
	proof  *dpop.Proof // fresh, and not remembered yet; nil as Bearer
}

func newProofs(cfg Config) (*dpop.Guard, error) {
	g, err := dpop.NewGuard(dpop.GuardConfig{Now: cfg.Now})
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return g, nil
}

// authenticate is phase 3: the token, its binding, its audience and tenant, and whether
// it, or anything that it rests on, is being taken away. The verifier remembers what a
// token says whose signature it checked, and nothing else of this; what the graph says of
// it is asked in phase 6.
func (g *Gateway) authenticate(x *exchange, n match.Normal) (caller, error) {
	presented, err := challenge.Presented(x.r)
	if err != nil {
		return caller{}, err
	}
	if presented.Scheme == challenge.DPoP {
		x.w.Header().Set("DPoP-Nonce", g.proofs.Nonce())
	}
	token, err := g.verifier.VerifyToken(x.r.Context(), presented.Token.Reveal(), x.route.Resource)
	if err != nil {
		return caller{}, err
	}
	claims, holder := &token.Claims, token.Derived.(*holder) //nolint:forcetypeassert // Derive's only type
	if claims.Context.Tenant != x.route.Ref.Tenant() {
		return caller{}, unauthenticated(capability.ReasonAudience, "the token is not accepted")
	}
	x.claimed(holder, claims)
	proof, err := g.binding(x, n, presented, claims)
	if err != nil {
		return caller{}, err
	}
	floor, err := g.floor(x)
	if err != nil {
		return caller{}, err
	}
	if claims.Context.Incarnation != floor.Incarnation {
		return caller{}, unauthenticated("token_incarnation", "the token is from before the broker was restored")
	}
	c := caller{holder: holder, claims: claims, floor: floor, proof: proof}
	x.identify(c)
	return c, g.taken(x, c)
}

// floor is what the gateway heard of, and before that what the fleet says.
func (g *Gateway) floor(x *exchange) (freshness.Floor, error) {
	if f, ok := g.cfg.View.Floor(); ok {
		return f, nil
	}
	zookie, epoch, incarnation, err := g.cfg.Fleet.Floor(x.r.Context())
	return freshness.Floor{Zookie: zookie, Epoch: epoch, Incarnation: incarnation}, err
}

// taken refuses what is being taken away, as far as it may be trusted to be told.
func (g *Gateway) taken(x *exchange, c caller) error {
	if err := g.connectorTaken(x.route); err != nil {
		return err
	}
	return g.cfg.Decider.Denied(c.subject)
}

func (g *Gateway) connectorTaken(r *route) error {
	if g.cfg.View.Warm() {
		if _, denied := g.cfg.View.Denied(r.rests, r.refs); denied {
			return policy.Taken(r.Ref)
		}
	}
	return nil
}

// binding holds the way a token is presented against the way it is bound.
func (g *Gateway) binding(x *exchange, n match.Normal, presented challenge.Credential, claims *capability.Claims) (*dpop.Proof, error) {
	if presented.Scheme == challenge.Bearer && claims.Confirmation.X5T != "" {
		return nil, certificate(x, claims)
	}
	if presented.Scheme == challenge.Bearer {
		return nil, bearer(x, claims)
	}
	switch {
	case claims.Confirmation.JKT == "":
		return nil, unauthenticated("token_unbound", "the token is not bound to a key, and cannot be presented as DPoP")
	case presented.Proof == "":
		return nil, unauthenticated("dpop_proof_missing", "the DPoP header is missing").WithField("DPoP")
	}
	token := presented.Token.Reveal()
	proof, err := dpop.Verify(presented.Proof, dpop.Expect{
		Method: n.Method(), URL: x.route.Resource + n.Path(), Now: g.cfg.Now(), AccessToken: token, Thumbprint: claims.Confirmation.JKT,
	})
	if err != nil {
		return nil, err
	}
	return &proof, g.proofs.Fresh(proof)
}

// bearer admits an unbound token where the connector opted in, for a short life.
func bearer(x *exchange, claims *capability.Claims) error {
	most := x.route.BearerLifetime
	if most <= 0 {
		most = defaultBearerLifetime
	}
	switch {
	case !claims.Confirmation.IsZero():
		return unauthenticated("token_bound", "the token is bound to a key and not accepted as Bearer")
	case !x.route.AllowBearer:
		return unauthenticated("bearer_not_allowed", "this connector takes only tokens that are bound to a key")
	case claims.Expiry.Sub(claims.IssuedAt) > most:
		return unauthenticated("bearer_lifetime", "the token lives longer than this connector allows without a key")
	}
	x.record.Notes["binding"] = "bearer"
	return nil
}

// claimed writes whose token was presented into the record: it is one of ours, and not
// yet in the hands of its holder.
func (x *exchange) claimed(h *holder, c *capability.Claims) {
	r := &x.record
	r.Name(h.names)
	r.Token, r.PolicyVersion = c.ID, c.Context.PolicyVersion
	r.Notes[noteKey] = "unproven"
	if c.Context.OwnAuthority {
		r.Notes["authority"] = "own"
	}
}

// noteKey tells a token whose presenter did not show that it holds the token's key.
const noteKey = "key"

// identify notes that who is asking is whose token it is.
func (x *exchange) identify(c caller) {
	x.authenticated = true
	x.record.Epoch = c.floor.Epoch
	delete(x.record.Notes, noteKey)
}

// admitted is a caller within its rate. Only rate makes one.
type admitted struct{ caller }

// rate is phase 4. A proof is remembered here: one of an agent over its rate takes no
// place of the memory that all share. Before this a proof has not passed.
func (g *Gateway) rate(x *exchange, c caller) (admitted, error) {
	err := g.limits.Allow(x.r.Context(), limits.Subject{Token: c.token, Agent: c.text, Connector: x.route.name, Tenant: x.route.Ref.Tenant()}, x.route.Rates)
	if err == nil && c.proof != nil {
		err = g.proofs.Check(*c.proof)
	}
	return admitted{c}, err
}

func unauthenticated(reason, message string) *agentid.Error {
	return agentid.Errorf(agentid.KindUnauthenticated, reason, "%s", message)
}
